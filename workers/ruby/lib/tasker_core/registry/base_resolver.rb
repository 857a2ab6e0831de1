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
  end
end
