# frozen_string_literal: true

module TaskerCore
  module Types
    # What the client answers: hashes with readers. Keys fit as symbols and as strings; what the core says besides is there
    # too.
    module ClientTypes
      # Base of all answers.
      class Answer < ActiveSupport::HashWithIndifferentAccess
        class << self
          # Declares fields that are read by their names.
          def fields(*names)
            @attribute_names = attribute_names + names
            names.each { |name| define_method(name) { self[name] } }
          end

          # @return [Array<Symbol>] what was declared
          def attribute_names = @attribute_names || (superclass <= Answer ? superclass.attribute_names : [])
        end

        def initialize(given = {}, **keywords)
          super()
          Indifferent.fill(self, (given || {}).to_h.merge(keywords))
        end

        # @return [Hash] a copy whose keys fit as symbols and as strings
        def to_h(&block) = block ? super : ActiveSupport::HashWithIndifferentAccess.new(self)
        alias attributes to_h
      end

      # A task.
      class TaskResponse < Answer
        fields :task_uuid, :name, :namespace, :version, :status, :created_at, :updated_at, :completed_at, :context,
               :initiator, :source_system, :reason, :priority, :tags, :correlation_id, :parent_correlation_id,
               :total_steps, :pending_steps, :in_progress_steps, :completed_steps, :failed_steps, :ready_steps,
               :execution_status, :recommended_action, :completion_percentage, :health_status

        # From the core's document.
        def self.from_core(said)
          steps = said["steps"]
          counts = steps.is_a?(Hash) ? steps : {}
          ready = said["execution_status"] == "has_ready_steps" ? [counts["pending"].to_i, 1].max : 0
          new(said.merge("total_steps" => counts["total"], "pending_steps" => counts["pending"],
                         "in_progress_steps" => counts["active"], "completed_steps" => counts["complete"],
                         "failed_steps" => counts["error"], "ready_steps" => ready))
        end

        # The steps themselves, where they were given; their counts are under the key.
        def steps = self[:steps].is_a?(Array) ? self[:steps] : []
      end

      # Which part of a list it is.
      class PaginationInfo < Answer
        fields :page, :per_page, :total_count, :total_pages, :has_next, :has_previous
      end

      # A page of tasks.
      class TaskListResponse < Answer
        fields :tasks, :pagination

        def self.from_core(said, limit:, offset:)
          total, size = said["total"].to_i, [limit.to_i, 1].max
          pages = PaginationInfo.new(page: (offset / size) + 1, per_page: limit, total_count: total,
                                     total_pages: -(-total / size), has_next: offset + said["tasks"].size < total,
                                     has_previous: offset.positive?)
          new(said.merge("tasks" => said["tasks"].map { |task| TaskResponse.from_core(task) }, "pagination" => pages))
        end
      end

      # Where a step stands.
      class StepReadiness < Answer
        fields :workflow_step_uuid, :task_uuid, :named_step_uuid, :name, :current_state, :dependencies_satisfied,
               :retry_eligible, :ready_for_execution, :last_failure_at, :next_retry_at, :total_parents,
               :completed_parents, :attempts, :max_attempts, :backoff_request_seconds, :last_attempted_at
      end

      # A step. `results` is the envelope `result success metadata error`.
      class StepResponse < Answer
        ENDED_WELL = %w[complete resolved_manually].freeze
        private_constant :ENDED_WELL

        fields :step_uuid, :task_uuid, :name, :created_at, :updated_at, :completed_at, :results, :current_state,
               :retry_eligible, :ready_for_execution, :attempts, :max_attempts, :last_failure_at, :next_retry_at,
               :last_attempted_at

        # From the core's document.
        #
        # @yieldreturn [Array<Hash>] the task's steps; asked for once somebody wants to know of its parents
        def self.from_core(said, &steps)
          made = new(said.merge(published(said)))
          made.instance_variable_set(:@steps, steps)
          made
        end

        def self.published(said)
          history = said["history"] || []
          failed = history.reject { |attempt| %w[completed checkpointed].include?(attempt["outcome"]) }
          { "current_state" => said["status"], "results" => envelope(said),
            "retry_eligible" => said["retryable"] && said["attempts"].to_i < said["max_attempts"].to_i,
            "ready_for_execution" => said["status"] == "enqueued",
            "last_failure_at" => failed.filter_map { |attempt| attempt["completed_at"] }.last,
            "created_at" => said["created_at"] || history.filter_map { |attempt| attempt["started_at"] }.first,
            "updated_at" => said["updated_at"] || said["completed_at"] || said["last_attempted_at"] }
        end

        def self.envelope(said)
          return nil if said["result"].nil? && said["error"].nil? && said["status"] != "complete"

          { "result" => said["result"], "success" => said["error"].nil?, "metadata" => said["metadata"] || {},
            "error" => said["error"] }
        end
        private_class_method :published, :envelope

        # How many parents it has; those a decision left out do not count.
        def total_parents = self[:total_parents] ||= parents.size

        # How many of its parents are complete.
        def completed_parents = self[:completed_parents] ||= parents.count { |state| ENDED_WELL.include?(state) }

        def dependencies_satisfied
          key?(:dependencies_satisfied) ? self[:dependencies_satisfied] : completed_parents == total_parents
        end

        # Looks at its parents now, so that nothing is asked for later.
        #
        # @return [StepResponse] itself
        def settled
          self[:dependencies_satisfied] = dependencies_satisfied
          self
        end

        private

        # States of its parents, as far as they exist; every worker of a batch is one.
        def parents
          names = self[:dependencies] || []
          return names.map { nil } if names.empty? || @steps.nil?

          @parents ||= @steps.call.filter_map do |step|
            step["status"] unless (names & step.values_at("name", "template_step_name")).empty?
          end
        end
      end

      # An attempt of a step.
      class StepAuditResponse < Answer
        fields :audit_uuid, :workflow_step_uuid, :transition_uuid, :task_uuid, :recorded_at, :worker_uuid,
               :correlation_id, :success, :execution_time_ms, :result, :step_name, :from_state, :to_state

        # From the core's document of an attempt.
        #
        # @param step [Hash] the step it is of
        def self.from_core(said, step)
          well = said["outcome"] == "completed"
          failed = said["next_retry_at"] ? "waiting_for_retry" : "error"
          id = "#{step["step_uuid"]}:#{said["fence"] || said["attempt"]}"
          new(said.merge("audit_uuid" => id, "transition_uuid" => id, "workflow_step_uuid" => step["step_uuid"],
                         "task_uuid" => step["task_uuid"], "step_name" => step["name"], "success" => well,
                         "recorded_at" => said["completed_at"] || said["started_at"], "worker_uuid" => said["worker_id"],
                         "result" => well ? step["result"] : nil, "from_state" => "in_progress",
                         "to_state" => well ? "complete" : failed))
        end
      end

      # Whether the store answers.
      class HealthResponse < Answer
        fields :status, :timestamp

        def self.from_core(said) = new({ "timestamp" => Time.now.utc.iso8601(3) }.merge(said))
        def healthy? = status == "healthy"
      end
    end
  end
end
