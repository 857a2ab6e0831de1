# frozen_string_literal: true

require "tasker_core"

# The smallest workflows: one of each way a task can go. The twin of scenarios.py.
module Scenarios
  extend TaskerCore::StepHandler::Functional

  step_handler("scenarios.greet", inputs: [:message]) { |_context, message:| { said: message } }

  step_handler("scenarios.refuse") do |_context|
    raise TaskerCore::Errors::PermanentError.new("this can never work", error_code: "NEVER", metadata: { asked: 1 })
  end

  step_handler("scenarios.call_service") do |_context|
    raise TaskerCore::Errors::NetworkError, "the service refused the connection"
  end

  # Several steps on one class, by `method` in the template.
  class Math < TaskerCore::StepHandler::Base
    HANDLER_NAME = "scenarios.math"

    def square(context)
      n = context.get_input("n")
      raise TaskerCore::Errors::ValidationError, "n must be an even whole number" unless n.is_a?(Integer) && n.even?

      n * n
    end

    def add(context) = context.get_dependency_result("square") + 10
    def triple(context) = context.get_dependency_result("add") * 3
    def halve(context) = context.get_dependency_result("triple") / 2.0
    def plus(context) = context.get_dependency_result("square") + 25
    def times(context) = context.get_dependency_result("square") * 2
    def mean(context) = (context.get_dependency_result("plus") + context.get_dependency_result("times")) / 2.0
  end
end
