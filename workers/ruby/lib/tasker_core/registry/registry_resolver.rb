# frozen_string_literal: true

module TaskerCore
  module Registry
    module Resolvers
      # Names that match a pattern or start with a prefix; subclass, say which, and give `resolve`.
      #
      # @example
      #   class Payments < RegistryResolver
      #     handles_prefix "payments."
      #     resolver_name "payments"
      #     priority_value 20
      #     def resolve(definition) = PaymentHandler
      #   end
      class RegistryResolver < BaseResolver
        class << self
          def handles_pattern(pattern) = @pattern = pattern
          def handles_prefix(prefix) = @prefix = prefix
          def priority_value(value) = @priority = value
          def resolver_name(name) = @resolver_name = name
          attr_reader :pattern, :prefix

          def settings = { name: @resolver_name || name || "registry", priority: @priority || 50 }
        end

        def initialize(**settings)
          super(**self.class.settings, **settings)
        end

        def can_resolve?(definition)
          pattern, prefix = self.class.pattern, self.class.prefix
          (!pattern.nil? && pattern.match?(definition.callable)) ||
            (!prefix.nil? && definition.callable.start_with?(prefix))
        end
      end
    end
  end
end
