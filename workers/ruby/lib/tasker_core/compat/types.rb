# frozen_string_literal: true

module TaskerCore
  module Types
    # A request to create a task; see `Client#create_task` for the fields.
    TaskRequest = Struct.new(:name, :namespace, :version, :context, :initiator, :source_system, :reason, :tags, :priority,
                             :correlation_id, :parent_correlation_id, :idempotency_key, :options, :requested_at, :run_at,
                             keyword_init: true) do
      # @return [Hash] the fields that are set
      def to_h = super.compact
    end

    # A template's identity and steps, as the core reads them.
    TaskTemplate = Struct.new(:name, :namespace, :version, :description, :steps, :handlers, keyword_init: true)

    # A step by its UUIDs, as messages between processes name it.
    SimpleMessage = Struct.new(:task_uuid, :step_uuid, :correlation_id, keyword_init: true)

    # A step with its names, as messages between processes name it.
    StepMessage = Struct.new(:task_uuid, :step_uuid, :correlation_id, :step_name, :namespace, :task_name, :task_version,
                             keyword_init: true)
  end
end
