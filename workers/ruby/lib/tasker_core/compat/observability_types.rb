# frozen_string_literal: true

module TaskerCore
  module Observability
    # Health, metrics and settings in the shapes of the published library. What the core has no number of is 0 or nil.
    module Types
      # Declares a shape.
      def self.shape(name, *required, optional: [])
        const_set(name, Class.new(TaskerCore::Types::Model) do
          required.each { |field| attribute field }
          optional.each { |field| attribute field, default: nil }
        end)
      end
      private_class_method :shape

      shape :BasicHealth, :status, :worker_id, :timestamp
      shape :CacheOperationResult, :success, :message, :timestamp
      shape :CacheStats, :total_entries, :hits, :misses, :evictions, optional: [:last_maintenance]
      shape :ConfigMetadata, :timestamp, :environment, :version
      shape :DetailedHealth, :status, :timestamp, :worker_id, :checks, :system_info
      shape :DomainEventStats, :router, :in_process_bus, :captured_at, :worker_id
      shape :EventRouterStats, :total_routed, :durable_routed, :fast_routed, :broadcast_routed, :fast_delivery_errors,
            :routing_errors
      shape :HealthCheck, :status, :duration_ms, :last_checked, optional: [:message]
      shape :InProcessEventBusStats, :total_events_dispatched, :rust_handler_dispatches, :ffi_channel_dispatches,
            :rust_handler_errors, :ffi_channel_drops, :rust_subscriber_patterns, :rust_handler_count,
            :ffi_subscriber_count
      shape :RuntimeConfig, :metadata, :worker_id, :worker_type, :auth, :messaging
      shape :SafeAuthConfig, :enabled, :verification_method, :jwt_issuer, :jwt_audience, :api_key_header,
            :api_key_count, :strict_validation, :allowed_algorithms
      shape :SafeMessagingConfig, :backend, :queues
      shape :TemplateValidation, :valid, :namespace, :name, :version, :handler_count, :issues,
            optional: [:handler_metadata]
      shape :WorkerSystemInfo, :version, :environment, :uptime_seconds, :worker_type, :database_pool_size,
            :command_processor_active, :supported_namespaces

      class << self
        def basic_health
          BasicHealth.new(status: Observability.ready? ? "healthy" : "unhealthy",
                          worker_id: Current.worker&.worker_id.to_s, timestamp: now)
        end

        def detailed_health
          checks = Observability.get_health_check.components.to_h do |part|
            [part.name, HealthCheck.new(status: part.status, message: part.message, duration_ms: 0, last_checked: now)]
          end
          healthy = checks.values.all? { |check| check.status == "healthy" }
          DetailedHealth.new(status: healthy ? "healthy" : "unhealthy", timestamp: now,
                             worker_id: Current.worker!.worker_id, checks:, system_info:)
        end

        def runtime_config
          worker = Current.worker!
          RuntimeConfig.new(
            metadata: ConfigMetadata.new(timestamp: now, environment: Observability.environment, version: VERSION),
            worker_id: worker.worker_id, worker_type: "ruby",
            auth: SafeAuthConfig.new(enabled: false, verification_method: "none", jwt_issuer: "", jwt_audience: "",
                                     api_key_header: "", api_key_count: 0, strict_validation: false,
                                     allowed_algorithms: []),
            messaging: SafeMessagingConfig.new(backend: worker.url[/\A\w+/].to_s, queues: worker.info["namespaces"])
          )
        end

        def event_stats
          worker = Current.worker!
          # Whichever poller took them.
          pollers = [worker.domain_events, DomainEvents::InProcessDomainEventPoller.instance]
          received = pollers.sum { |poller| poller.stats[:received] }
          subscribers = DomainEvents::SubscriberRegistry.instance
          router = EventRouterStats.new(total_routed: received, durable_routed: 0, fast_routed: received,
                                        broadcast_routed: 0, fast_delivery_errors: subscribers.stats[:failed],
                                        routing_errors: 0)
          bus = InProcessEventBusStats.new(
            total_events_dispatched: received, rust_handler_dispatches: 0, ffi_channel_dispatches: received,
            rust_handler_errors: 0, ffi_channel_drops: worker.status["domain_events_dropped"].to_i,
            rust_subscriber_patterns: 0, rust_handler_count: 0, ffi_subscriber_count: subscribers.count
          )
          DomainEventStats.new(router:, in_process_bus: bus, captured_at: now, worker_id: worker.worker_id)
        end

        # Those the worker was started with.
        def templates = Current.worker!.info["templates"]

        def template(namespace, name, version)
          templates.find { |t| t.values_at("namespace", "name", "version") == [namespace, name, version] } ||
            raise(Errors::NotFoundError.new("the worker has no template #{namespace}/#{name}:#{version}",
                                            resource_type: "template"))
        end

        def validate(namespace, name, version)
          file = template(namespace, name, version)["path"]
          wanted = file && File.file?(file) ? TemplateDiscovery::TemplateParser.extract_handler_callables(file) : []
          missing = wanted.reject { |callable| Current.worker!.registry.handler_available?(callable) }
          TemplateValidation.new(valid: missing.empty?, namespace:, name:, version:, handler_count: wanted.size,
                                 issues: missing.map { |callable| "no handler answers to `#{callable}`" })
        end

        private

        def now = Time.now.utc.iso8601(3)

        def system_info
          status = FFI.get_ffi_dispatch_metrics
          WorkerSystemInfo.new(version: VERSION, environment: Observability.environment,
                               uptime_seconds: status["uptime_ms"].to_i / 1000, worker_type: "ruby",
                               database_pool_size: 0, command_processor_active: status["running"],
                               supported_namespaces: status["namespaces"])
        end
      end
    end
  end
end
