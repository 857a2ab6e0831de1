# frozen_string_literal: true

module TaskerCore
  module BatchProcessing
    # A hash of names to computed values, read as dependency results are.
    PlainResults = Struct.new(:values_by_name) do
      def get_results(name) = Types::Indifferent.of(values_by_name[name.to_s] || values_by_name[name.to_sym])
      def each_key(&) = values_by_name.keys.map(&:to_s).each(&)
    end

    # What an aggregating step finds: workers' results, or that there was nothing to do.
    class BatchAggregationScenario
      # @return [Symbol] `:no_batches` or `:with_batches`
      attr_reader :type
      # @return the analyzer's result
      attr_reader :batchable_result
      # @return [Hash] result by worker name; only workers that have one
      attr_reader :batch_results
      # @return [Integer]
      attr_reader :worker_count

      # Looks at the results of a step's dependencies.
      #
      # @param dependency_results of the context, or what has `get_results` and `each_key`, or a hash of names to values
      # @param batchable_step_name [String] name of the analyzer
      # @param batch_worker_prefix [String] what the workers' names begin with
      def self.detect(dependency_results, batchable_step_name, batch_worker_prefix)
        new(dependency_results, batchable_step_name, batch_worker_prefix)
      end

      # As `detect`.
      def initialize(dependency_results, batchable_step_name, batch_worker_prefix)
        known = dependency_results.is_a?(Hash) ? PlainResults.new(dependency_results) : dependency_results
        names = []
        known.each_key { |name| names << name.to_s }
        workers = names.select { |n| n.start_with?(batch_worker_prefix.to_s) && n != batchable_step_name.to_s }.sort
        @batchable_result = known.get_results(batchable_step_name)
        results = workers.to_h { |name| [name, known.get_results(name)] }
        none = results.empty? || said_none? || placeholder?(results)
        @type = none ? :no_batches : :with_batches
        @batch_results = none ? {} : results
        @worker_count = @batch_results.size
        freeze
      end

      def no_batches? = @type == :no_batches
      def with_batches? = @type == :with_batches

      private

      def said_none?
        outcome = @batchable_result.is_a?(Hash) ? @batchable_result["batch_processing_outcome"] : nil
        outcome.is_a?(Hash) && outcome["type"] == "no_batches"
      end

      # Only the worker that stands for "nothing to do" has run.
      def placeholder?(results) = results.size == 1 && results.each_value.all? { |r| r.is_a?(Hash) && r["no_op"] }
    end
  end
end
