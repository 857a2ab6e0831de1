# frozen_string_literal: true

module TaskerCore
  module Worker
    InProcessDomainEventPoller = DomainEvents::InProcessDomainEventPoller
  end
end
