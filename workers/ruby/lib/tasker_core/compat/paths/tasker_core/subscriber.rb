# frozen_string_literal: true

# What this path held in the published library.
require "tasker_core"
TaskerCore::Worker::StepExecutionSubscriber
