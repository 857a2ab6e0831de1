# frozen_string_literal: true

module TaskerCore
  module Models
    # A step event made from its wire document, with the methods of the native one; for tests and for pollers.
    class DocumentEvent
      # @return [Hash] task, step, dependency results and definition
      attr_reader :sequence

      # @param document [Hash, TaskSequenceStepWrapper] the wire document, or only its `task_sequence_step`; keys as
      #   strings or symbols
      def initialize(document)
        @document = Types::Indifferent.of(document.to_h)
        @sequence = @document["task_sequence_step"] || @document
      end

      def event_id = @document["event_id"]
      def task_uuid = @document["task_uuid"] || inner_task["task_uuid"] || workflow_step["task_uuid"]
      def step_uuid = @document["step_uuid"] || workflow_step["workflow_step_uuid"]
      def correlation_id = @document["correlation_id"] || inner_task["correlation_id"]
      def step_name = workflow_step["name"] || definition["name"]
      def template_step_name = workflow_step["template_step_name"] || definition["name"]
      def namespace = task["namespace_name"]
      def task_name = task["task_name"]
      def task_version = task["task_version"]
      def handler_callable = handler["callable"]
      def handler_method = handler["method"] || handler["handler_method"] || "call"
      def handler_resolver = handler["resolver"]
      def attempts = workflow_step["attempts"].to_i
      def max_attempts = (workflow_step["max_attempts"] || 3).to_i
      def retryable? = workflow_step["retryable"] != false
      def cancelled? = false
      def checkpoint? = !workflow_step["checkpoint"].nil?
      def inputs? = !(workflow_step["inputs"] || {}).empty?
      def publishers? = false
      def dependency_names = dependencies.keys
      def to_json(*) = Serialization.dump(@document)

      # A part as it is, without a detour through text: `:context :inputs :initialization :checkpoint`, or `:dependency`
      # and its name.
      def part(name, of = nil)
        case name
        when :context then inner_task["context"] || {}
        when :inputs then workflow_step["inputs"] || {}
        when :initialization then handler["initialization"] || {}
        when :checkpoint then workflow_step["checkpoint"]
        when :dependency
          envelope = dependencies[of]
          envelope.is_a?(Hash) && envelope.key?("result") ? envelope["result"] : envelope
        end
      end

      %i[context inputs initialization checkpoint].each do |name|
        define_method(:"#{name}_json") { part(name)&.then { |value| Serialization.dump(value) } }
      end

      def dependency_json(name) = part(:dependency, name)&.then { |value| Serialization.dump(value) }

      private

      def task = @sequence["task"] || {}
      def inner_task = task["task"] || task
      def workflow_step = @sequence["workflow_step"] || {}
      def definition = @sequence["step_definition"] || {}
      def handler = definition["handler"] || {}
      def dependencies = @sequence["dependency_results"] || {}
    end
  end
end
