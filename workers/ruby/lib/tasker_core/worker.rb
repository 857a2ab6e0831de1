# frozen_string_literal: true

TaskerCore::CoreExt.load_all

module TaskerCore
  # What takes steps and runs their handlers.
  module Worker
    autoload :Bootstrap, "tasker_core/worker/bootstrap"
    autoload :EventBridge, "tasker_core/worker/event_bridge"
    autoload :EventNames, "tasker_core/worker/event_bridge"
    autoload :EventPoller, "tasker_core/worker/event_poller"
    autoload :ExecutionResult, "tasker_core/worker/event_bridge"
    autoload :InProcessDomainEventPoller, "tasker_core/compat/in_process_domain_event_poller"
    autoload :Running, "tasker_core/worker/worker"
    autoload :StepExecutionSubscriber, "tasker_core/worker/step_execution_subscriber"
  end
end
