# frozen_string_literal: true

module TaskerCore
  # Values that handlers take and return.
  module Types
    autoload :BatchProcessingOutcome, "tasker_core/types/batch_processing_outcome"
    autoload :DecisionPointOutcome, "tasker_core/types/decision_point_outcome"
    autoload :ErrorTypes, "tasker_core/types/step_types"
    autoload :SimpleMessage, "tasker_core/types/step_types"
    autoload :StepContext, "tasker_core/types/step_context"
    autoload :StepHandlerCallResult, "tasker_core/types/step_handler_call_result"
    autoload :StepMessage, "tasker_core/types/step_types"
    autoload :TaskRequest, "tasker_core/types/step_types"
    autoload :TaskTemplate, "tasker_core/types/step_types"
  end
end
