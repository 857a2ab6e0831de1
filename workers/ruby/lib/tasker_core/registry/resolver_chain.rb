# frozen_string_literal: true

module TaskerCore
  module Registry
    # Asks resolvers in order of priority; the first that has an answer wins.
    class ResolverChain
      ResolutionError = Errors::ResolutionError
      ResolverNotFoundError = Errors::ResolverNotFoundError

      # Rises with every change, so that answers may be kept until then.
      attr_reader :generation

      def initialize
        @resolvers = []
        @generation = 0
      end

      # Registered names, then constants of loaded handlers.
      def self.default
        new.add_resolver(Resolvers::ExplicitMappingResolver.new).add_resolver(Resolvers::ClassConstantResolver.new)
      end

      # Adds a resolver in the place its priority gives it.
      #
      # @return [ResolverChain] itself
      def add_resolver(resolver)
        @resolvers = (@resolvers + [resolver]).sort_by.with_index { |r, index| [r.priority, index] }
        @generation += 1
        self
      end
      alias with_resolver add_resolver

      # Removes a resolver by name.
      #
      # @return the resolver; nil if it was not there
      def remove_resolver(name)
        known = get_resolver(name)
        @resolvers -= [known]
        @generation += 1
        known
      end

      def get_resolver(name) = @resolvers.find { |r| r.name == name.to_s }

      # Registers a handler by name with the explicit mapping.
      #
      # @return [ResolverChain] itself
      def register(name, handler)
        explicit_resolver.register(name, handler)
        @generation += 1
        self
      end

      # Removes a registered name.
      #
      # @return [Boolean] whether it was there
      def unregister(name)
        known = explicit_resolver.registered?(name)
        explicit_resolver.unregister(name)
        @generation += 1
        known
      end

      # The resolver of registered names.
      #
      # @raise [ResolverNotFoundError] it was removed
      def explicit_resolver
        @resolvers.find { |r| r.is_a?(Resolvers::ExplicitMappingResolver) } ||
          raise(Errors::ResolverNotFoundError, "the chain has no explicit_mapping resolver")
      end
      alias explicit explicit_resolver

      def registered_callables = explicit_resolver.registered_callables
      def size = @resolvers.size

      # Whether a resolver answers for a definition.
      def can_resolve?(definition, config = {})
        asked(definition).any? { |r| ask(r, :can_resolve?, definition, config) }
      end

      # A handler for a definition; a class is made into an object. Nil if nobody has it.
      #
      # @param definition [Types::HandlerDefinition] what is asked for
      # @param config [Hash] for the constructor; the definition's `initialization` when empty
      def resolve(definition, config = {})
        config = definition.initialization if config.empty?
        found, = find(definition, config)
        found.is_a?(Class) ? StepHandler::Base.build(found, config) : found
      end

      # What the first resolver with an answer gives, as it is, and that resolver; nil if none has one.
      def find(definition, config = {})
        asked(definition).each do |resolver|
          next unless ask(resolver, :can_resolve?, definition, config)

          found = ask(resolver, :resolve, definition, config)
          return [found, resolver] unless found.nil?
        end
        nil
      end

      # The handler, with another of its methods in the place of `call` where that is asked for.
      #
      # @param wanted [Types::HandlerDefinition, String, nil] a definition, or the method's name
      def wrap_for_method_dispatch(handler, wanted)
        name = wanted.is_a?(HandlerDefinition) ? wanted.effective_method : wanted
        handler.nil? || name.nil? || name.to_s == "call" ? handler : Resolvers::MethodDispatchWrapper.of(handler, name)
      end

      # @return [Array<Hash>] `name priority type callables` of each resolver, in the order they are asked
      def chain_info
        @resolvers.map do |r|
          { name: r.name, priority: r.priority, type: r.class.name,
            callables: r.respond_to?(:registered_callables) ? r.registered_callables.size : 0 }
        end
      end

      def resolver_names = @resolvers.map(&:name)
      def list_resolvers = @resolvers.map { |r| [r.name, r.priority] }

      private

      def asked(definition)
        return @resolvers unless definition.has_resolver_hint?

        [get_resolver(definition.resolver) ||
          raise(Errors::ResolverNotFoundError,
                "there is no resolver `#{definition.resolver}`; the chain has #{resolver_names.join(", ")}")]
      end

      # Resolvers may take the definition alone, or the configuration as well.
      def ask(resolver, name, definition, config)
        takes = resolver.method(name).arity
        takes == 1 ? resolver.public_send(name, definition) : resolver.public_send(name, definition, config)
      end
    end
  end
end
