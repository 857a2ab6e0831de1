# frozen_string_literal: true

module TaskerCore
  module Worker
    # Starts workers; what it gives is the running worker.
    #
    # @example
    #   worker = TaskerCore::Worker::Bootstrap.start!(url: "sqlite:///shop.db", handlers: ["handlers"],
    #                                                 templates: ["workflows"])
    #   worker.run
    class Bootstrap < Running
      class << self
        # Loads handlers and templates, opens the engine and starts. Handler classes that are loaded already and
        # registered subscribers are taken as well. Called without settings while a worker runs, it gives that worker.
        #
        # @param url [String] where work comes from; `TASKER_URL` or `sqlite://.tasker/tasker.db` when absent
        # @param handlers [Array<String>] files or folders; `RUBY_HANDLER_PATH` is added
        # @param templates [Array<String>] files, folders or YAML texts; found by the discovery rules when absent
        # @param namespaces [Array<String>] queues to take from; the namespaces of the templates when absent
        # @param registry [Registry::HandlerRegistry] that of the process when absent; another one knows only what it is
        #   given
        # @param worker_id [String] a unique name; made up when absent
        # @param max_concurrent_handlers [Integer] handlers run at once
        # @param lease_ms [Integer] milliseconds the worker may be silent before others take it for gone; the core sees
        #   to its heartbeats
        # @param drain_timeout_ms [Integer, nil] milliseconds a stop waits for running handlers; `TASKER_DRAIN_TIMEOUT`
        #   (seconds) when absent, else 20 s
        # @param strict [Boolean] whether unknown keys of templates are errors
        # @param environment [String] chooses the templates' overrides; `TASKER_ENV` when absent
        # @param poll [Boolean] whether to take steps; if not, take them yourself with `FFI.poll_step_events`
        # @return [Bootstrap]
        def start!(url: nil, handlers: [], templates: nil, namespaces: nil, registry: nil, worker_id: nil,
                   max_concurrent_handlers: 10, lease_ms: 20_000, drain_timeout_ms: nil, strict: false,
                   environment: nil, poll: true)
          said = [url, templates, namespaces, registry, worker_id, environment, *handlers]
          as_usual = [max_concurrent_handlers, lease_ms, drain_timeout_ms, strict, poll] == [10, 20_000, nil, false, true]
          return Current.worker if said.all?(&:nil?) && as_usual && Current.worker&.running?

          problems = registry.nil? ? Registry::HandlerRegistry.instance.bootstrap_handlers : []
          registry ||= Registry::HandlerRegistry.instance
          paths = Array(handlers) + ENV.fetch("RUBY_HANDLER_PATH", "").split(File::PATH_SEPARATOR)
          problems |= registry.discover_handlers(paths)
          problems.each { |problem| warn "tasker: #{problem}" }
          settings = {
            url: url || Url.default, worker_id:, namespaces: namespaces && Array(namespaces),
            templates: TemplateDiscovery.find_templates(templates), handlers: registry.callables,
            max_concurrent_handlers:, lease_ms:, drain_timeout_ms:,
            sdk_version: VERSION, strict:, environment:
          }
          native = Native::NativeWorker.new(Serialization.dump(settings, "configuration"))
          info = Serialization.load(native.start)
          worker = new(native, info, registry, problems, settings.except(:templates, :handlers))
          early.each { |block| worker.on_shutdown(&block) }.clear
          Current.add(worker)
          DomainEvents::SubscriberRegistry.instance.start_all!
          worker.poller.start if poll
          worker
        end

        # The worker of this process that was started last; while there is none, an object that says so and can start one.
        def instance = Current.worker || (@idle ||= Idle.allocate)

        # Blocks that were given to `on_shutdown` before there was a worker.
        def early = @early ||= []

        # `TASKER_URL`, or a file in the current folder.
        def default_url = Url.default

        # The worker of this process that was started last; nil if all have been stopped.
        def current = Current.worker

        # As `current`; raises with no worker running.
        def current! = Current.worker!

        # Every worker of this process.
        def started = Current.workers
      end

      # Starts a worker unless one runs.
      def start!(**settings) = running? ? self : Bootstrap.start!(**settings)

      # What `Bootstrap.instance` is while no worker runs.
      class Idle < Bootstrap
        def running? = false
        def shutdown!(*, **) = true
        alias stop shutdown!
        def worker_id = nil
        def url = Url.default
        def config = {}
        def rust_handle = nil
        def rust_handle_running? = false
        def registry = Registry::HandlerRegistry.instance
        def on_shutdown(&block) = Bootstrap.early << block
        def hear_domain_events = nil

        def status
          Types::Indifferent.of({ running: false, rust: { running: false, status: "stopped" },
                                  ruby: { status: "stopped", worker_id: nil,
                                          handler_registry_size: registry.handler_count } })
        end

        def health_check = Types::Indifferent.of({ healthy: false, **status.slice(:rust, :ruby), status: "stopped" })

        def with_rust_handle = raise(Errors::Error, "no worker is running in this process")
      end
    end
  end
end
