# frozen_string_literal: true

module TaskerCore
  module Types
    # What an analyzer says: one worker a cursor, or nothing to do.
    BatchProcessingOutcome = Struct.new(:type, :worker_template_name, :worker_count, :cursor_configs, :total_items,
                                        keyword_init: true) do
      # There is nothing to do: one placeholder worker runs.
      def self.no_batches = new(type: "no_batches").freeze

      # One worker a cursor. Without a name the workers are those of the step's `batch_config`.
      def self.create_batches(cursor_configs:, total_items:, worker_template_name: nil)
        new(type: "create_batches", worker_template_name:, worker_count: cursor_configs.size,
            cursor_configs:, total_items:).freeze
      end

      # As the core reads it, under `batch_processing_outcome` of the result.
      def to_h = super.compact
    end
  end
end
