# frozen_string_literal: true

require "securerandom"
require "time"

module TaskerCore
  module DomainEvents
    # Shapes the events of declarations that name it; a failing one never fails the step.
    #
    # @example
    #   class Receipts < TaskerCore::DomainEvents::BasePublisher
    #     def publisher_name = "receipts"
    #     def transform_payload(step_result, _declaration, _context) = { total: step_result.result["total"] }
    #   end
    #   TaskerCore::DomainEvents::PublisherRegistry.instance.register(Receipts.new)
    class BasePublisher
      # The name declarations use.
      def publisher_name
        raise NotImplementedError, "#{self.class} does not implement publisher_name"
      end

      # Whether the event is published at all.
      def should_publish?(_step_result, _event_declaration, _step_context) = true

      # The payload; the step's result, or its error.
      def transform_payload(step_result, _event_declaration, _step_context)
        return step_result.result if step_result.success?

        { message: step_result.error_message, error_type: step_result.error_type, error_code: step_result.error_code,
          retryable: step_result.retryable }.compact
      end

      # Merged into the event's metadata.
      def additional_metadata(_step_result, _event_declaration, _step_context) = {}

      # Called before the event is handed over; false stops it.
      def before_publish(_event_name, _payload, _metadata) = true

      # Called once the event is published, which is after the commit of its step.
      def after_publish(_event_name, _payload, _metadata) = nil

      # Called when one of the other methods raised; the event is not published.
      def on_publish_error(_event_name, _error, _payload) = nil

      # Takes an event through all of the above; whether it was handed over.
      def publish(ctx)
        payload = nil
        seen = [ctx.step_result, ctx.event_declaration, ctx.step_context]
        return false unless should_publish?(*seen)

        payload = transform_payload(*seen)
        metadata = additional_metadata(*seen)
        return false if before_publish(ctx.event_name, payload, metadata) == false

        emit = ctx.emit || method(:to_subscribers).curry[ctx]
        after_publish(ctx.event_name, payload, metadata) if emit.call(ctx.event_name, payload, metadata)
        true
      rescue StandardError, NotImplementedError => e
        PublisherRegistry.instance.failed(self, ctx.event_name, e, payload)
        false
      end

      private

      def to_subscribers(ctx, name, payload, metadata)
        step = ctx.step_context
        where = step ? step.to_h.slice(:task_uuid, :step_uuid, :step_name, :namespace, :correlation_id) : {}
        known = { **where, fired_at: Time.now.utc.iso8601(3), fired_by: publisher_name, **metadata }
        event = { event_id: SecureRandom.uuid, event_name: name, event_version: step&.task_version.to_s, payload:,
                  metadata: known.transform_keys(&:to_s) }
        SubscriberRegistry.instance.dispatch(Event.new(**event).freeze)
        true
      end
    end

    # Publishes the step's result, or its error.
    class DefaultPublisher < BasePublisher
      def publisher_name = "default"
    end
  end
end
