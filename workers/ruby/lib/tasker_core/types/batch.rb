# frozen_string_literal: true

module TaskerCore
  module Types
    # What an analyzer says: one worker a cursor, or nothing to do.
    module BatchProcessingOutcome
      # There is nothing to do: one placeholder worker runs.
      class NoBatches < Model
        attribute :type, default: "no_batches", one_of: ["no_batches"]

        def requires_batch_creation? = false
        # As the core reads it, under `batch_processing_outcome` of the result.
        def to_h = Indifferent.of(super)
      end

      # One worker a cursor. Without a name the workers are those of the step's `batch_config`.
      class CreateBatches < Model
        attribute :type, default: "create_batches", one_of: ["create_batches"]
        attribute :worker_template_name, default: nil
        attribute :worker_count
        attribute :cursor_configs
        attribute :total_items

        def requires_batch_creation? = true
        # As the core reads it, under `batch_processing_outcome` of the result.
        def to_h = Indifferent.of(super.compact)
      end

      module_function

      # There is nothing to do.
      #
      # @return [NoBatches]
      def no_batches = NoBatches.new

      # One worker a cursor.
      #
      # @param worker_count [Integer, nil] as many as there are cursors
      # @raise [ArgumentError] as many workers as cursors are needed
      # @return [CreateBatches]
      def create_batches(cursor_configs:, total_items:, worker_template_name: nil, worker_count: nil)
        unless worker_count.nil? || worker_count == cursor_configs.size
          raise ArgumentError, "worker_count is #{worker_count}, and there are #{cursor_configs.size} cursor_configs"
        end

        CreateBatches.new(worker_template_name:, worker_count: cursor_configs.size, cursor_configs:, total_items:)
      end

      # What a hash says.
      #
      # @raise [ArgumentError] it is no outcome
      def from_hash(hash)
        said = Indifferent.symbols(hash.to_h)
        case said[:type]
        when "no_batches" then no_batches
        when "create_batches"
          create_batches(**said.slice(:worker_template_name, :worker_count, :cursor_configs, :total_items))
        else raise ArgumentError, "#{hash.inspect} is no outcome: its type must be no_batches or create_batches"
        end
      end
    end
  end
end
