# frozen_string_literal: true

module TaskerCore
  module Observability
    # Health of one part.
    ComponentHealth = Struct.new(:name, :status, :message, keyword_init: true)

    # Health of the worker.
    HealthCheck = Struct.new(:status, :components, keyword_init: true) do
      # Whether every part is healthy.
      def healthy? = status == "healthy"
    end

    # Numbers of the worker since its start.
    WorkerMetrics = Struct.new(:claimed, :completed, :failed, :busy, :slots, :pending_events, :uptime_ms,
                               keyword_init: true)

    # Settings of the worker.
    WorkerSettings = Struct.new(:worker_id, :url, :namespaces, :slots, keyword_init: true)
  end
end
