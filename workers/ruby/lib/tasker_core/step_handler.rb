# frozen_string_literal: true

TaskerCore::CoreExt.load_all

module TaskerCore
  # Base classes and mixins of handlers.
  module StepHandler
    autoload :Api, "tasker_core/step_handler/api"
    autoload :ApiResponse, "tasker_core/step_handler/mixins/api"
    autoload :Base, "tasker_core/step_handler/base"
    autoload :Batchable, "tasker_core/step_handler/batchable"
    autoload :Decision, "tasker_core/step_handler/decision"
    autoload :Functional, "tasker_core/step_handler/functional"
    autoload :Mixins, "tasker_core/step_handler/mixins"
  end
end
