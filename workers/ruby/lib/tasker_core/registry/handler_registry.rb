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

      # @return [ResolverChain] whom it asks
      attr_reader :chain
      alias resolver_chain chain

      # The registry functional handlers register with and workers use.
      def self.instance = LOCK.synchronize { @instance ||= new }

      # Forgets every handler; for tests.
      def self.reset_instance! = LOCK.synchronize { @instance = nil }

      # @return [Hash] classes that were found, not registered by the program, by name
      attr_reader :found

      def initialize
        @chain = ResolverChain.default
        @found = {}
      end

      # Registers a class, object or proc under a name, or a class under its own.
      #
      # @raise [Errors::ConfigurationError] what is registered cannot be called
      def register_handler(name, handler = nil)
        name, handler = StepHandler::Base.name_of(name), name if name.is_a?(Class)
        unless handler.is_a?(Class) || handler.respond_to?(:call)
          raise Errors::ConfigurationError, "`#{name}` is registered with something that cannot be called"
        end

        @chain.register(name.to_s, handler)
        Worker::EventBridge.instance.publish(Worker::EventNames::HANDLER_REGISTERED, name.to_s)
      end
      alias register register_handler

      # Removes a name; whether it was there.
      def unregister(name) = @chain.unregister(name.to_s)

      # A handler object for a name, a definition or a template's wrapper, its method dispatched; nil if nobody has it.
      def resolve_handler(wanted)
        definition = HandlerDefinition.of(wanted)
        @chain.wrap_for_method_dispatch(@chain.resolve(definition), definition)
      end
      alias resolve resolve_handler

      # Whether anyone in the chain answers to a name.
      def handler_available?(name) = @chain.can_resolve?(HandlerDefinition.of(name))
      alias is_registered handler_available?

      # Registered names, in order.
      def registered_handlers = @chain.registered_callables
      alias list_handlers registered_handlers

      # @return [Hash] class, object or proc by registered name
      def handlers = @chain.explicit_resolver.handlers

      # @return [Class, nil] the class of a registered name
      def get_handler_class(name)
        found = handlers[name.to_s]
        found.nil? || found.is_a?(Class) ? found : found.class
      end

      def handler_count = handlers.size
      def add_resolver(resolver) = @chain.add_resolver(resolver)
      def clear! = registered_handlers.each { |name| unregister(name) }
      def logger = Logger.instance

      # Constants of loaded handlers are answered for without it; kept for programs that say it.
      def allow_namespace(_namespace) = nil

      # Every name a template may use, as far as they are known beforehand.
      def callables = (registered_handlers | (@chain.get_resolver("class_constant")&.registered_callables || [])).sort

      # Loads the Ruby files of folders or files and registers the handler classes they define; what went wrong, as
      # sentences.
      def discover_handlers(*paths) = HandlerDiscovery.load(self, paths.flatten)

      # Registers the handler classes that are loaded already; what went wrong, as sentences.
      def bootstrap_handlers = HandlerDiscovery.register(self, StepHandler::Base.loaded)

      # Where templates are looked for, which handlers they ask for, and which of those are there.
      #
      # @return [Hash] `template_path template_files discovered_handlers registered_handlers missing_handlers`
      def template_discovery_info
        wanted = TemplateDiscovery::HandlerDiscovery.discover_all_handlers
        { template_path: TemplateDiscovery::TemplatePath.find_template_config_directory,
          template_files: TemplateDiscovery::TemplatePath.discover_template_files,
          discovered_handlers: wanted, registered_handlers:,
          missing_handlers: wanted.reject { |name| handler_available?(name) } }
      end
    end
  end
end
