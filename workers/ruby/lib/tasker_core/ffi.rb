# frozen_string_literal: true

module TaskerCore
  # The core's functions under their published names: thin forms over the compiled half. With no worker running they
  # raise.
  module FFI
    # What of a result's metadata is not the user's own.
    KNOWN_METADATA = %w[execution_time_ms worker_id started_at completed_at retryable retry_after_seconds].freeze
    private_constant :KNOWN_METADATA

    module_function

    def get_version = Native.version
    def get_rust_version = Native.rust_version
    def health_check = !get_version.empty?

    # The next step as a hash of the wire shape; nil if none waits.
    def poll_step_events
      native = worker.native
      event = native.poll(0)
      event = native.poll(0) until event.nil? || event.is_a?(Native::StepEvent) || event.kind == "shutdown"
      event.is_a?(Native::StepEvent) ? Serialization.load(event.to_json) : nil
    end

    # Hands in a result of the wire shape (`StepExecutionResult`); whether the event was still open.
    def complete_step_event(event_id, result)
      event = worker.native.find(event_id)
      return false if event.nil? || event.cancelled?

      said = Serialization.load(Serialization.dump(result))
      metadata = said["metadata"] || {}
      own = metadata.key?("custom") ? metadata["custom"] : metadata.except(*KNOWN_METADATA)
      custom = own.nil? || own.empty? ? nil : Serialization.dump(own, "metadata")
      us = (metadata["execution_time_ms"].to_f * 1000).to_i
      if said["success"]
        told = { success: true, result: said["result"], metadata: own }
        worker.native.finish_success(event, Serialization.dump(said["result"]), custom, us, events(event, told))
      else
        error = { "message" => "the handler gave no message", "error_type" => "handler_error", "retryable" => true }
                .merge((said["error"] || {}).compact)
        after = Types::StepHandlerCallResult.seconds(metadata["retry_after_seconds"])&.then { |s| (s * 1000).to_i }
        told = { success: false, metadata: own, error_message: error["message"],
                 error_type: error["error_type"], error_code: error["error_code"], retryable: error["retryable"] }
        worker.native.finish_failure(event, Serialization.dump(error), after, custom, us, events(event, told))
      end
    end

    # Hands in a checkpoint `cursor items_processed accumulated_results`; whether the event was still open.
    def checkpoint_yield_step_event(event_id, checkpoint)
      event = worker.native.find(event_id)
      return false if event.nil? || event.cancelled?

      said = checkpoint.transform_keys(&:to_s)
      accumulated = said["accumulated_results"]
      accumulated = Serialization.dump(accumulated, "accumulated results") unless accumulated.nil?
      cursor = Serialization.dump(said["cursor"], "cursor")
      worker.native.finish_checkpoint(event, cursor, said["items_processed"].to_i, accumulated, 0)
    end

    # Steps waiting, running, done.
    def get_ffi_dispatch_metrics = worker.status

    # Steps that have been running for over ten seconds, as sentences.
    def check_starvation_warnings
      age = get_ffi_dispatch_metrics["oldest_event_age_ms"]
      age > 10_000 ? ["a step has been running for #{age} ms"] : []
    end

    # The core enforces time limits by itself; kept for compatibility.
    def cleanup_timeouts = nil

    # The next domain event of a step that ran in this process; nil if there is none.
    def poll_in_process_events
      events = worker.native.poll_in_process_events(1, 0)
      events.empty? ? nil : Serialization.load(events.first)
    end

    def get_health_check
      status = get_ffi_dispatch_metrics
      { "status" => status["running"] ? "healthy" : "unhealthy", "worker" => status }
    end

    def get_metrics = get_ffi_dispatch_metrics
    def get_worker_config = get_ffi_dispatch_metrics.slice("worker_id", "url", "namespaces", "slots")

    %i[error warn info debug trace].each do |level|
      define_method(:"log_#{level}") { |message, fields = {}| Logger.write(level, message, fields) }
      module_function :"log_#{level}"
    end

    # Each takes the request or its fields; the answers are those of `Client`.
    def client_create_task(request) = client { |c| c.create_task(**request.to_h.transform_keys(&:to_sym)) }
    def client_get_task(task_uuid) = client { |c| c.get_task(task_uuid) }
    def client_list_tasks(**filters) = client { |c| c.list_tasks(**filters) }
    def client_cancel_task(task_uuid, reason: "") = client { |c| c.cancel_task(task_uuid, reason:) }
    def client_list_task_steps(task_uuid) = client { |c| c.list_task_steps(task_uuid) }
    def client_get_step(task_uuid, step) = client { |c| c.get_step(task_uuid, step) }
    def client_get_step_audit_history(task_uuid, step) = client { |c| c.get_step_audit_history(task_uuid, step) }
    def client_health_check = client(&:health_check)

    def bootstrap_worker(**options) = Worker::Bootstrap.start!(**options)
    def get_worker_status = worker.status
    def is_worker_running = !Current.worker.nil?
    def stop_worker = Current.worker&.shutdown!
    def transition_to_graceful_shutdown = worker.native.drain(0)

    # What publishers make of the step's events.
    def events(event, told)
      DomainEvents::PublisherRegistry.instance.prepared_json(event, DomainEvents::StepResult.of(told))
    end

    def worker = Current.worker!

    def client
      made = worker.client
      yield made
    ensure
      made&.close
    end
  end
end
