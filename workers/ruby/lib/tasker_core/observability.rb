# frozen_string_literal: true

module TaskerCore
  # Health, metrics and settings of the running worker, as typed objects.
  module Observability
    autoload :ComponentHealth, "tasker_core/observability/types"
    autoload :HealthCheck, "tasker_core/observability/types"
    autoload :Types, "tasker_core/compat/observability_types"
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

    # Whether a worker runs and takes steps.
    def ready? = Current.worker ? Current.worker.health_check[:healthy] : false

    # Whether a worker runs.
    def alive? = Current.worker&.running? || false

    # @return [String] what chooses the overrides of templates
    def environment = ENV.fetch("TASKER_ENV", "development")

    # The rest are views of the same in the published shapes; see `Observability::Types`.
    def health_basic = Types.basic_health
    def health_live = Types.basic_health
    def health_ready = Types.detailed_health
    def health_detailed = Types.detailed_health
    def config = Types.runtime_config
    def event_stats = Types.event_stats
    def cache_stats = Types::CacheStats.new(total_entries: Types.templates.size, hits: 0, misses: 0, evictions: 0)

    # @return [String] the worker's numbers as JSON
    def metrics_worker = JSON.generate(FFI.get_ffi_dispatch_metrics)

    # @return [String] the worker's numbers as Prometheus reads them
    def prometheus_metrics
      FFI.get_ffi_dispatch_metrics.filter_map do |name, value|
        "tasker_worker_#{name} #{value}\n" if value.is_a?(Numeric)
      end.join
    end

    # @return [String] the templates of the worker as JSON
    def templates_list(include_cache_stats: false)
      said = { templates: Types.templates }
      said[:cache_stats] = cache_stats.to_h if include_cache_stats
      JSON.generate(said)
    end

    # @return [String] a template of the worker as JSON
    # @raise [Errors::NotFoundError] it has none of that name
    def template_get(namespace:, name:, version:) = JSON.generate(Types.template(namespace, name, version))

    # Whether the handlers of a template of the worker are there.
    #
    # @return [Types::TemplateValidation]
    def template_validate(namespace:, name:, version:) = Types.validate(namespace, name, version)
  end
end
