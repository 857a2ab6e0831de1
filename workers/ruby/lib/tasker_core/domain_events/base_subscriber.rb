# frozen_string_literal: true

module TaskerCore
  module DomainEvents
    # Hears events of this process; a failing one stops no other.
    #
    # An event is a hash whose keys fit as symbols and as strings, with readers: `event_id event_name event_version
    # metadata payload business_payload execution_result context`.
    #
    # @example
    #   class Mailer < TaskerCore::DomainEvents::BaseSubscriber
    #     subscribes_to "order.*"
    #     def handle(event) = puts(event.event_name)
    #   end
    #   TaskerCore::DomainEvents::SubscriberRegistry.instance.register(Mailer).start
    class BaseSubscriber
      # Says which events are heard: exact names, `prefix.*`, or `*`. Without arguments, what was said.
      def self.subscribes_to(*patterns)
        patterns.empty? ? self.patterns : @patterns = patterns.flatten.map(&:to_s)
      end

      # @return [Array<String>] the patterns; `*` if none were set
      def self.patterns
        @patterns || (superclass <= BaseSubscriber ? superclass.patterns : ["*"])
      end

      # Does what is to be done about the event.
      def handle(_event)
        raise NotImplementedError, "#{self.class} does not implement handle"
      end

      # Called first; false skips the event.
      def before_handle(_event) = true

      # Called after `handle` returned.
      def after_handle(_event) = nil

      # Called when one of the other methods raised.
      def on_handle_error(_event, _error) = nil

      # The patterns it hears.
      def subscriptions = self.class.patterns

      def logger = Logger.instance

      # Whether it hears events of that name.
      def matches?(event_name) = InProcessDomainEventPoller.match?(subscriptions, event_name)

      # Whether it hears events now.
      def active = @active || false
      alias active? active

      # Starts hearing.
      def start(*)
        @active = true
        SubscriberRegistry.instance.add(self)
        self
      end
      alias start! start

      # Stops hearing.
      def stop = @active = false
      alias stop! stop
    end
  end
end
