# frozen_string_literal: true

module TaskerCore
  # What runs the handlers of received steps.
  Subscriber = Worker::StepExecutionSubscriber
end
