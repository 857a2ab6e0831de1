# frozen_string_literal: true

module TaskerCore
  module BatchProcessing
    # What an aggregating step finds: workers' results, or that there was nothing to do.
    class BatchAggregationScenario
      # @return the analyzer's result
      attr_reader :batchable_result
      # @return [Hash] result by worker name; only workers that have one
      attr_reader :batch_results
      # @return [Integer]
      attr_reader :worker_count

      # Looks at the results of a step's dependencies.
      #
      # @param dependency_results of the context, or a hash of names to values
      # @param batchable_step [String] name of the analyzer
      # @param worker_prefix [String] what the workers' names begin with
      def self.detect(dependency_results, batchable_step, worker_prefix)
        analyzed = dependency_results[batchable_step]
        names = dependency_results.keys.select { |n| n.start_with?(worker_prefix) && n != batchable_step }.sort
        results = names.to_h { |name| [name, dependency_results[name]] }
        outcome = analyzed.is_a?(Hash) ? analyzed["batch_processing_outcome"] : nil
        said_none = outcome.is_a?(Hash) && outcome["type"] == "no_batches"
        placeholder = results.size == 1 && results.each_value.all? { |r| r.is_a?(Hash) && r["no_op"] }
        said_none || placeholder ? new(true, analyzed, {}) : new(false, analyzed, results)
      end

      def initialize(no_batches, batchable_result, batch_results)
        @no_batches = no_batches
        @batchable_result = batchable_result
        @batch_results = batch_results
        @worker_count = batch_results.size
        freeze
      end

      def no_batches? = @no_batches
    end
  end
end
