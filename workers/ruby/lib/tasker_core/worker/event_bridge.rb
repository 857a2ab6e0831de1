# frozen_string_literal: true

module TaskerCore
  module Worker
    # Names of the events a worker publishes.
    module EventNames
      STEP_EXECUTION_RECEIVED = "step.execution.received"
      STEP_COMPLETION_SENT = "step.completion.sent"
      STEP_CHECKPOINT_YIELD_SENT = "step.checkpoint_yield.sent"
      HANDLER_REGISTERED = "handler.registered"
      HANDLER_ERROR = "handler.error"
      POLLER_METRICS = "poller.metrics"
      POLLER_ERROR = "poller.error"
      BRIDGE_ERROR = "bridge.error"
      SCHEMAS = {
        STEP_EXECUTION_RECEIVED => "step event", STEP_COMPLETION_SENT => "ExecutionResult",
        STEP_CHECKPOINT_YIELD_SENT => "step event, checkpoint", HANDLER_REGISTERED => "handler name",
        HANDLER_ERROR => "step event, exception", POLLER_METRICS => "hash of numbers", POLLER_ERROR => "exception",
        BRIDGE_ERROR => "exception"
      }.freeze
    end

    # What became of one attempt, as published in `step.completion.sent`.
    ExecutionResult = Struct.new(:event_id, :step_uuid, :success, :execution_time_ms, :error_message, keyword_init: true)

    # Carries events from the poller to whoever listens. A listener that raises stops no other.
    class EventBridge
      LOCK = Mutex.new
      private_constant :LOCK

      def self.instance = LOCK.synchronize { @instance ||= new }
      def self.reset_instance! = LOCK.synchronize { @instance = nil }

      # @param parent [EventBridge, nil] hears everything but received steps
      def initialize(parent: nil)
        @parent = parent
        @lock = Mutex.new
        # Replaced as a whole, so that publishing needs no lock.
        @listeners = {}
        @active = false
      end

      def start = @active = true

      def stop
        @active = false
        @lock.synchronize { @listeners = {} }
      end

      def active? = @active

      def subscribe(name, listener = nil, &block)
        heard = listener || block
        @lock.synchronize { @listeners = @listeners.merge(name => listeners(name) + [heard]) }
        heard
      end

      def subscribe_once(name, &block)
        once = nil
        once = subscribe(name, lambda { |*values|
          unsubscribe(name, once)
          block.call(*values)
        })
      end

      def unsubscribe(name, listener)
        @lock.synchronize { @listeners = @listeners.merge(name => listeners(name) - [listener]) }
      end

      # Hands values to every listener of a name; whether anyone listens.
      def publish(name, *values)
        heard = listeners(name)
        heard.each do |listener|
          listener.call(*values)
        rescue StandardError => e
          raise if name == EventNames::BRIDGE_ERROR

          publish(EventNames::BRIDGE_ERROR, e) || Logger.error("a listener of #{name} raised #{e.class}: #{e.message}")
        end
        above = name == EventNames::STEP_EXECUTION_RECEIVED ? false : @parent&.publish(name, *values)
        !heard.empty? || above || false
      end

      def listeners(name) = @listeners[name] || []
      def listener_count(name) = listeners(name).size
      def listeners?(name) = !listeners(name).empty? || (@parent&.listeners?(name) || false)

      # What the listeners of a name are called with.
      def event_schema(name) = EventNames::SCHEMAS[name]
    end
  end
end
