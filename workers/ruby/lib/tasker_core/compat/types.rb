# frozen_string_literal: true

require "securerandom"

module TaskerCore
  # Types that programs of older form name: requests, templates, and what the wire carried. The core reads none of them.
  module Types
    UUID_REGEX = /\A[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\z/i
    TASK_STATES = %w[pending in_progress completed failed cancelled paused].freeze
    private_constant :TASK_STATES

    # How often and when a step is tried again.
    class RetryConfiguration < Model
      attribute :retryable, default: true
      attribute :limit, default: 3
      attribute :backoff, default: "exponential", one_of: %w[none linear exponential fibonacci]
      attribute :backoff_base_ms, default: 1000
      attribute :max_backoff_ms, default: 30_000
    end

    # Where a step's data lie.
    class SystemDependencies < Model
      attribute :primary, default: "default"
      attribute :secondary, default: [].freeze
    end

    # An event that a template declares.
    class DomainEventDefinition < Model
      attribute :name
      attribute :description, default: nil
      attribute :schema, default: nil
    end

    # Who wrote a template, and when.
    class TemplateMetadata < Model
      attribute :author, default: nil
      attribute :tags, default: [].freeze
      attribute :documentation_url, default: nil
      attribute :created_at, default: nil
      attribute :updated_at, default: nil
    end

    # What an environment changes of a handler.
    class HandlerOverride < Model
      attribute :initialization, default: nil
    end

    # What an environment changes of a step.
    class StepOverride < Model
      attribute :name
      attribute :handler, default: nil, of: HandlerOverride
      attribute :timeout_seconds, default: nil
      attribute :retry, default: nil, of: RetryConfiguration
    end

    # What an environment changes of a template.
    class EnvironmentOverride < Model
      attribute :steps, default: [].freeze, of: StepOverride
    end

    # A step of a template.
    class StepDefinition < Model
      attribute :name
      attribute :description, default: nil
      attribute :handler, of: HandlerDefinition
      attribute :system_dependency, default: nil
      attribute :dependencies, default: [].freeze
      attribute :retry, default: -> { RetryConfiguration.new }, of: RetryConfiguration
      attribute :timeout_seconds, default: nil
      attribute :publishes_events, default: [].freeze
      attribute :type, default: nil

      def depends_on?(other_step_name) = dependencies.map(&:to_s).include?(other_step_name.to_s)
      def decision? = type.to_s == "decision"
      def standard? = type.nil? || type.to_s == "standard"
    end

    # A template.
    class TaskTemplate < Model
      VERSION_PATTERN = /\A\d+\.\d+\.\d+\z/

      attribute :name
      attribute :namespace_name, default: "default"
      attribute :version, default: "1.0.0"
      attribute :description, default: nil
      attribute :metadata, default: nil, of: TemplateMetadata
      attribute :system_dependencies, default: -> { SystemDependencies.new }, of: SystemDependencies
      attribute :domain_events, default: [].freeze, of: DomainEventDefinition
      attribute :input_schema, default: nil
      attribute :steps, default: [].freeze, of: StepDefinition
      attribute :environments, default: -> { {} }
      attribute :loaded_from, default: nil

      # The names templates had in our own form.
      def namespace = namespace_name
      def handlers = all_callables

      # @return [String] `namespace/name:version`
      def template_key = "#{namespace_name}/#{name}:#{version}"

      # @return [Array<String>] names of the handlers it asks for
      def all_callables = steps.map { |step| step.handler.callable }.uniq

      # Whether it has a name, a namespace, a version of three numbers, and steps that each have a handler.
      def valid_for_registration?
        !name.to_s.empty? && !namespace_name.to_s.empty? && version.to_s.match?(VERSION_PATTERN) && !steps.empty? &&
          steps.all? { |step| !step.name.to_s.empty? && !step.handler.callable.to_s.empty? }
      end

      # The template as an environment changes it.
      def resolve_for_environment(environment_name)
        override = environments.to_h.transform_keys(&:to_s)[environment_name.to_s]
        return self if override.nil?

        override = EnvironmentOverride.new(override) if override.is_a?(Hash)
        with(steps: steps.map { |step| changed(step, override.steps.find { |other| other.name == step.name }) })
      end

      private

      def changed(step, override)
        return step if override.nil?

        config = override.handler&.initialization
        handler = config ? step.handler.with(initialization: step.handler.initialization.merge(config)) : step.handler
        step.with(**{ handler:, timeout_seconds: override.timeout_seconds, retry: override.retry }.compact)
      end
    end

    # Requests and their answers.
    module TaskTypes
      # A request to create a task; `Client#create_task` takes its fields.
      class TaskRequest < Model
        attribute :namespace, default: "default"
        attribute :name
        attribute :version, default: "1.0.0"
        attribute :status, default: "pending", one_of: TASK_STATES
        attribute :initiator, default: "api"
        attribute :source_system, default: "api"
        attribute :reason, default: "requested"
        attribute :complete, default: false
        attribute :tags, default: [].freeze
        attribute :context, default: -> { {} }
        attribute :priority, default: 0
        attribute :claim_timeout_seconds, default: 60
        attribute :max_retries, default: 3
        attribute :timeout_seconds, default: 300
        attribute :parent_task_uuid, default: nil
        attribute :correlation_id, default: nil
        attribute :parent_correlation_id, default: nil
        attribute :idempotency_key, default: nil
        attribute :options, default: nil
        attribute :requested_at, default: -> { Time.now }
        attribute :run_at, default: nil

        # Fields the core takes; the others say nothing to it.
        TAKEN = %i[name namespace version context initiator source_system reason tags priority correlation_id
                   parent_correlation_id idempotency_key options requested_at run_at].freeze
        private_constant :TAKEN

        # From a hash.
        #
        # @raise [Errors::ValidationError] a field is missing, or has a value it may not have
        def self.from_hash(hash)
          said = Indifferent.symbols(hash.to_h)
          missing = %i[namespace name initiator source_system reason context] - said.keys
          raise Errors::ValidationError, "the request lacks #{missing.join(", ")}" unless missing.empty?

          new(said)
        rescue ArgumentError => e
          raise Errors::ValidationError, e.message
        end

        # One for tests.
        def self.build_test(namespace:, name:, context:, **options)
          new(namespace:, name:, context:, initiator: "test", source_system: "rspec", reason: "testing", **options)
        end

        # Whether it has what a task needs.
        def valid_for_creation?
          [namespace, name, version, initiator, source_system, reason].none? do |text|
            text.to_s.empty?
          end && context.is_a?(Hash)
        end

        # @return [Hash] the fields the core takes, as far as they are set
        def to_ffi_hash = to_h.slice(*TAKEN).compact
      end

      # What became of a request.
      class TaskResponse < Model
        attribute :task_uuid
        attribute :status, one_of: TASK_STATES
        attribute :workflow_steps, default: [].freeze
        attribute :created_at, default: nil
        attribute :estimated_completion, default: nil
        attribute :metadata, default: nil
      end
    end

    TaskRequest = TaskTypes::TaskRequest
    TaskResponse = TaskTypes::TaskResponse

    # What became of steps.
    module StepTypes
      # A step that has ended.
      class StepCompletion < Model
        attribute :step_name
        attribute :status, one_of: %w[complete failed pending]
        attribute :results, default: {}.freeze
        attribute :duration_ms, default: nil
        attribute :completed_at, default: nil
        attribute :error_message, default: nil

        def completed? = status == "complete"
        def failed? = status == "failed"
        def pending? = status == "pending"
        def duration_seconds = duration_ms && (duration_ms / 1000.0)
        def valid? = !step_name.to_s.empty? && (!failed? || !error_message.to_s.empty?)
      end

      # Why a step failed.
      class StepExecutionError < Model
        attribute :error_type
        attribute :message
        attribute :retryable, default: true
        attribute :error_code, default: nil
        attribute :stack_trace, default: nil
      end

      # How an attempt ended.
      class StepExecutionStatus < Model
        STATES = %w[success failed in_progress cancelled timeout].freeze
        attribute :status, one_of: STATES

        def success? = status == "success"
        def failed? = status == "failed"
        def in_progress? = status == "in_progress"
        def completed? = !in_progress?
      end

      # What an attempt came to.
      class StepResult < Model
        attribute :task_uuid
        attribute :step_uuid
        attribute :status, of: StepExecutionStatus
        attribute :execution_time_ms, default: 0
        attribute :completed_at, default: -> { Time.now }
        attribute :result_data, default: nil
        attribute :error, default: nil, of: StepExecutionError
        attribute :orchestration_metadata, default: nil

        class << self
          def success(step_uuid:, task_uuid:, result_data: nil, execution_time_ms: 0)
            of("success", step_uuid, task_uuid, execution_time_ms, result_data:)
          end

          def failure(step_uuid:, task_uuid:, error:, execution_time_ms: 0)
            of("failed", step_uuid, task_uuid, execution_time_ms, error:)
          end

          def in_progress(step_uuid:, task_uuid:, result_data: nil, execution_time_ms: 0)
            of("in_progress", step_uuid, task_uuid, execution_time_ms, result_data:)
          end

          private

          def of(status, step_uuid, task_uuid, execution_time_ms, **more)
            new(task_uuid:, step_uuid:, status: StepExecutionStatus.new(status:), execution_time_ms:, **more)
          end
        end

        def success? = status.respond_to?(:success?) ? status.success? : status == "success"
        def failed? = status.respond_to?(:failed?) ? status.failed? : status == "failed"
      end
    end

    StepCompletion = StepTypes::StepCompletion

    # A step by its UUIDs, as messages between processes name it.
    class SimpleMessage < Model
      attribute :task_uuid
      attribute :step_uuid
      attribute :correlation_id, default: nil
    end

    # A step with its names, as messages between processes name it.
    class StepMessage < Model
      attribute :task_uuid
      attribute :step_uuid
      attribute :correlation_id, default: nil
      attribute :step_name, default: nil
      attribute :namespace, default: nil
      attribute :task_name, default: nil
      attribute :task_version, default: nil
    end
  end
end
