# frozen_string_literal: true

module TaskerCore
  module Registry
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
    end
  end
end
