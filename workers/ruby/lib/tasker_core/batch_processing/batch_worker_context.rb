# frozen_string_literal: true

module TaskerCore
  module BatchProcessing
    # A batch worker's view of its part.
    class BatchWorkerContext
      # The view of a step; nil if it is no batch worker.
      def self.from_step_context(context)
        context.step_inputs.key?("cursor") ? new(context) : nil
      end

      # @return the cursor as the analyzer made it, any JSON
      attr_reader :cursor
      # @return [Hash] the template's `batch_config`
      attr_reader :batch_metadata
      # @return [Integer] 0 for the first worker
      attr_reader :batch_index

      def initialize(context)
        inputs = context.step_inputs
        @context = context
        @cursor = inputs["cursor"]
        @batch_metadata = inputs["batch_metadata"] || {}
        @no_op = inputs["is_no_op"] ? true : false
        @batch_index = [context.step_name[/_(\d+)\z/, 1].to_i - 1, 0].max
        freeze
      end

      # The cursor, where it is a hash; any other cursor as `start_cursor`.
      def cursor_config = cursor.is_a?(Hash) ? cursor : { "start_cursor" => cursor }

      def batch_id = cursor_config["batch_id"] || format("%03d", batch_index + 1)
      def total_batches = batch_metadata["total_batches"].to_i

      # First item.
      def start_cursor = cursor_config["start_cursor"]

      # One past the last item.
      def end_cursor = cursor_config["end_cursor"]

      # Distance of items.
      def step_size = cursor_config["step_size"] || 1

      def no_op? = @no_op

      # `cursor items_processed accumulated_results` of a former attempt, once there is one.
      def checkpoint = @context.checkpoint
      def has_checkpoint? = @context.has_checkpoint?
      def checkpoint_cursor = @context.checkpoint_cursor
      def checkpoint_items_processed = @context.checkpoint_items_processed
      def accumulated_results = @context.accumulated_results
    end
  end
end
