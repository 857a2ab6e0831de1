# frozen_string_literal: true

module TaskerCore
  # What batches are made of.
  module BatchProcessing
    autoload :BatchAggregationScenario, "tasker_core/batch_processing/batch_aggregation_scenario"
    autoload :BatchWorkerContext, "tasker_core/batch_processing/batch_worker_context"
    autoload :PlainResults, "tasker_core/batch_processing/batch_aggregation_scenario"

    # Batch id of the placeholder worker that stands for "nothing to do".
    NO_OP_BATCH_ID = "000"
  end
end
