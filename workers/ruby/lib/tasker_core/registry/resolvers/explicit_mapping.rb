# frozen_string_literal: true

module TaskerCore
  module Registry
    module Resolvers
      # Names that were registered one by one.
      class ExplicitMappingResolver < BaseResolver
        PRIORITY = 10

        # @return [Hash] class, object or proc by name; replaced as a whole, so that reading needs no lock
        attr_reader :handlers

        def initialize(resolver_name = "explicit_mapping")
          super(name: resolver_name, priority: PRIORITY)
          @handlers = {}
        end

        def register(name, handler) = @handlers = @handlers.merge(name.to_s => handler)

        # Removes a name.
        #
        # @return what it stood for; nil if it was not there
        def unregister(name)
          known = @handlers[name.to_s]
          @handlers = @handlers.except(name.to_s)
          known
        end

        def registered?(name) = @handlers.key?(name.to_s)
        def registered_callables = @handlers.keys.sort
        def size = @handlers.size
        def clear! = @handlers = {}
        def can_resolve?(definition, _config = {}) = @handlers.key?(definition.callable)
        def resolve(definition, _config = {}) = @handlers[definition.callable]
      end
    end
  end
end
