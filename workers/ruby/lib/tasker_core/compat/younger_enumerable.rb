# frozen_string_literal: true

# What later versions of ActiveSupport add to collections, for the earlier ones. None of it replaces a method that is
# there.
module Enumerable
  unless method_defined?(:sole)
    # Raised unless there is exactly one item.
    const_set(:SoleItemExpectedError, Class.new(StandardError)) unless const_defined?(:SoleItemExpectedError)

    # @return the only item
    # @raise [SoleItemExpectedError] there is none, or more than one
    def sole
      found = first(2)
      return found.first if found.size == 1

      raise SoleItemExpectedError, found.empty? ? "no item found" : "multiple items found"
    end
  end

  unless method_defined?(:in_order_of)
    # Items in the order their keys have in a series; those of other keys are left out.
    def in_order_of(key, series)
      group_by { |item| item.public_send(key) }.values_at(*series).compact.flatten(1)
    end
  end

  # The least and the greatest value of a key.
  def minimum(key) = map { |item| item.is_a?(Hash) ? item[key] : item.public_send(key) }.min unless method_defined?(:minimum)
  def maximum(key) = map { |item| item.is_a?(Hash) ? item[key] : item.public_send(key) }.max unless method_defined?(:maximum)
end
