# frozen_string_literal: true

module TaskerCore
  module Registry
    module Resolvers
      # Names that match a pattern or start with a prefix; subclass, say which, and give `resolve_handler`.
      #
      # @example
      #   class Payments < TaskerCore::Registry::Resolvers::RegistryResolver
      #     handles_prefix "payments."
      #     resolver_name "payments"
      #     priority_value 20
      #     def resolve_handler(definition, config) = PaymentHandler.new(config: config)
      #   end
      class RegistryResolver < BaseResolver
        PRIORITY = 50

        class << self
          def handles_pattern(pattern) = @pattern = pattern
          def handles_prefix(prefix) = @prefix = prefix
          def priority_value(value) = @priority = value
          def resolver_name(name) = @resolver_name = name

          # Names a handler that every object of this resolver answers with.
          def register_handler(key, handler_or_class) = own[key.to_s] = handler_or_class

          # Settings are inherited.
          def pattern = @pattern || inherited_setting(:pattern)
          def prefix = @prefix || inherited_setting(:prefix)
          def configured_name = @resolver_name || inherited_setting(:configured_name)
          def configured_priority = @priority || inherited_setting(:configured_priority)

          # @return [Hash] what was registered with the class, by name
          def handlers = (inherited_setting(:handlers) || {}).merge(own)

          def settings = { name: configured_name || name || "registry", priority: configured_priority || PRIORITY }

          private

          def own = @own ||= {}
          def inherited_setting(name) = superclass.respond_to?(name) ? superclass.public_send(name) : nil
        end

        def initialize(**settings)
          super(**self.class.settings, **settings)
          @own = {}
        end

        # Names a handler that this object answers with.
        def register(key, handler) = @own = @own.merge(key.to_s => handler)

        # Removes a name this object was given.
        #
        # @return what it stood for; nil if it was not there
        def unregister(key)
          known = @own[key.to_s]
          @own = @own.except(key.to_s)
          known
        end

        def registered_callables = handlers.keys.sort

        def can_resolve?(definition, _config = {})
          name = definition.callable
          pattern, prefix = self.class.pattern, self.class.prefix
          handlers.key?(name) || (!pattern.nil? && pattern.match?(name)) || (!prefix.nil? && name.start_with?(prefix))
        end

        def resolve(definition, config = {})
          known = handlers[definition.callable]
          known.nil? ? resolve_handler(definition, config) : known
        end

        protected

        # The handler of a name that nobody registered; nil if there is none.
        def resolve_handler(_definition, _config) = nil

        # A handler object of a class, with its configuration if it takes one.
        def instantiate_handler(handler, initialization)
          handler.is_a?(Class) ? StepHandler::Base.build(handler, initialization) : handler
        end

        private

        def handlers = self.class.handlers.merge(@own)
      end
    end
  end
end
