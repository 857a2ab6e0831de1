# frozen_string_literal: true

module TaskerCore
  module BatchProcessing
    # A batch worker's view of its part. Keys of its hashes fit as symbols and as strings.
    class BatchWorkerContext
      class << self
        # The view of a step; nil if it is no batch worker.
        #
        # @param context [Types::StepContext]
        def from_step_context(context)
          step = context.workflow_step
          inputs = Types::Indifferent.of(step.inputs || {})
          inputs.key?("cursor") || inputs["is_no_op"] ? new(step) : nil
        end

        # The view of a step.
        #
        # @param workflow_step what has `inputs` and `checkpoint`
        # @raise [ArgumentError] it has no cursor, and stands for no "nothing to do"
        def from_step_data(workflow_step) = new(workflow_step)
      end

      # @return the cursor as the analyzer made it, any JSON
      attr_reader :cursor
      # @return [Hash] the template's `batch_config`
      attr_reader :batch_metadata
      # @return [Hash, nil] `cursor items_processed accumulated_results` of a former attempt, once there is one
      attr_reader :checkpoint
      # @return [Boolean] whether this worker stands for "nothing to do"
      attr_reader :is_no_op
      alias no_op? is_no_op

      # @param workflow_step what has `inputs` and `checkpoint`
      # @raise [ArgumentError] it has no cursor, and stands for no "nothing to do"
      def initialize(workflow_step)
        workflow_step = workflow_step.workflow_step if workflow_step.is_a?(Types::StepContext)
        inputs = Types::Indifferent.of(workflow_step.inputs || {})
        @is_no_op = inputs["is_no_op"] ? true : false
        part = inputs.key?("cursor") || @is_no_op
        raise ArgumentError, "the step is no batch worker: its inputs have no cursor" unless part

        @cursor = inputs["cursor"] || Types::Indifferent.of({})
        @batch_metadata = inputs["batch_metadata"] || Types::Indifferent.of({})
        saved = workflow_step.respond_to?(:checkpoint) ? workflow_step.checkpoint : nil
        @checkpoint = saved.nil? ? nil : Types::Indifferent.of(saved)
        @name = workflow_step.respond_to?(:name) ? workflow_step.name.to_s : ""
        freeze
      end

      # @return [Integer] 0 for the first worker
      def batch_index = [@name[/_(\d+)\z/, 1].to_i - 1, 0].max

      # The cursor, where it is a hash; any other cursor as `start_cursor`.
      def cursor_config = cursor.is_a?(Hash) ? cursor : Types::Indifferent.of({ "start_cursor" => cursor })

      def batch_id = cursor_config["batch_id"] || (is_no_op ? NO_OP_BATCH_ID : format("%03d", batch_index + 1))
      def total_batches = batch_metadata["total_batches"].to_i

      # First item.
      def start_cursor = cursor_config["start_cursor"]

      # One past the last item.
      def end_cursor = cursor_config["end_cursor"]

      # Distance of items.
      def step_size = cursor_config["step_size"] || 1

      def has_checkpoint? = !@checkpoint.nil?

      # Where to go on; nil at the start.
      def checkpoint_cursor = @checkpoint && @checkpoint["cursor"]

      # Items done before; 0 at the start.
      def checkpoint_items_processed = @checkpoint ? @checkpoint["items_processed"].to_i : 0

      # What the checkpoint carries; nil at the start.
      def accumulated_results = @checkpoint && @checkpoint["accumulated_results"]
    end
  end
end
