# frozen_string_literal: true

module TaskerCore
  module Registry
    # Asks resolvers in order of priority; the first that has an answer wins.
    class ResolverChain
      # Rises with every change, so that answers may be kept until then.
      attr_reader :generation

      def initialize
        @resolvers = []
        @generation = 0
      end

      # Registered names, then classes under allowed modules.
      def self.default
        new.add_resolver(Resolvers::ExplicitMappingResolver.new).add_resolver(Resolvers::ClassConstantResolver.new)
      end

      def add_resolver(resolver)
        @resolvers = (@resolvers + [resolver]).sort_by.with_index { |r, index| [r.priority, index] }
        @generation += 1
        self
      end

      # Removes a resolver by name; whether it was there.
      def remove_resolver(name)
        before = @resolvers.size
        @resolvers = @resolvers.reject { |r| r.name == name }
        @generation += 1
        @resolvers.size < before
      end

      def get_resolver(name) = @resolvers.find { |r| r.name == name }

      # Registers a handler by name with the explicit mapping.
      def register(name, handler)
        explicit.register(name, handler)
        @generation += 1
      end

      def unregister(name)
        known = explicit.unregister(name)
        @generation += 1
        known
      end

      def explicit
        get_resolver("explicit_mapping") ||
          raise(Errors::ResolverNotFoundError, "the chain has no explicit_mapping resolver")
      end

      def can_resolve?(definition) = @resolvers.any? { |r| r.can_resolve?(definition) }

      # The handler class, object or proc; nil if nobody has it.
      def resolve(definition)
        asked = definition.resolver ? [named(definition.resolver)] : @resolvers
        asked.each do |resolver|
          found = resolver.can_resolve?(definition) ? resolver.resolve(definition) : nil
          return found unless found.nil?
        end
        nil
      end

      # The handler, with `method` in the place of `call`.
      def wrap_for_method_dispatch(handler, method)
        method.nil? || method == "call" ? handler : MethodDispatchWrapper.new(handler, method)
      end

      def chain_info = @resolvers.map { |r| { name: r.name, priority: r.priority, type: r.class.name } }
      def resolver_names = @resolvers.map(&:name)
      def list_resolvers = @resolvers.map { |r| [r.name, r.priority] }

      private

      def named(name)
        get_resolver(name) ||
          raise(Errors::ResolverNotFoundError, "there is no resolver `#{name}`; the chain has #{resolver_names.join(", ")}")
      end
    end
  end
end
