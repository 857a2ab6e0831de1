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

      # @param parent [EventBridge, nil] hears everything as well
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
      alias stop! stop

      # @return [Boolean] whether it was started and not stopped
      attr_reader :active
      alias active? active

      def logger = Logger.instance

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

      # Hands a step to whoever runs steps.
      def publish_step_execution(event_data) = publish(EventNames::STEP_EXECUTION_RECEIVED, event_data)

      # Calls back with each step that arrives.
      def subscribe_to_step_execution(&) = subscribe(EventNames::STEP_EXECUTION_RECEIVED, &)

      # Hands a step's result to the core, and publishes it.
      #
      # @param completion_data [Hash] `event_id`, and a `StepExecutionResult`
      # @return [Boolean] whether the event was still open
      def publish_step_completion(completion_data)
        said = Types::Indifferent.of(completion_data.to_h)
        open = FFI.complete_step_event(said["event_id"], said)
        publish(EventNames::STEP_COMPLETION_SENT, completion_data)
        open
      end

      # Hands a checkpoint to the core, and publishes it. A block is called once it is stored.
      #
      # @param checkpoint_data [Hash] `event_id cursor items_processed accumulated_results`
      # @return [Boolean] whether the event was still open
      def publish_step_checkpoint_yield(checkpoint_data)
        said = Types::Indifferent.of(checkpoint_data.to_h)
        open = FFI.checkpoint_yield_step_event(said["event_id"], said)
        publish(EventNames::STEP_CHECKPOINT_YIELD_SENT, said["event_id"], checkpoint_data)
        yield checkpoint_data if open && block_given?
        open
      end

      # Hands values to every listener of a name; whether anyone listens.
      def publish(name, *values) = spread(name, values, passed_on: false)

      # The worker whose step it is runs it; another subscriber that listens to the process would run it again.
      def spread(name, values, passed_on:)
        heard = listeners(name)
        heard = heard.reject { |listener| runs_steps?(listener) } if passed_on
        heard.each do |listener|
          listener.call(*values)
        # A listener must stop no other, nor the thread it is called in, whatever it raises.
        rescue Exception => e # rubocop:disable Lint/RescueException
          broken(name, e)
        end
        above = @parent&.spread(name, values, passed_on: true)
        !heard.empty? || above || false
      end
      protected :spread

      def runs_steps?(listener) = listener.is_a?(Method) && listener.receiver.is_a?(StepExecutionSubscriber)
      private :runs_steps?

      def broken(name, error)
        said = "a listener of #{name} raised #{error.class}: #{error.message}"
        return Logger.error(said) if name == EventNames::BRIDGE_ERROR

        publish(EventNames::BRIDGE_ERROR, error) || Logger.error(said)
      end
      private :broken

      def listeners(name) = @listeners[name] || []
      def listener_count(name) = listeners(name).size
      def listeners?(name) = !listeners(name).empty? || (@parent&.listeners?(name) || false)

      # What the listeners of a name are called with.
      def event_schema(name) = EventNames::SCHEMAS[name]
    end
  end
end
