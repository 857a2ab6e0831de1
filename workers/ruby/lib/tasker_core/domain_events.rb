# frozen_string_literal: true

TaskerCore::CoreExt.load_all

module TaskerCore
  # Domain events: publishers that make their payloads, subscribers that hear of them in this process.
  #
  # An event is declared in the template (`publishes_events`) and published by the core once its step's outcome is
  # committed. A *publisher* shapes or holds back the payload just before; a *subscriber* gets events whose delivery is
  # `fast` or `broadcast`. Durable events wait in a queue: see `Client#read_events`.
  module DomainEvents
    autoload :BasePublisher, "tasker_core/domain_events/base_publisher"
    autoload :BaseSubscriber, "tasker_core/domain_events/base_subscriber"
    autoload :DefaultPublisher, "tasker_core/domain_events/base_publisher"
    autoload :PublisherRegistry, "tasker_core/domain_events/publisher_registry"
    autoload :SubscriberRegistry, "tasker_core/domain_events/subscriber_registry"

    # An event as the template declares it; `schema` is checked by the core.
    EventDeclaration = Struct.new(:name, :publisher, :delivery_mode, :schema, keyword_init: true)

    # What a step came to, as publishers see it.
    StepResult = Struct.new(:success, :result, :metadata, :error_message, :error_type, :error_code, :retryable,
                            keyword_init: true) do
      def success? = success
    end

    # The step an event is about. `attempts`: those started before this one.
    StepEventContext = Struct.new(:task_uuid, :step_uuid, :step_name, :namespace, :correlation_id, :task_name, :task_version,
                                  :attempts, keyword_init: true) do
      # From a step event of the core.
      def self.from_event(event) = new(**members.to_h { |name| [name, event.public_send(name)] })
    end

    # Everything a publisher may look at. `emit` takes name, payload and metadata and says whether the event is published
    # already; when absent the event goes to the subscribers of this process.
    PublishContext = Struct.new(:event_name, :step_result, :event_declaration, :step_context, :emit, keyword_init: true)

    # A published event; `metadata` is a hash with string keys.
    Event = Struct.new(:event_id, :event_name, :event_version, :payload, :metadata, keyword_init: true) do
      # From the document of the core.
      def self.from_hash(document) = new(**document.transform_keys(&:to_sym).slice(*members)).freeze
    end

    # Whether a publisher or subscriber is registered.
    def self.anyone?
      !SubscriberRegistry.instance.subscribers.empty? || PublisherRegistry.instance.publisher_names.size > 1
    end

    # Workers take events only once there is someone to hear them.
    def self.wake_workers
      Current.wake
    end
  end
end
