# frozen_string_literal: true

module TaskerCore
  module Worker
    # A worker from its start to its stop; `Bootstrap` starts it.
    class Running
      attr_reader :native, :info, :registry, :problems, :event_bridge, :poller, :subscriber, :domain_events

      # @return [Hash] the settings it was started with
      attr_reader :config

      def initialize(native, info, registry, problems, config = {})
        Running.prepare
        @native = native
        @info = info
        @registry = registry
        @problems = problems
        @config = Types::Indifferent.of(config)
        @pid = Process.pid
        @stop_lock = Mutex.new
        @on_shutdown = []
        @stopped = @exit = false
        # A bridge of its own, or the workers of a process would run each other's steps.
        EventBridge.instance.start
        @event_bridge = EventBridge.new(parent: EventBridge.instance).tap(&:start)
        @subscriber = StepExecutionSubscriber.new(@event_bridge, registry, worker_id, native:)
        @subscriber.start
        @poller = EventPoller.new(native:)
        @poller.on_step_event { |event| @event_bridge.publish(EventNames::STEP_EXECUTION_RECEIVED, event) }
        @poller.on_error { |error| @event_bridge.publish(EventNames::POLLER_ERROR, error) }
        @poller.on_signal { |signal| signalled(signal) }
        @poller.on_death { |error| leave(error, "the worker takes no more steps: #{error.class}: #{error.message}") }
        @domain_events = DomainEvents::InProcessDomainEventPoller.new(native:)
        hear_domain_events if DomainEvents.anyone?
      end

      # Loads what every step needs, so that the first one does not wait for it.
      def self.prepare
        [DomainEvents::Event, DomainEvents::PublisherRegistry, Errors::ErrorClassifier, ExecutionResult, Logger,
         Models::DocumentEvent, Models::TaskWrapper, Registry::MethodDispatchWrapper, Serialization, Types::ErrorTypes,
         Types::HandlerDefinition, Types::StepContext, Types::StepHandlerCallResult].freeze
      end

      def worker_id = @info["worker_id"]
      def url = @info["url"]
      def running? = !@stopped && @pid == Process.pid
      def logger = Logger.instance

      # The core's numbers, and under `rust` and `ruby` what each half says.
      def status
        core = running? ? Serialization.load(@native.status) : { "running" => false }
        state = core["draining"] ? "draining" : "running"
        state = "stopped" unless core["running"]
        Types::Indifferent.of(
          core.merge("rust" => core.merge("status" => state),
                     "ruby" => { status: state, worker_id:, handler_registry_size: registry.handler_count,
                                 event_bridge_active: @event_bridge.active?, event_poller_active: @poller.running?,
                                 subscriber_active: @subscriber.active? })
        )
      end

      # Whether it runs and takes steps.
      #
      # @return [Hash] `healthy status rust ruby`
      def health_check
        said = status
        healthy = said[:rust][:status] == "running"
        Types::Indifferent.of({ healthy:, status: healthy ? "healthy" : said[:rust][:status],
                                rust: said[:rust], ruby: said[:ruby] })
      end

      # Calls the block when the worker is stopped, before its engine is let go.
      def on_shutdown(&block) = @on_shutdown << block

      # The compiled half.
      def rust_handle = @native
      def rust_handle_running? = running?

      # Yields the compiled half.
      #
      # @raise [Errors::Error] the worker has been stopped
      def with_rust_handle
        raise Errors::Error, "the worker has been stopped" unless running?

        yield @native
      end

      # A client of the same engine.
      def client = Client.new(url:, native: @native.client)

      # Starts handing domain events to publishers and subscribers; done by itself once there are any.
      def hear_domain_events
        @domain_events.start if running?
      end

      # Stops claiming, waits for running handlers, hands back the rest. True if all ended in time. In a `trap`, where
      # nothing may be waited for, it is done in a thread of its own, and this gives nil.
      #
      # @param timeout [Numeric, nil] seconds to wait; the configured `drain_timeout_ms` when absent, 0 for none
      def shutdown!(timeout: nil)
        return true if @pid != Process.pid

        @stop_lock.synchronize do
          return true if @stopped

          finished = @native.drain(timeout && (timeout * 1000).to_i)
          @on_shutdown.each { |block| tell_of_stop(block) }
          @stopped = @exit = true
          @domain_events.stop
          @native.close
          # A handler that still runs ends in its own time, in a thread that keeps no process alive.
          @poller.stop(timeout: timeout&.zero? ? 0.2 : 1)
          @subscriber.stop
          @event_bridge.stop
          Current.forget(self)
          finished
        end
      rescue ThreadError
        # A lock cannot be taken in a trap, nor twice by one thread: whoever holds it is stopping the worker.
        @exit = true
        Thread.new { shutdown!(timeout:) } unless @stop_lock.owned?
        nil
      end
      alias stop shutdown!

      # Works until SIGINT or SIGTERM, then drains; a second signal ends at once. Gives an exit code.
      def run
        seen = []
        before = %w[INT TERM].to_h do |name|
          [name, trap(name) do
            seen << name
            @exit = true
            end_at_once(128 + Signal.list[name]) if seen.size > 1
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

      # Steps are handed back first, or they would count as a worker's death; the store may be away, and then not.
      def end_at_once(code)
        Thread.new { @native.close }.join(1)
        Process.exit!(code)
      end

      def tell_of_stop(block)
        block.call
      rescue Exception => e # rubocop:disable Lint/RescueException -- the stop goes on, whatever a block does
        Logger.error("a block of on_shutdown raised #{e.class}: #{e.message}")
      end

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
    at_exit { Current.workers.each { |worker| worker.shutdown!(timeout: 0) } }
  end
end
