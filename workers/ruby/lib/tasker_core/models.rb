# frozen_string_literal: true

module TaskerCore
  # The step event as objects: wrappers over the document the core writes.
  module Models
    autoload :DependencyResultsWrapper, "tasker_core/models/wrappers"
    autoload :DocumentEvent, "tasker_core/models/document_event"
    autoload :HandlerWrapper, "tasker_core/models/wrappers"
    autoload :StepDefinitionWrapper, "tasker_core/models/wrappers"
    autoload :TaskSequenceStepWrapper, "tasker_core/models/wrappers"
    autoload :TaskWrapper, "tasker_core/models/wrappers"
    autoload :WorkflowStepWrapper, "tasker_core/models/wrappers"
  end
end
