# frozen_string_literal: true

module TaskerCore
  module DomainEvents
    # Hears events of this process; a failing one stops no other.
    #
    # @example
    #   class Mailer < TaskerCore::DomainEvents::BaseSubscriber
    #     subscribes_to "order.*"
    #     def handle(event) = puts(event.event_name)
    #   end
    #   TaskerCore::DomainEvents::SubscriberRegistry.instance.register(Mailer).start
    class BaseSubscriber
      # Says which events are heard: exact names, `prefix.*`, or `*`.
      def self.subscribes_to(*patterns)
        patterns.empty? ? @patterns || [] : @patterns = patterns.flatten
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
      def subscriptions = self.class.subscribes_to

      # Whether it hears events of that name.
      def matches?(event_name)
        subscriptions.any? do |pattern|
          pattern == "*" || pattern == event_name || (pattern.end_with?(".*") && event_name.start_with?(pattern[0..-2]))
        end
      end

      # Whether it hears events now.
      def active? = @active || false

      # Starts hearing.
      def start
        @active = true
        SubscriberRegistry.instance.add(self)
        self
      end

      # Stops hearing.
      def stop = @active = false
    end
  end
end
