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
    autoload :Event, "tasker_core/types/domain_event"
    autoload :EventDeclaration, "tasker_core/types/domain_event"
    autoload :InProcessDomainEventPoller, "tasker_core/domain_events/poller"
    autoload :PublishContext, "tasker_core/types/domain_event"
    autoload :PublisherNotFoundError, "tasker_core/domain_events/publisher_registry"
    autoload :PublisherRegistry, "tasker_core/domain_events/publisher_registry"
    autoload :RegistryFrozenError, "tasker_core/domain_events/publisher_registry"
    autoload :StepEventContext, "tasker_core/types/domain_event"
    autoload :StepResult, "tasker_core/types/domain_event"
    autoload :SubscriberRegistry, "tasker_core/domain_events/subscriber_registry"
    autoload :ValidationError, "tasker_core/domain_events/publisher_registry"

    # Whether anyone shapes or hears events.
    def self.anyone?
      !SubscriberRegistry.instance.subscribers.empty? || !PublisherRegistry.instance.empty? ||
        !BasePublisher.written.empty? || InProcessDomainEventPoller.anyone?
    end

    # Workers take events only once there is someone to hear them.
    def self.wake_workers = Current.wake
  end
end
