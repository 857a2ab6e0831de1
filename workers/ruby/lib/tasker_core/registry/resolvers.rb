# frozen_string_literal: true

module TaskerCore
  module Registry
    # Turns a callable's name into a handler class or object; subclass it for names of your own.
    class BaseResolver
      # The lowest priority is asked first.
      def initialize(name: "base", priority: 50)
        @name = name
        @priority = priority
      end

      attr_reader :name, :priority

      # Whether the name is this resolver's business.
      def can_resolve?(_definition)
        raise NotImplementedError, "#{self.class} does not implement can_resolve?"
      end

      # The handler class, object or proc; nil if there is none.
      def resolve(_definition)
        raise NotImplementedError, "#{self.class} does not implement resolve"
      end
    end

    module Resolvers
      # Names that were registered one by one.
      class ExplicitMappingResolver < BaseResolver
        attr_reader :handlers

        def initialize
          super(name: "explicit_mapping", priority: 10)
          @handlers = {}
        end

        def register(name, handler) = @handlers = @handlers.merge(name => handler)

        def unregister(name)
          known = @handlers.key?(name)
          @handlers = @handlers.except(name)
          known
        end

        def can_resolve?(definition) = @handlers.key?(definition.callable)
        def resolve(definition) = @handlers[definition.callable]
      end

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

      # Names of constants, but only under modules the user named, and only of handlers; nothing is loaded for it.
      class ClassConstantResolver < BaseResolver
        attr_reader :namespaces

        def initialize
          super(name: "class_constant", priority: 100)
          @namespaces = []
        end

        def allow(namespace) = @namespaces |= [namespace.to_s]

        def can_resolve?(definition)
          @namespaces.any? { |n| definition.callable == n || definition.callable.start_with?("#{n}::") }
        end

        def resolve(definition)
          return nil unless definition.callable.match?(/\A[A-Z]\w*(::[A-Z]\w*)*\z/)

          found = Object.const_get(definition.callable) if Object.const_defined?(definition.callable)
          found.is_a?(Class) && found <= StepHandler::Base ? found : nil
        end
      end
    end
  end
end
