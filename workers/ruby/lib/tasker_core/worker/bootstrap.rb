# frozen_string_literal: true

module TaskerCore
  module Worker
    # A running worker.
    #
    # @example
    #   worker = TaskerCore::Worker::Bootstrap.start!(url: "sqlite:///shop.db", handlers: ["handlers"],
    #                                                 templates: ["workflows"])
    #   worker.run
    class Bootstrap
      # Workers that were started and not stopped, oldest first.
      STARTED = [] # rubocop:disable Style/MutableConstant -- it is a list of what runs
      private_constant :STARTED

      class << self
        # Loads handlers and templates, opens the engine and starts.
        #
        # @param url [String] where work comes from; `TASKER_URL` or `sqlite://.tasker/tasker.db` when absent
        # @param handlers [Array<String>] files or folders; `RUBY_HANDLER_PATH` is added
        # @param templates [Array<String>] files, folders or YAML texts; found by the discovery rules when absent
        # @param namespaces [Array<String>] queues to take from; the namespaces of the templates when absent
        # @param lease_ms [Integer] milliseconds the worker may be silent before others take it for gone; the core sees
        #   to its heartbeats
        # @param drain_timeout_ms [Integer, nil] milliseconds a stop waits for running handlers; `TASKER_DRAIN_TIMEOUT`
        #   (seconds) when absent, else 20 s
        # @param environment [String] chooses the templates' overrides; `TASKER_ENV` when absent
        # @param poll [Boolean] whether to take steps; if not, take them yourself with `FFI.poll_step_events`
        # @return [Bootstrap]
        def start!(url: nil, handlers: [], templates: nil, namespaces: nil, registry: nil, worker_id: nil,
                   max_concurrent_handlers: 10, lease_ms: 20_000, drain_timeout_ms: nil, strict: false,
                   environment: nil, poll: true)
          registry ||= Registry::HandlerRegistry.instance
          paths = Array(handlers) + ENV.fetch("RUBY_HANDLER_PATH", "").split(File::PATH_SEPARATOR)
          problems = registry.discover_handlers(paths)
          problems.each { |problem| warn "tasker: #{problem}" }
          settings = {
            url: url || default_url, worker_id:, namespaces:,
            templates: TemplateDiscovery.find_templates(templates), handlers: registry.callables,
            max_concurrent_handlers:, lease_ms:, drain_timeout_ms:,
            sdk_version: VERSION, strict:, environment:
          }
          native = Native::NativeWorker.new(Serialization.dump(settings, "configuration"))
          info = Serialization.load(native.start)
          worker = new(native, info, registry, problems)
          STARTED << worker
          worker.poller.start if poll
          worker
        end

        # `TASKER_URL`, or a file in the current folder.
        def default_url
          url = ENV.fetch("TASKER_URL", "")
          url.empty? ? "sqlite://.tasker/tasker.db" : url
        end

        # The worker of this process that was started last; nil if all have been stopped.
        def current = STARTED.last

        # As `current`; raises with no worker running.
        def current!
          current || raise(Errors::Error, "no worker is running in this process; " \
                                          "start one with TaskerCore::Worker::Bootstrap.start!")
        end

        # Every worker of this process.
        def started = STARTED.dup

        # Forgets a stopped worker.
        def forget(worker) = STARTED.delete(worker)
      end

      attr_reader :native, :info, :registry, :problems, :event_bridge, :poller, :subscriber, :domain_events

      def initialize(native, info, registry, problems)
        @native = native
        @info = info
        @registry = registry
        @problems = problems
        @pid = Process.pid
        @stop_lock = Mutex.new
        @stopped = @exit = false
        # A bridge of its own, or the workers of a process would run each other's steps.
        EventBridge.instance.start
        @event_bridge = EventBridge.new(parent: EventBridge.instance).tap(&:start)
        @subscriber = StepExecutionSubscriber.new(@event_bridge, registry, worker_id, native:) do |error|
          leave(error, "a handler asked the process to end: #{error.inspect}")
        end
        @subscriber.start
        @poller = EventPoller.new(native:)
        @poller.on_step_event { |event| @event_bridge.publish(EventNames::STEP_EXECUTION_RECEIVED, event) }
        @poller.on_error { |error| @event_bridge.publish(EventNames::POLLER_ERROR, error) }
        @poller.on_signal { |signal| signalled(signal) }
        @domain_events = InProcessDomainEventPoller.new(native:)
        hear_domain_events if DomainEvents.anyone?
      end

      def worker_id = @info["worker_id"]
      def url = @info["url"]
      def running? = !@stopped && @pid == Process.pid
      def status = Serialization.load(@native.status)

      # A client of the same engine.
      def client = Client.new(url:, native: @native.client)

      # Starts handing domain events to publishers and subscribers; done by itself once there are any.
      def hear_domain_events
        @domain_events.start if running?
      end

      # Stops claiming, waits for running handlers, hands back the rest. True if all ended in time.
      #
      # @param timeout [Numeric, nil] seconds to wait; the configured `drain_timeout_ms` when absent, 0 for none
      def shutdown!(timeout: nil)
        return true if @pid != Process.pid

        @stop_lock.synchronize do
          return true if @stopped

          finished = @native.drain(timeout && (timeout * 1000).to_i)
          @stopped = @exit = true
          @domain_events.stop
          @native.close
          # A handler that still runs ends in its own time, in a thread that keeps no process alive.
          @poller.stop(timeout: timeout&.zero? ? 0.2 : 1)
          @subscriber.stop
          @event_bridge.stop
          Bootstrap.forget(self)
          finished
        end
      end
      alias stop shutdown!

      # Works until SIGINT or SIGTERM, then drains; a second signal ends at once. Gives an exit code.
      def run
        seen = []
        before = %w[INT TERM].to_h do |name|
          [name, trap(name) do
            seen << name
            @exit = true
            Process.exit!(128 + Signal.list[name]) if seen.size > 1
          end]
        end
        # Short waits, so that a signal is heard at once.
        sleep(0.05) until @exit
        unless seen.empty? || @stopped || @native.drain(0)
          warn "tasker: waiting for running handlers; a second signal ends at once"
        end
        shutdown!
        @failure ? 1 : 0
      ensure
        before&.each { |name, handler| trap(name, handler || "DEFAULT") }
      end

      private

      def signalled(signal)
        case signal.kind
        when "fatal" then leave(Errors::Error.new(signal.message), "the worker cannot go on: #{signal.message}")
        when "shutdown" then @exit = true
        end
      end

      # Drains and stops, whether or not anyone is in `run`.
      def leave(error, why)
        return if @failure

        @failure = error
        warn "tasker: #{why}"
        @exit = true
        Thread.new { shutdown! }
      end
    end

    # Hands steps back at once, so that the process ends quickly and cleanly with a worker running.
    at_exit { Bootstrap.started.each { |worker| worker.shutdown!(timeout: 0) } }
  end
end
