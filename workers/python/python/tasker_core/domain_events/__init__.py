"""Domain events: publishers that make their payloads, subscribers that hear of them in this process.

An event is declared in the template (``publishes_events``) and published by the core once its step's outcome is
committed. A *publisher* shapes or holds back the payload just before; a *subscriber* gets events whose delivery is
``fast`` or ``broadcast``. Durable events wait in a queue: see ``TaskerClient.read_events``.
"""

from __future__ import annotations

from tasker_core.domain_events.base_publisher import BasePublisher, DefaultPublisher
from tasker_core.domain_events.base_subscriber import BaseSubscriber
from tasker_core.domain_events.poller import InProcessDomainEventPoller
from tasker_core.domain_events.publisher_registry import PublisherRegistry
from tasker_core.domain_events.subscriber_registry import SubscriberRegistry
from tasker_core.types.domain_event import (
    DomainEventMetadata,
    EventDeclaration,
    InProcessDomainEvent,
    PublishContext,
    StepEventContext,
    StepResult,
)

__all__ = [
    "BasePublisher",
    "BaseSubscriber",
    "DefaultPublisher",
    "DomainEventMetadata",
    "EventDeclaration",
    "InProcessDomainEvent",
    "InProcessDomainEventPoller",
    "PublishContext",
    "PublisherRegistry",
    "StepEventContext",
    "StepResult",
    "SubscriberRegistry",
]
