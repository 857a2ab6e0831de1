# frozen_string_literal: true

module TaskerCore
  # Values that handlers take and return.
  module Types
    autoload :BatchProcessingOutcome, "tasker_core/types/batch"
    autoload :ClientTypes, "tasker_core/types/client"
    autoload :DecisionPointOutcome, "tasker_core/types/decision"
    autoload :ErrorTypes, "tasker_core/types/results"
    autoload :HandlerDefinition, "tasker_core/registry/handler_definition"
    autoload :Indifferent, "tasker_core/types/model"
    autoload :Model, "tasker_core/types/model"
    autoload :StepContext, "tasker_core/types/step_context"
    autoload :StepHandlerCallResult, "tasker_core/types/results"
    %i[ClientHealthResponse ClientPaginationInfo ClientStepAuditResponse ClientStepReadiness ClientStepResponse
       ClientTaskListResponse ClientTaskResponse].each { |name| autoload name, "tasker_core/compat/client_types" }
    %i[DomainEventDefinition EnvironmentOverride HandlerOverride RetryConfiguration SimpleMessage StepCompletion
       StepDefinition StepMessage StepOverride StepTypes SystemDependencies TaskRequest TaskResponse TaskTemplate
       TaskTypes TemplateMetadata UUID_REGEX].each { |name| autoload name, "tasker_core/compat/types" }
  end
end
