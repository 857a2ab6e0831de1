# frozen_string_literal: true

module TaskerCore
  module Types
    # What a handler is called with. Payloads are parsed when first asked for; keys are strings.
    #
    # @example
    #   def call(context)
    #     context.get_dependency_result("square") + context.get_input("n")
    #   end
    class StepContext
      attr_reader :event, :handler_name

      # @param event the native step event, or the wire document as a hash
      def initialize(event, handler_name = "")
        @event = event.is_a?(Hash) ? Models::DocumentEvent.new(event) : event
        @handler_name = handler_name
        @results = {}
      end

      # A context over an event: the native one, or the wire document as a hash.
      def self.from_ffi_event(event, handler_name = "") = new(event, handler_name)

      def task_uuid = @event.task_uuid
      def step_uuid = @event.step_uuid
      def correlation_id = @event.correlation_id
      def step_name = @event.step_name
      def namespace_name = @event.namespace

      # The same for every attempt of the step: a fit key for calls to other systems.
      def idempotency_key = @event.step_uuid

      # Whether the attempt has lost its right to report; stop working then.
      def cancelled? = @event.cancelled?

      # Whether the template lets the step be tried again.
      def retryable? = @event.retryable?

      # Attempts before this one.
      def retry_count = @event.attempts

      # Attempts the step may have in all.
      def max_retries = @event.max_attempts

      def is_retry? = retry_count.positive?
      def is_last_retry? = retry_count >= max_retries - 1

      # The task's context.
      def input_data = @input_data ||= Serialization.load(@event.context_json)
      alias context input_data

      # `handler.initialization` of the step.
      def step_config = @step_config ||= Serialization.load(@event.initialization_json)

      # Inputs of a batch worker; empty for other steps.
      def step_inputs = @step_inputs ||= Serialization.load(@event.inputs_json)

      # A field of the task's context; nil if absent.
      def get_input(key) = input_data[key.to_s]

      # A field of the task's context, or the default if absent or nil.
      def get_input_or(key, default = nil)
        value = get_input(key)
        value.nil? ? default : value
      end

      # A field of `handler.initialization`; nil if absent.
      def get_config(key) = step_config[key.to_s]

      # A field of the task: context first, then the task's own fields.
      def get_task_field(key) = input_data.fetch(key.to_s) { task[key] }

      # The computed value of a direct or indirect dependency; nil if there is none.
      def get_dependency_result(step)
        name = step.to_s
        @results.fetch(name) do
          raw = @event.dependency_json(name)
          @results[name] = raw.nil? ? nil : Serialization.load(raw)
        end
      end

      # A field inside the value of a dependency; nil if any part is absent.
      def get_dependency_field(step, *path)
        path.inject(get_dependency_result(step)) { |value, key| value.is_a?(Hash) ? value[key.to_s] : nil }
      end

      # Names of all dependencies that have a result.
      def get_dependency_result_keys = @event.dependency_names

      # Values of all dependencies whose names start with the prefix, by name.
      def get_all_dependency_results(prefix = "")
        get_dependency_result_keys.select { |name| name.start_with?(prefix) }.to_h { |n| [n, get_dependency_result(n)] }
      end

      # All dependencies, by name.
      def dependency_results = task_sequence_step.dependency_results

      # The whole event as objects.
      def task_sequence_step
        @task_sequence_step ||= Models::TaskSequenceStepWrapper.new(
          Serialization.load(@event.to_json)["task_sequence_step"] || {}
        )
      end

      def task = task_sequence_step.task
      def workflow_step = task_sequence_step.workflow_step
      def step_definition = task_sequence_step.step_definition

      # The stored checkpoint `cursor items_processed accumulated_results`, if any.
      def checkpoint
        return nil unless has_checkpoint?

        @checkpoint ||= @event.checkpoint_json&.then { |raw| Serialization.load(raw) }
      end

      def has_checkpoint? = @event.checkpoint?

      # Where to go on; nil at the start.
      def checkpoint_cursor = checkpoint&.fetch("cursor", nil)

      # Items done before; 0 at the start.
      def checkpoint_items_processed = checkpoint ? checkpoint["items_processed"].to_i : 0

      # What the checkpoint carries; nil at the start.
      def accumulated_results = checkpoint&.fetch("accumulated_results", nil)

      # Writes lines that carry task, step and attempt.
      def logger
        Logger.with(task_uuid:, step: step_name, attempt: retry_count + 1, correlation_id:)
      end
    end
  end
end
