# frozen_string_literal: true

module TaskerCore
  module Types
    # What a handler is called with. Payloads are parsed when first asked for; keys fit as symbols and as strings.
    #
    # @example
    #   def call(context)
    #     context.get_dependency_result("square") + context.get_input("n")
    #   end
    class StepContext
      # @return the native step event, or the document it was made from
      attr_reader :event

      # @param step_data the native step event; the wire document, or its `task_sequence_step`, as a hash; or a
      #   `Models::TaskSequenceStepWrapper`
      # @param handler_name [String, nil] the callable; that of the step's definition when absent
      def initialize(step_data, name = nil, handler_name: nil)
        @event = case step_data
                 when Hash, Models::TaskSequenceStepWrapper then Models::DocumentEvent.new(step_data)
                 else step_data
                 end
        @handler_name = handler_name || name
        @results = {}
      end

      # A context over an event: the native one, or the wire document as a hash.
      def self.from_ffi_event(event, handler_name = nil) = new(event, handler_name:)

      # The callable of the template.
      def handler_name = @handler_name ||= @event.handler_callable.to_s

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
      def input_data = @input_data ||= read(:context) || {}
      alias context input_data

      # `handler.initialization` of the step.
      def step_config = @step_config ||= read(:initialization) || {}

      # Inputs of a batch worker; empty for other steps.
      def step_inputs = @step_inputs ||= read(:inputs) || {}

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
        @results.fetch(name) { @results[name] = read(:dependency, name) }
      end

      # A field inside the value of a dependency; nil if any part is absent.
      #
      # @param path keys of hashes, indexes of lists
      def get_dependency_field(step, *path)
        path.inject(get_dependency_result(step)) do |value, key|
          case value
          when Hash then value[key.to_s]
          when Array then key.is_a?(Integer) ? value[key] : nil
          end
        end
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
      def task_sequence_step = @task_sequence_step ||= Models::TaskSequenceStepWrapper.new(sequence)

      def task = task_sequence_step.task
      def workflow_step = task_sequence_step.workflow_step
      def step_definition = task_sequence_step.step_definition

      # The stored checkpoint `cursor items_processed accumulated_results`, if any.
      def checkpoint
        return nil unless has_checkpoint?

        @checkpoint ||= read(:checkpoint)
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

      private

      # A part of the event: of a document as it is, of the core's parsed.
      def read(part, *of)
        return @event.part(part, *of) if @event.is_a?(Models::DocumentEvent)

        text = @event.public_send(:"#{part}_json", *of)
        text.nil? ? nil : Indifferent.of(Serialization.load(text))
      end

      def sequence
        return @event.sequence if @event.is_a?(Models::DocumentEvent)

        Indifferent.of(Serialization.load(@event.to_json)["task_sequence_step"] || {})
      end
    end
  end
end
