# frozen_string_literal: true

module TaskerCore
  module Models
    # Fields of a hash as methods; absent ones are nil.
    class Wrapper
      def initialize(data)
        @data = data
      end

      def self.from_hash(data) = new(data)

      # @return [Hash] the wrapped hash itself
      def to_h = @data

      def [](key) = @data[key.to_s]

      def respond_to_missing?(name, _private = false) = name.match?(/\A[a-z_]+\z/)

      def method_missing(name, *args)
        args.empty? && respond_to_missing?(name) ? self[name] : super
      end
    end

    # The task: `task_uuid context correlation_id tags priority initiator source_system reason requested_at`, and
    # `task_name task_version namespace_name`.
    class TaskWrapper < Wrapper
      def [](key)
        inner = @data.fetch("task", @data)
        inner.key?(key.to_s) ? inner[key.to_s] : @data[key.to_s]
      end

      # The task's input.
      def context = self["context"] || {}
    end

    # The step: `workflow_step_uuid name template_step_name attempts max_attempts retryable inputs checkpoint …`.
    class WorkflowStepWrapper < Wrapper
      def inputs = self["inputs"] || {}
      def results = self["results"] || {}
    end

    # Results of all direct and indirect dependencies, by step name.
    class DependencyResultsWrapper < Wrapper
      include Enumerable

      # The envelope `{"result" => …, "metadata" => …}` of a dependency.
      def get_result(step)
        envelope = @data[step.to_s]
        envelope.is_a?(Hash) ? envelope : nil
      end

      # The computed value of a dependency, unwrapped.
      def get_results(step)
        envelope = @data[step.to_s]
        envelope.is_a?(Hash) ? envelope["result"] : envelope
      end

      def [](step) = get_results(step)
      def key?(step) = @data.key?(step.to_s)
      def keys = @data.keys
      def each(&) = @data.each_key(&)
    end

    # Which code runs a step: `callable initialization handler_method resolver`.
    class HandlerWrapper < Wrapper
      def initialization = self["initialization"] || {}
      def handler_method = self["method"]
    end

    # The step in the template: `name description type dependencies retry timeout_seconds …`.
    class StepDefinitionWrapper < Wrapper
      def handler = HandlerWrapper.new(self["handler"] || {})
    end

    # Task, step, dependency results and definition together.
    class TaskSequenceStepWrapper < Wrapper
      def task = TaskWrapper.new(@data["task"] || {})
      def workflow_step = WorkflowStepWrapper.new(@data["workflow_step"] || {})
      def dependency_results = DependencyResultsWrapper.new(@data["dependency_results"] || {})
      def step_definition = StepDefinitionWrapper.new(@data["step_definition"] || {})
    end
  end
end
