# frozen_string_literal: true

module TaskerCore
  module Worker
    # A worker from its start to its stop; `Bootstrap` starts it.
    class Running
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
          Current.forget(self)
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
    at_exit { Current.workers.each { |worker| worker.shutdown!(timeout: 0) } }
  end
end
