# frozen_string_literal: true

module TaskerCore
  module Registry
    # All handlers of this process.
    #
    # @example
    #   TaskerCore::Registry::HandlerRegistry.instance.register("math.double", Double)
    class HandlerRegistry
      LOCK = Mutex.new
      private_constant :LOCK

      attr_reader :chain

      # The registry functional handlers register with and workers use.
      def self.instance = LOCK.synchronize { @instance ||= new }

      # Forgets every handler; for tests.
      def self.reset_instance! = LOCK.synchronize { @instance = nil }

      def initialize
        @chain = ResolverChain.default
      end

      # Registers a class, object or proc under a name, or a class under its own.
      def register_handler(name, handler = nil)
        name, handler = name.handler_name, name if name.is_a?(Class)
        unless handler.is_a?(Class) || handler.respond_to?(:call)
          raise Errors::ConfigurationError, "`#{name}` is registered with something that cannot be called"
        end

        @chain.register(name.to_s, handler)
        Worker::EventBridge.instance.publish(Worker::EventNames::HANDLER_REGISTERED, name.to_s)
      end
      alias register register_handler

      # Removes a name; whether it was there.
      def unregister(name) = @chain.unregister(name.to_s)

      # A handler object for a name or definition, its method dispatched; nil if nobody has it.
      def resolve_handler(wanted)
        definition = wanted.is_a?(HandlerDefinition) ? wanted : HandlerDefinition.new(callable: wanted.to_s)
        found = @chain.resolve(definition)
        return nil if found.nil?

        @chain.wrap_for_method_dispatch(found.is_a?(Class) ? found.new : found, definition.method)
      end
      alias resolve resolve_handler

      # Whether a name was registered.
      def is_registered(name) = @chain.explicit.handlers.key?(name.to_s)

      # Whether anyone in the chain answers to a name.
      def handler_available?(name) = @chain.can_resolve?(HandlerDefinition.new(callable: name.to_s))

      # Registered names, in order.
      def registered_handlers = @chain.explicit.handlers.keys.sort
      alias list_handlers registered_handlers

      def get_handler_class(name)
        found = @chain.explicit.handlers[name.to_s]
        found.nil? || found.is_a?(Class) ? found : found.class
      end

      def handler_count = registered_handlers.size
      def add_resolver(resolver) = @chain.add_resolver(resolver)
      def clear! = registered_handlers.each { |name| unregister(name) }

      # Lets templates name handler classes under a module by their constant.
      def allow_namespace(namespace) = @chain.get_resolver("class_constant")&.allow(namespace)

      # Every name a template may use.
      def callables
        constants = @chain.explicit.handlers.values.grep(Class).map(&:name).compact
        lookup = @chain.get_resolver("class_constant")
        allowed = constants.select { |name| lookup&.can_resolve?(HandlerDefinition.new(callable: name)) }
        (registered_handlers | allowed).sort
      end

      # Loads the Ruby files of folders or files and registers the handler classes they define; what went wrong, as
      # sentences.
      def discover_handlers(*paths) = HandlerDiscovery.load(self, paths.flatten)
    end
  end
end
