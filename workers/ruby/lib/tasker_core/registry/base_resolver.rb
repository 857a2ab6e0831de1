# frozen_string_literal: true

module TaskerCore
  module Registry
    module Resolvers
      # Turns a callable's name into a handler class or object; subclass it for names of your own. `can_resolve?` and
      # `resolve` may leave the second parameter out.
      class BaseResolver
        # @param name [String] what templates name it by
        # @param priority [Integer] the lowest is asked first
        def initialize(name: nil, priority: nil)
          @name = name
          @priority = priority
        end

        # What templates name it by.
        def name = @name || raise(NotImplementedError, "#{self.class} does not implement name")

        # The lowest is asked first.
        def priority = @priority || raise(NotImplementedError, "#{self.class} does not implement priority")

        # Whether the name is this resolver's business.
        #
        # @param _definition [Types::HandlerDefinition] what the template asks for
        # @param _config [Hash] `handler.initialization` of the step
        def can_resolve?(_definition, _config = {})
          raise NotImplementedError, "#{self.class} does not implement can_resolve?"
        end

        # The handler class, object or proc; nil if there is none.
        def resolve(_definition, _config = {})
          raise NotImplementedError, "#{self.class} does not implement resolve"
        end

        # Names it answers to, as far as they are known beforehand.
        def registered_callables = []
      end
    end

    # Resolvers of our own have a name and a priority unless they say otherwise.
    class BaseResolver < Resolvers::BaseResolver
      def initialize(name: "base", priority: 50) = super
    end
  end
end
