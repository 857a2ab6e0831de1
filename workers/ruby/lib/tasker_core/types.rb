# frozen_string_literal: true

module TaskerCore
  # Values that handlers take and return.
  module Types
    autoload :BatchProcessingOutcome, "tasker_core/types/batch"
    autoload :DecisionPointOutcome, "tasker_core/types/decision"
    autoload :ErrorTypes, "tasker_core/types/results"
    autoload :SimpleMessage, "tasker_core/compat/types"
    autoload :StepContext, "tasker_core/types/step_context"
    autoload :StepHandlerCallResult, "tasker_core/types/results"
    autoload :StepMessage, "tasker_core/compat/types"
    autoload :TaskRequest, "tasker_core/compat/types"
    autoload :TaskTemplate, "tasker_core/compat/types"
  end
end
