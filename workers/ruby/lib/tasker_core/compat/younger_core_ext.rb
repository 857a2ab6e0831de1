# frozen_string_literal: true

# The names later versions of ActiveSupport have for formatted text and overlapping ranges, for the earlier ones.
[Time, Date, DateTime, Array, Range].each do |owner|
  owner.alias_method(:to_fs, :to_formatted_s) if !owner.method_defined?(:to_fs) && owner.method_defined?(:to_formatted_s)
end
Range.alias_method(:overlap?, :overlaps?) unless Range.method_defined?(:overlap?)

unless Numeric.method_defined?(:to_fs)
  class Numeric
    # The number as text in a format: `:delimited :currency :percentage :human …`.
    def to_fs(format = nil, options = nil) = format.nil? ? to_s : to_s(format, options)
    alias to_formatted_s to_fs
  end
end
