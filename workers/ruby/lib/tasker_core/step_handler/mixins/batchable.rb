# frozen_string_literal: true

module TaskerCore
  module StepHandler
    module Mixins
      # Batches: an analyzer cuts the work, workers do it side by side, a convergence adds it up. Results are hashes whose
      # keys fit as strings and as symbols.
      module Batchable
        def capabilities
          (defined?(super) ? super : ["process"]) |
            %w[batchable batch_processing parallel_execution cursor_based deferred_convergence]
        end

        # Ranges of at most `batch_size` items that cover every item once; `max_batches` makes them larger instead.
        #
        # @return [Array<Hash>] `batch_id start_cursor end_cursor batch_size`
        def create_cursor_ranges(total_items, batch_size, step_size: 1, max_batches: nil)
          unless total_items >= 0 && [batch_size, step_size, max_batches || 1].all? { |n| n >= 1 }
            raise ArgumentError, "total_items must be 0 or more; batch_size, step_size and max_batches 1 or more"
          end

          # In whole numbers: a float would lose items beyond 2^53.
          batch_size = [batch_size, -(-total_items / max_batches)].max if max_batches
          (0...total_items).step(batch_size).with_index(1).map do |start, number|
            cursor = cursor_config(number, start, [start + batch_size, total_items].min)
            step_size == 1 ? cursor : cursor.merge("step_size" => step_size)
          end
        end

        # As many ranges as workers, sizes differing by one at most; fewer when there are fewer items. A block may change
        # each one: it gets the cursor and its index.
        #
        # @raise [ArgumentError] no workers, or a number of items below zero
        def create_cursor_configs(total_items, worker_count)
          unless total_items >= 0 && worker_count >= 1
            raise ArgumentError, "total_items must be 0 or more, worker_count 1 or more"
          end

          count = [worker_count, total_items].min
          Array.new(count) do |index|
            cursor = cursor_config(index + 1, total_items * index / count, total_items * (index + 1) / count)
            changed = block_given? ? yield(cursor, index) : nil
            changed.is_a?(Hash) ? changed : cursor
          end
        end

        # The result of an analyzer with work; without a name the workers are those of the step's `batch_config`.
        #
        # @param metadata [Hash] merged into the result, where the convergence reads it, and in every worker's `inputs`
        def create_batches_outcome(cursor_configs:, total_items:, worker_template_name: nil, metadata: {}, **result)
          return no_batches_outcome(metadata:) if cursor_configs.empty?

          outcome = Types::BatchProcessingOutcome.create_batches(cursor_configs:, total_items:, worker_template_name:)
          batch_result({ batch_processing_outcome: outcome.to_h, worker_count: cursor_configs.size, total_items:,
                         **for_workers(metadata), **result }, metadata)
        end

        # The result of an analyzer without work: one placeholder worker runs.
        #
        # @param metadata [Hash] merged into the result
        def no_batches_outcome(reason: nil, metadata: {}, **result)
          outcome = Types::BatchProcessingOutcome.no_batches.to_h
          batch_result({ batch_processing_outcome: outcome, reason:, **result }.compact, metadata)
        end

        # The worker's view of its part; nil if the step is no batch worker.
        #
        # @param context [Types::StepContext]
        # @return [BatchProcessing::BatchWorkerContext, nil]
        def get_batch_context(context) = BatchProcessing::BatchWorkerContext.from_step_context(context)

        # The result of a placeholder worker; nil for any other, which has work to do.
        #
        # @param context [BatchProcessing::BatchWorkerContext, Types::StepContext]
        def handle_no_op_worker(context)
          no_op = context.respond_to?(:no_op?) ? context.no_op? : context.step_inputs["is_no_op"]
          return nil unless no_op

          id = context.respond_to?(:batch_id) ? context.batch_id : BatchProcessing::NO_OP_BATCH_ID
          batch_result({ batch_id: id, no_op: true, processed_count: 0 }, {})
        end

        # The result of a worker: `items_processed items_succeeded items_failed items_skipped last_cursor results errors`,
        # and whatever else is given. Explicit zeros are kept.
        #
        # @param metadata [Hash] merged into the result
        def batch_worker_success(items_processed:, items_succeeded: nil, items_failed: 0, items_skipped: 0,
                                 last_cursor: nil, results: nil, errors: nil, batch_metadata: nil, metadata: {}, **more)
          succeeded = items_succeeded || (items_processed - items_failed - items_skipped)
          said = { last_cursor:, results:, errors:, batch_metadata: }.compact
          batch_result({ items_processed:, items_succeeded: succeeded, items_failed:, items_skipped:, **said, **more },
                       metadata, { batch_worker: true })
        end

        # As `batch_worker_success`, for a worker some of whose items failed; they are in `errors`.
        def batch_worker_partial_failure(metadata: {}, **outcome)
          batch_worker_success(metadata: { partial_failure: true, **metadata }, **outcome)
        end

        # Progress to keep; return it, and the worker is called again with it.
        def checkpoint_yield(cursor:, items_processed: 0, accumulated_results: nil)
          Types::StepHandlerCallResult.checkpoint_yield(cursor:, items_processed:, accumulated_results:)
        end

        # What an aggregating step finds.
        #
        # @param sequence the context's dependency results, or the context itself
        def detect_aggregation_scenario(sequence, analyzer_step_name, batch_worker_prefix)
          results = dependencies_of(sequence)
          BatchProcessing::BatchAggregationScenario.detect(results, analyzer_step_name, batch_worker_prefix)
        end

        # The computed value of a dependency, or a field inside it.
        #
        # @param sequence the context, or its dependency results
        def get_dependency_result(sequence, step_name, *keys)
          value = dependencies_of(sequence).get_results(step_name)
          keys.inject(value) { |found, key| found.is_a?(Hash) ? found[key] || found[key.to_s] : nil }
        end

        # The result of an aggregation over nothing.
        #
        # @param metadata [Hash] merged into the result
        def no_batches_aggregation_result(zero_metrics = {}, metadata: {})
          batch_result({ worker_count: 0, scenario: "no_batches" }, zero_metrics.merge(metadata))
        end

        # The aggregating step's result: what the block makes of the workers' results, or `zero_metrics`. Without a block
        # the standard keys are summed.
        def aggregate_batch_worker_results(scenario, zero_metrics: {})
          return no_batches_aggregation_result(zero_metrics) if scenario.no_batches?

          results = scenario.batch_results
          added = block_given? ? yield(results) : aggregate_worker_results(results)
          added = { result: added } unless added.is_a?(Hash)
          batch_result(added, { worker_count: scenario.worker_count, scenario: "with_batches" })
        end

        # Sums of the standard keys; workers without a result count as workers that did nothing.
        def aggregate_worker_results(results)
          all = results.is_a?(Hash) ? results.values : results
          found = all.grep(Hash).map { |outcome| Types::Indifferent.of(outcome) }
          total = ->(key) { found.sum { |outcome| outcome[key].to_i } }
          processed, succeeded = total.call("items_processed"), total.call("items_succeeded")
          { worker_count: all.size, total_processed: processed, total_succeeded: succeeded,
            total_failed: total.call("items_failed"), total_skipped: total.call("items_skipped"),
            results: found.flat_map { |o| o["results"] || [] }, errors: found.flat_map { |o| o["errors"] || [] },
            success_rate: processed.zero? ? 1.0 : succeeded.fdiv(processed) }
        end

        private

        def cursor_config(number, start, finish)
          Types::Indifferent.of({ "batch_id" => format("%03d", number), "start_cursor" => start, "end_cursor" => finish,
                                  "batch_size" => finish - start })
        end

        def batch_result(result, more, metadata = {})
          Types::StepHandlerCallResult.success(result: Types::Indifferent.of(result).merge(Types::Indifferent.of(more)),
                                               metadata:)
        end

        # Where the core finds what it puts into the workers' inputs.
        def for_workers(metadata) = metadata.nil? || metadata.empty? ? {} : { batch_metadata: metadata }

        def dependencies_of(sequence)
          return sequence.dependency_results if sequence.respond_to?(:dependency_results)

          sequence.is_a?(Hash) ? BatchProcessing::PlainResults.new(sequence) : sequence
        end
      end
    end
  end
end
