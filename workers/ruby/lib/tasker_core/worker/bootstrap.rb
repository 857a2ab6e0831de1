# frozen_string_literal: true

module TaskerCore
  module Worker
    # A running worker.
    #
    # @example
    #   worker = TaskerCore::Worker::Bootstrap.start!(url: "sqlite:///shop.db", handlers: ["handlers"],
    #                                                 templates: ["workflows"])
    #   worker.run
    class Bootstrap < Running
      class << self
        # Loads handlers and templates, opens the engine and starts.
        #
        # @param url [String] where work comes from; `TASKER_URL` or `sqlite://.tasker/tasker.db` when absent
        # @param handlers [Array<String>] files or folders; `RUBY_HANDLER_PATH` is added
        # @param templates [Array<String>] files, folders or YAML texts; found by the discovery rules when absent
        # @param namespaces [Array<String>] queues to take from; the namespaces of the templates when absent
        # @param lease_ms [Integer] milliseconds a claim holds without renewal; the core renews it
        # @param drain_timeout_ms [Integer] milliseconds a stop waits for running handlers
        # @param environment [String] chooses the templates' overrides; `TASKER_ENV` when absent
        # @param poll [Boolean] whether to take steps; if not, take them yourself with `FFI.poll_step_events`
        # @return [Bootstrap]
        def start!(url: nil, handlers: [], templates: nil, namespaces: nil, registry: nil, worker_id: nil,
                   max_concurrent_handlers: 10, lease_ms: 30_000, drain_timeout_ms: 30_000, strict: false,
                   environment: nil, poll: true)
          registry ||= Registry::HandlerRegistry.instance
          paths = Array(handlers) + ENV.fetch("RUBY_HANDLER_PATH", "").split(File::PATH_SEPARATOR)
          problems = registry.discover_handlers(paths)
          problems.each { |problem| warn "tasker: #{problem}" }
          settings = {
            url: url || Url.default, worker_id:, namespaces:,
            templates: TemplateDiscovery.find_templates(templates), handlers: registry.callables,
            max_concurrent_handlers:, lease_ms:, drain_timeout_ms:,
            sdk_version: VERSION, strict:, environment:
          }
          native = Native::NativeWorker.new(Serialization.dump(settings, "configuration"))
          info = Serialization.load(native.start)
          worker = new(native, info, registry, problems)
          Current.add(worker)
          worker.poller.start if poll
          worker
        end

        # `TASKER_URL`, or a file in the current folder.
        def default_url = Url.default

        # The worker of this process that was started last; nil if all have been stopped.
        def current = Current.worker

        # As `current`; raises with no worker running.
        def current! = Current.worker!

        # Every worker of this process.
        def started = Current.workers
      end
    end
  end
end
