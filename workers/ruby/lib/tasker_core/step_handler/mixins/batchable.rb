# frozen_string_literal: true

module TaskerCore
  module StepHandler
    module Mixins
      # Batches: an analyzer cuts the work, workers do it side by side, a convergence adds it up.
      module Batchable
        # Keys a worker's result may carry besides `items_processed`, and what they are when absent.
        OUTCOME = { items_failed: 0, items_skipped: 0, last_cursor: nil, batch_metadata: {} }.freeze
        private_constant :OUTCOME

        # Ranges of at most `batch_size` items that cover every item once; `max_batches` makes them larger instead.
        def create_cursor_ranges(total_items, batch_size, step_size: 1, max_batches: nil)
          unless total_items >= 0 && [batch_size, step_size, max_batches || 1].all? { |n| n >= 1 }
            raise ArgumentError, "total_items must be 0 or more; batch_size, step_size and max_batches 1 or more"
          end

          batch_size = [batch_size, (total_items.to_f / max_batches).ceil].max if max_batches
          (0...total_items).step(batch_size).with_index(1).map do |start, number|
            cursor = cursor_config(number, start, [start + batch_size, total_items].min)
            step_size == 1 ? cursor : cursor.merge("step_size" => step_size)
          end
        end

        # As many ranges as workers, sizes differing by one at most; fewer when there are fewer items. A block may change
        # each one: it gets the cursor and its index.
        def create_cursor_configs(total, worker_count)
          raise ArgumentError, "total must be 0 or more, worker_count 1 or more" unless total >= 0 && worker_count >= 1

          count = [worker_count, total].min
          Array.new(count) do |index|
            cursor = cursor_config(index + 1, total * index / count, total * (index + 1) / count)
            changed = block_given? ? yield(cursor, index) : nil
            changed.is_a?(Hash) ? changed : cursor
          end
        end

        # The result of an analyzer with work; without a name the workers are those of the step's `batch_config`.
        def create_batches_outcome(cursor_configs:, total_items:, worker_template_name: nil, metadata: {}, **result)
          return no_batches_outcome(metadata:) if cursor_configs.empty?

          outcome = Types::BatchProcessingOutcome.create_batches(
            cursor_configs:, total_items:, worker_template_name:
          )
          success_with({ batch_processing_outcome: outcome.to_h, **result }, metadata)
        end

        # The result of an analyzer without work: one placeholder worker runs.
        def no_batches_outcome(reason: nil, metadata: {}, **result)
          outcome = Types::BatchProcessingOutcome.no_batches.to_h
          success_with({ batch_processing_outcome: outcome, reason:, **result }.compact, metadata)
        end

        # The worker's view of its part; nil if the step is no batch worker.
        def get_batch_context(context) = BatchProcessing::BatchWorkerContext.from_step_context(context)

        # The result of a placeholder worker; nil for any other, which has work to do.
        def handle_no_op_worker(context)
          return nil unless context.step_inputs["is_no_op"]

          batch_worker_success(items_processed: 0, items_succeeded: 0, batch_id: BatchProcessing::NO_OP_BATCH_ID,
                               no_op: true)
        end

        # The result of a worker: `items_processed items_succeeded items_failed items_skipped last_cursor batch_metadata
        # results errors`, and whatever else is given. Explicit zeros are kept.
        def batch_worker_success(items_processed:, items_succeeded: nil, metadata: {}, **outcome)
          said = OUTCOME.merge(outcome)
          succeeded = items_succeeded || (items_processed - said[:items_failed] - said[:items_skipped])
          success_with({ items_processed:, items_succeeded: succeeded, **said }, metadata)
        end

        # As `batch_worker_success`, for a worker some of whose items failed; they are in `errors`.
        def batch_worker_partial_failure(metadata: {}, **outcome)
          batch_worker_success(metadata: { partial_failure: true, **metadata }, **outcome)
        end

        # Progress to keep; return it, and the worker is called again with it.
        def checkpoint_yield(cursor:, items_processed: 0, accumulated_results: nil)
          Types::StepHandlerCallResult.checkpoint_yield(cursor:, items_processed:,
                                                        accumulated_results:)
        end

        # What an aggregating step finds; takes the context, or its dependency results.
        def detect_aggregation_scenario(context, batchable_step, worker_prefix)
          results = context.respond_to?(:dependency_results) ? context.dependency_results : context
          BatchProcessing::BatchAggregationScenario.detect(results, batchable_step, worker_prefix)
        end

        # The result of an aggregation over nothing.
        def no_batches_aggregation_result(zero_metrics = {})
          { worker_count: 0, scenario: "no_batches", **zero_metrics.transform_keys(&:to_sym) }
        end

        # The aggregating step's result: what the block makes of the workers' results, or `zero_metrics`. Without a block
        # the standard keys are summed.
        def aggregate_batch_worker_results(scenario, zero_metrics: {})
          return success_with(no_batches_aggregation_result(zero_metrics), {}) if scenario.no_batches?

          results = scenario.batch_results
          added = block_given? ? yield(results) : aggregate_worker_results(results)
          counted = { worker_count: scenario.worker_count, scenario: "with_batches" }
          success_with(added.is_a?(Hash) ? { **counted, **added.transform_keys(&:to_sym) } : { **counted, result: added },
                       {})
        end

        # Sums of the standard keys; workers without a result count as workers that did nothing.
        def aggregate_worker_results(results)
          all = results.is_a?(Hash) ? results.values : results
          found = all.grep(Hash)
          total = ->(key) { found.sum { |outcome| outcome[key].to_i } }
          processed, succeeded = total.call("items_processed"), total.call("items_succeeded")
          { worker_count: all.size, total_processed: processed, total_succeeded: succeeded,
            total_failed: total.call("items_failed"), total_skipped: total.call("items_skipped"),
            results: found.flat_map { |o| o["results"] || [] }, errors: found.flat_map { |o| o["errors"] || [] },
            success_rate: processed.zero? ? 1.0 : succeeded.fdiv(processed) }
        end

        private

        def cursor_config(number, start, finish)
          { "batch_id" => format("%03d", number), "start_cursor" => start, "end_cursor" => finish,
            "batch_size" => finish - start }
        end

        def success_with(result, metadata) = Types::StepHandlerCallResult.success(result:, metadata:)
      end
    end
  end
end
