# frozen_string_literal: true

module TaskerCore
  module DomainEvents
    # Takes domain events of steps that ran in this process and hands them to publishers and subscribers, and to whoever
    # subscribed to a poller. Each event is heard once, however many pollers there are.
    class InProcessDomainEventPoller
      # Seconds between two looks of a poller that is not woken; the core wakes this one.
      POLL_INTERVAL = 0.05
      # Events taken at once.
      MAX_EVENTS_PER_POLL = 10
      LOCK = Mutex.new
      private_constant :LOCK

      class << self
        # One poller for the process; what is subscribed to here hears the events of every worker.
        def instance = LOCK.synchronize { @instance ||= new }

        # Whether a pattern of a list fits a name: the name itself, `prefix.*`, or `*`.
        def match?(patterns, event_name)
          patterns.any? do |pattern|
            pattern == "*" || pattern == event_name || (pattern.end_with?(".*") && event_name.start_with?(pattern[0..-2]))
          end
        end

        # Pollers somebody hears events by. Replaced as a whole, so that handing over needs no lock.
        def heard_by = @heard_by || []

        # Whether somebody hears events by a poller.
        def anyone? = !heard_by.empty?

        # Makes a poller hear events, whichever poller takes them.
        def hear(poller)
          LOCK.synchronize { @heard_by = heard_by | [poller] }
          DomainEvents.wake_workers
        end

        def forget(poller) = LOCK.synchronize { @heard_by = heard_by - [poller] }
      end

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
        @subscriptions = {}
        # One at a time, so that events are handled in the order they came.
        @turn = Mutex.new
        @stats = Hash.new(0)
      end

      # Calls back with each `fast` or `broadcast` event, besides the subscribers.
      def on_event(&block)
        @callbacks += [block]
        self.class.hear(self)
      end

      # Calls back with what a callback raised.
      def on_error(&block) = @error_callbacks += [block]

      # Calls back with each `fast` or `broadcast` event whose name fits: exact, `prefix.*`, `*`.
      #
      # @raise [ArgumentError] without a block
      def subscribe(pattern, &handler)
        raise ArgumentError, "subscribe needs a block" if handler.nil?

        @subscriptions = @subscriptions.merge(pattern.to_s => (@subscriptions[pattern.to_s] || []) + [handler])
        self.class.hear(self)
      end

      # Forgets what was subscribed under a pattern.
      def unsubscribe(pattern)
        @subscriptions = @subscriptions.except(pattern.to_s)
        self.class.forget(self) if @subscriptions.empty? && @callbacks.empty?
      end

      # Forgets all that was subscribed.
      def clear_subscriptions!
        @subscriptions = {}
        self.class.forget(self) if @callbacks.empty?
      end

      def subscriber_count = @subscriptions.each_value.sum(&:size)
      def logger = Logger.instance

      # @return [Thread, nil] the thread that takes events
      def polling_thread = @thread
      def running? = @thread&.alive? || false
      alias active? running?
      alias active running?

      # Starts its thread; does nothing if it runs.
      def start
        return if running?

        @native ||= Current.worker!.native
        @stopping = false
        @thread = Thread.new { work }
        @thread.name = "tasker-events"
        @thread.report_on_exception = false
      end
      alias start! start

      # Hands over what has arrived and stops.
      def stop(timeout: 2)
        @stopping = true
        flush
        @thread&.join(timeout) unless @thread == Thread.current
        # The next start may be for another worker.
        @native = nil if equal?(self.class.instance_variable_get(:@instance))
      end
      alias stop! stop

      # Hands over what has arrived, in the caller's thread.
      def flush
        nil while @native && take(0)&.positive?
      end

      # Calls back with an event that some poller took.
      def hear(event)
        heard = @callbacks + @subscriptions.flat_map do |pattern, handlers|
          self.class.match?([pattern], event.event_name) ? handlers : []
        end
        heard.each { |callback| tell(callback, event) }
      end

      private

      # Whatever a callback raises, the thread goes on.
      def work
        until @stopping
          begin
            take(@polling_interval_ms)
          rescue Exception => e # rubocop:disable Lint/RescueException -- nobody would hear events from then on
            Logger.error("the poller of domain events: #{e.class}: #{e.message}")
            sleep(0.1)
          end
        end
      end

      # Handles what has arrived; how many events that were, nil once the worker is closed.
      def take(timeout_ms)
        @turn.synchronize do
          messages = @native.poll_in_process_events(@max_events_per_poll, timeout_ms)
          messages.each { |message| hand_over(Event.from_hash(Serialization.load(message))) }
          messages.size
        end
      rescue Errors::NativeError
        @stopping = true
        nil
      end

      def hand_over(event)
        @stats[:received] += 1
        PublisherRegistry.instance.published(event)
        return if event.metadata["delivery_mode"] == "durable"

        SubscriberRegistry.instance.dispatch(event)
        self.class.heard_by.each { |poller| poller.hear(event) }
      end

      def tell(callback, event)
        callback.call(event)
      rescue Exception => e # rubocop:disable Lint/RescueException -- a callback must stop no other
        @stats[:errors] += 1
        Logger.error("a callback of a poller raised #{e.class}: #{e.message}") if @error_callbacks.empty?
        begin
          @error_callbacks.each { |told| told.call(e) }
        rescue Exception => again # rubocop:disable Lint/RescueException -- nor may this lose the events that follow
          Logger.error("a callback of a poller failed on #{e.class}: #{e.message}: #{again.class}: #{again.message}")
        end
      end
    end
  end
end
