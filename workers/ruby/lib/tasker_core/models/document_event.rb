# frozen_string_literal: true

module TaskerCore
  module Models
    # A step event made from its wire document, with the methods of the native one; for tests and for pollers.
    class DocumentEvent
      def initialize(document)
        @document = document
        @step = document["task_sequence_step"] || {}
      end

      def event_id = @document["event_id"]
      def task_uuid = @document["task_uuid"]
      def step_uuid = @document["step_uuid"]
      def correlation_id = @document["correlation_id"]
      def step_name = workflow_step["name"]
      def template_step_name = workflow_step["template_step_name"]
      def namespace = @step.dig("task", "namespace_name")
      def task_name = @step.dig("task", "task_name")
      def task_version = @step.dig("task", "task_version")
      def handler_callable = @step.dig("step_definition", "handler", "callable")
      def handler_method = @step.dig("step_definition", "handler", "method") || "call"
      def handler_resolver = @step.dig("step_definition", "handler", "resolver")
      def attempts = workflow_step["attempts"].to_i
      def max_attempts = workflow_step.fetch("max_attempts", 1).to_i
      def retryable? = workflow_step.fetch("retryable", true)
      def cancelled? = false
      def checkpoint? = !workflow_step["checkpoint"].nil?
      def inputs? = !(workflow_step["inputs"] || {}).empty?
      def publishers? = false
      def context_json = Serialization.dump(@step.dig("task", "task", "context") || {})
      def inputs_json = Serialization.dump(workflow_step["inputs"] || {})
      def initialization_json = Serialization.dump(@step.dig("step_definition", "handler", "initialization") || {})
      def checkpoint_json = checkpoint? ? Serialization.dump(workflow_step["checkpoint"]) : nil
      def dependency_names = (@step["dependency_results"] || {}).keys
      def to_json(*) = Serialization.dump(@document)

      def dependency_json(name)
        envelope = (@step["dependency_results"] || {})[name]
        if envelope.nil?
          nil
        else
          Serialization.dump(envelope.is_a?(Hash) ? envelope["result"] : envelope)
        end
      end

      private

      def workflow_step = @step["workflow_step"] || {}
    end
  end
end
