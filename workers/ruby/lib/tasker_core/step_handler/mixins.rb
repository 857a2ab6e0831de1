# frozen_string_literal: true

module TaskerCore
  module StepHandler
    # What any handler may mix in.
    module Mixins
      autoload :API, "tasker_core/step_handler/mixins/api"
      autoload :Batchable, "tasker_core/step_handler/mixins/batchable"
      autoload :Decision, "tasker_core/step_handler/mixins/decision"
    end
  end
end
