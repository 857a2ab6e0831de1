# frozen_string_literal: true

module TaskerCore
  module Models
    # Fields of a hash as methods. A field the hash does not have is its default, else nil; a name that is no field raises
    # NoMethodError.
    class Wrapper
      class << self
        # Declares fields, those with a default as keywords.
        def fields(*names, **defaults)
          names.each { |name| define_method(name) { self[name] } }
          defaults.each do |name, default|
            define_method(name) do
              value = self[name]
              value.nil? ? default : value
            end
          end
        end

        def from_hash(data) = new(data)
      end

      # @param data [Hash, nil] keys as strings or symbols
      def initialize(data)
        @data = Types::Indifferent.of((data || {}).to_h)
      end

      # @return [Hash] the wrapped hash itself
      def to_h = @data

      # A field by its name, symbol or string; also one that has no method.
      def [](key) = @data[key.to_s]

      # Fields of the hash beyond those declared are methods as well.
      def respond_to_missing?(name, _private = false) = @data.key?(name.to_s) || super

      def method_missing(name, *arguments)
        arguments.empty? && @data.key?(name.to_s) ? self[name] : super
      end
    end

    # The task.
    class TaskWrapper < Wrapper
      fields :task_uuid, :task_name, :task_version, :namespace_name, :correlation_id, :parent_correlation_id, :tags,
             :initiator, :source_system, :reason, :requested_at, :created_at, :updated_at, priority: 0

      def [](key)
        inner = @data["task"].is_a?(Hash) ? @data["task"] : @data
        inner.key?(key.to_s) ? inner[key.to_s] : @data[key.to_s]
      end

      # The task's input.
      def context = self["context"] || Types::Indifferent.of({})

      def respond_to_missing?(name, private = false)
        (@data["task"].is_a?(Hash) && @data["task"].key?(name.to_s)) || super
      end

      def method_missing(name, *arguments)
        arguments.empty? && respond_to_missing?(name) ? self[name] : super
      end
    end

    # The step.
    class WorkflowStepWrapper < Wrapper
      fields :workflow_step_uuid, :task_uuid, :name, :template_step_name, :named_step_uuid, :processed_at, :checkpoint,
             :last_attempted_at, :created_at, :updated_at,
             retryable: true, attempts: 0, max_attempts: 3, in_process: false, processed: false, backoff_request_seconds: 0

      def inputs = self["inputs"] || Types::Indifferent.of({})
      def results = self["results"] || Types::Indifferent.of({})
    end

    # Results of all direct and indirect dependencies, by step name.
    class DependencyResultsWrapper < Wrapper
      include Enumerable

      # The envelope `{"result" => …, "metadata" => …}` of a dependency; nil if there is none.
      def get_result(step)
        envelope = @data[step.to_s]
        return nil if envelope.nil?

        envelope.is_a?(Hash) ? envelope : Types::Indifferent.of({ "result" => envelope })
      end

      # The computed value of a dependency, unwrapped; nil if there is none.
      def get_results(step)
        envelope = @data[step.to_s]
        envelope.is_a?(Hash) && envelope.key?("result") ? envelope["result"] : envelope
      end

      def [](step) = get_result(step)
      def key?(step) = @data.key?(step.to_s)
      def keys = @data.keys

      # Every name.
      def each_key(&) = @data.each_key(&)
      alias each each_key

      # Names are no methods: `get_results` reads them.
      def respond_to_missing?(_name, _private = false) = false
      def method_missing(name, *) = raise(NoMethodError, "undefined method `#{name}' for #{self.class.name}")
    end

    # Which code runs a step.
    class HandlerWrapper < Wrapper
      fields :callable, :resolver

      def initialization = self["initialization"] || Types::Indifferent.of({})
      def handler_method = self["method"] || self["handler_method"]
    end

    # The step in the template.
    class StepDefinitionWrapper < Wrapper
      # `timeout_seconds`: the handler's budget.
      fields :name, :description, :system_dependency, type: "standard", timeout_seconds: 30

      def retry = self["retry"] || Types::Indifferent.of({})
      def dependencies = self["dependencies"] || []
      def publishes_events = self["publishes_events"] || []
      def handler = HandlerWrapper.new(self["handler"])
    end

    # Task, step, dependency results and definition together.
    class TaskSequenceStepWrapper < Wrapper
      def task = @task ||= TaskWrapper.new(@data["task"])
      def workflow_step = @workflow_step ||= WorkflowStepWrapper.new(@data["workflow_step"])
      def dependency_results = @dependency_results ||= DependencyResultsWrapper.new(@data["dependency_results"])
      def step_definition = @step_definition ||= StepDefinitionWrapper.new(@data["step_definition"])

      # A field of the task's context; nil if absent.
      def get_task_field(name) = task.context[name.to_s]

      # The computed value of a dependency; nil if there is none.
      def get_dependency_result(step) = dependency_results.get_results(step)
      alias get_results get_dependency_result
    end
  end
end
