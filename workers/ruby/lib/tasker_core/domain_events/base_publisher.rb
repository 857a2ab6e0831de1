# frozen_string_literal: true

require "securerandom"
require "time"

module TaskerCore
  module DomainEvents
    # Shapes the events of declarations that name it; a failing one never fails the step, and loses no event.
    #
    # Hooks get hashes whose keys fit as symbols and as strings, with readers: of the step's result `success result
    # metadata error_message …`, of the declaration `name publisher delivery_mode schema`.
    #
    # @example
    #   class Receipts < TaskerCore::DomainEvents::BasePublisher
    #     def name = "receipts"
    #     def transform_payload(step_result, _declaration, _context = nil) = { total: step_result[:result][:total] }
    #   end
    #   TaskerCore::DomainEvents::PublisherRegistry.instance.register(Receipts.new)
    class BasePublisher
      class << self
        # Publisher classes of programs that are loaded.
        def written
          found = ObjectSpace.each_object(singleton_class).reject(&:singleton_class?)
          found.reject! { |publisher| publisher.name.to_s.start_with?("TaskerCore::") }
          found.sort_by { |publisher| publisher.name.to_s }
        end
      end

      # The name declarations use. Define this or `publisher_name`.
      def name
        return publisher_name if method(:publisher_name).owner != BasePublisher

        raise NotImplementedError, "#{self.class} does not implement name"
      end

      # As `name`.
      def publisher_name = name

      def logger = Logger.instance

      # Whether the event is published at all.
      def should_publish?(_step_result, _event_declaration, _step_context = nil) = true

      # The payload; the step's result, or its error.
      def transform_payload(step_result, _event_declaration, _step_context = nil)
        BasePublisher.default_payload(step_result)
      end

      # Merged into the event's metadata.
      def additional_metadata(_step_result, _event_declaration, _step_context = nil) = {}

      # Called before the event is handed over; false stops it.
      def before_publish(_event_name, _payload, _metadata) = true

      # Called once the event is published, which is after the commit of its step.
      def after_publish(_event_name, _payload, _metadata) = nil

      # Called when one of the other methods raised; the event is published with the default payload.
      def on_publish_error(_event_name, _error, _payload) = nil

      # Takes an event through all of the above; whether it was handed over.
      #
      # @param ctx [PublishContext, Hash] `event_name step_result event_declaration step_context`
      def publish(ctx)
        payload = nil
        ctx = PublishContext.new(**Types::Indifferent.symbols(ctx.to_h).slice(*PublishContext.members))
        seen = [StepResult.of(ctx.step_result || {}), EventDeclaration.of(ctx.event_declaration || {}), ctx.step_context]
        return false unless call_hook(:should_publish?, seen)

        payload = call_hook(:transform_payload, seen)
        known = known_metadata(ctx)
        metadata = Types::Indifferent.of({ **known, **symbolized(call_hook(:additional_metadata, seen)) })
        return false if before_publish(ctx.event_name, payload, metadata) == false

        # What the core adds by itself need not be handed over.
        own = metadata.reject { |key, value| known[key.to_sym] == value }
        emit = ctx.emit || method(:to_subscribers).curry[ctx]
        published = emit.call(ctx.event_name, payload, ctx.emit ? own : metadata)
        after_publish(ctx.event_name, payload, metadata) if published
        true
      # A publisher must stop no worker, whatever it raises.
      rescue Exception => e # rubocop:disable Lint/RescueException
        PublisherRegistry.instance.failed(self, ctx.event_name, e, payload)
        false
      end

      # What is published where no publisher says otherwise: the step's result, or its error.
      def self.default_payload(step_result)
        return step_result[:result] if step_result[:success]

        message = step_result[:error_message]
        { message:, error_message: message, error_type: step_result[:error_type], error_code: step_result[:error_code],
          retryable: step_result[:retryable] }.compact
      end

      private

      # Hooks may leave the step's context out.
      def call_hook(name, seen)
        hook = method(name)
        takes_two = hook.arity == 2
        takes_two ? hook.call(*seen.first(2)) : hook.call(*seen)
      end

      def symbolized(given) = Types::Indifferent.symbols((given || {}).to_h)

      def known_metadata(ctx)
        step = ctx.step_context.nil? ? {} : StepEventContext.of(ctx.step_context).to_h
        { publisher: name, published_at: Time.now.utc.iso8601(3),
          **step.slice(:task_uuid, :step_uuid, :step_name, :namespace, :correlation_id) }.compact
      end

      def to_subscribers(ctx, event_name, payload, metadata)
        version = ctx.step_context.nil? ? "" : StepEventContext.of(ctx.step_context).task_version.to_s
        known = { "fired_at" => Time.now.utc.iso8601(3), "fired_by" => name, **metadata }
        SubscriberRegistry.instance.dispatch(
          Event.from_hash(event_id: SecureRandom.uuid, event_name:, event_version: version, payload:, metadata: known)
        )
        true
      end
    end

    # Publishes the step's result, or its error.
    class DefaultPublisher < BasePublisher
      def name = "default"
    end
  end
end
