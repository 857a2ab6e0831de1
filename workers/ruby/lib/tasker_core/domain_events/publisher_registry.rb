# frozen_string_literal: true

module TaskerCore
  module DomainEvents
    # The publishers of this process, by name.
    class PublisherRegistry
      LOCK = Mutex.new
      private_constant :LOCK

      # @return [Hash] publications: `:published`, `:skipped`, `:failed`
      attr_reader :stats

      def self.instance = LOCK.synchronize { @instance ||= new }

      def initialize
        @missed = []
        clear!
      end

      # Makes a publisher known by its name.
      def register(publisher)
        made = publisher.is_a?(Class) ? publisher.new : publisher
        @publishers = @publishers.merge(made.publisher_name => made)
        DomainEvents.wake_workers
        made
      end

      # The publisher of a name.
      def get(name) = @publishers[name]

      def publisher_names = @publishers.keys.sort

      # Forgets all but the default.
      def clear!
        @publishers = { "default" => DefaultPublisher.new }
        @stats = Hash.new(0)
      end

      # What the publishers make of the events a step will publish, for the core.
      def prepare(event, result)
        step = StepEventContext.from_event(event)
        event.publications(result.success, result.retryable != false).flat_map do |index, name, of, delivery, schema|
          publisher = @publishers[of]
          next missed(of, name, step) if publisher.nil?

          declared = EventDeclaration.new(name:, publisher: of, delivery_mode: delivery,
                                          schema: schema && Serialization.load(schema))
          handed = nil
          emit = lambda do |_name, payload, metadata|
            handed = { index:, payload:, metadata: metadata.nil? || metadata.empty? ? nil : metadata }
            false
          end
          ctx = PublishContext.new(event_name: name, step_result: result, event_declaration: declared,
                                   step_context: step, emit:)
          @stats[:skipped] += 1 unless publisher.publish(ctx)
          [handed || { index:, skip: true }]
        end
      end

      # Tells the publisher of an event that it has been published.
      def published(event)
        publisher = @publishers[event.metadata["fired_by"]]
        return if publisher.nil?

        @stats[:published] += 1
        publisher.after_publish(event.event_name, event.payload, event.metadata)
      rescue StandardError => e
        failed(publisher, event.event_name, e, event.payload)
      end

      # Counts and logs what a publisher raised, and tells it.
      def failed(publisher, event_name, error, payload)
        @stats[:failed] += 1
        Logger.error("publisher #{publisher.class} failed on #{event_name}: #{error.class}: #{error.message}")
        publisher.on_publish_error(event_name, error, payload)
      rescue StandardError => e
        Logger.error("publisher #{publisher.class} failed on its own failure: #{e.class}: #{e.message}")
      end

      private

      def missed(name, event_name, step)
        unless @missed.include?(name)
          @missed |= [name]
          Logger.warn("no publisher `#{name}` is registered; " \
                      "event #{event_name} of step #{step.step_name} is published as it is")
        end
        []
      end
    end
  end
end
