# frozen_string_literal: true

module TaskerCore
  module Worker
    # Takes domain events of steps that ran in this process and hands them to publishers and subscribers.
    class InProcessDomainEventPoller
      # @return [Hash] events: `:received`, `:errors`
      attr_reader :stats

      # @param polling_interval_ms [Integer] longest pause between two looks at whether to stop
      # @param max_events_per_poll [Integer] events taken at once
      def initialize(native: nil, polling_interval_ms: 1000, max_events_per_poll: 100)
        @native = native
        @polling_interval_ms = polling_interval_ms
        @max_events_per_poll = max_events_per_poll
        @callbacks = []
        @error_callbacks = []
        # One at a time, so that events are handled in the order they came.
        @turn = Mutex.new
        @stats = Hash.new(0)
      end

      # Calls back with each `fast` or `broadcast` event, besides the subscribers.
      def on_event(&block) = @callbacks << block

      # Calls back with what a callback raised.
      def on_error(&block) = @error_callbacks << block

      def running? = @thread&.alive? || false

      # Starts its thread; does nothing if it runs.
      def start
        return if running?

        @native ||= Current.worker!.native
        @stopping = false
        @thread = Thread.new { take(@polling_interval_ms) until @stopping }
        @thread.name = "tasker-events"
        @thread.report_on_exception = false
      end

      # Hands over what has arrived and stops.
      def stop(timeout: 2)
        @stopping = true
        flush
        @thread&.join(timeout) unless @thread == Thread.current
      end

      # Hands over what has arrived, in the caller's thread.
      def flush
        nil while @native && take(0)&.positive?
      end

      private

      # Handles what has arrived; how many events that were, nil once the worker is closed.
      def take(timeout_ms)
        @turn.synchronize do
          messages = @native.poll_in_process_events(@max_events_per_poll, timeout_ms)
          messages.each { |message| hand_over(DomainEvents::Event.from_hash(Serialization.load(message))) }
          messages.size
        end
      rescue Errors::NativeError
        @stopping = true
        nil
      end

      def hand_over(event)
        @stats[:received] += 1
        DomainEvents::PublisherRegistry.instance.published(event)
        return if event.metadata["delivery_mode"] == "durable"

        DomainEvents::SubscriberRegistry.instance.dispatch(event)
        @callbacks.each do |callback|
          callback.call(event)
        rescue StandardError => e
          @stats[:errors] += 1
          @error_callbacks.each { |told| told.call(e) }
        end
      end
    end
  end
end
