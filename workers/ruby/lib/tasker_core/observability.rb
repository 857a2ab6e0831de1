# frozen_string_literal: true

module TaskerCore
  # Health, metrics and settings of the running worker, as typed objects.
  module Observability
    autoload :ComponentHealth, "tasker_core/observability/types"
    autoload :HealthCheck, "tasker_core/observability/types"
    autoload :WorkerMetrics, "tasker_core/observability/types"
    autoload :WorkerSettings, "tasker_core/observability/types"

    module_function

    # Health of worker and store.
    def get_health_check
      status = FFI.get_ffi_dispatch_metrics
      worker = status["running"] && !status["draining"] ? "healthy" : "unhealthy"
      store = begin
        FFI.client_health_check
        ComponentHealth.new(name: "store", status: "healthy")
      rescue ClientError => e
        ComponentHealth.new(name: "store", status: "unhealthy", message: e.message)
      end
      parts = [ComponentHealth.new(name: "worker", status: worker), store]
      HealthCheck.new(status: parts.all? { |p| p.status == "healthy" } ? "healthy" : "unhealthy", components: parts)
    end

    # Numbers of the worker since its start.
    def get_metrics
      status = FFI.get_ffi_dispatch_metrics
      WorkerMetrics.new(**WorkerMetrics.members.to_h { |name| [name, status[name.to_s]] })
    end

    # Settings of the worker.
    def get_worker_config = WorkerSettings.new(**FFI.get_worker_config.transform_keys(&:to_sym))
  end
end
