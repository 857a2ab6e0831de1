# frozen_string_literal: true

module TaskerCore
  module DomainEvents
    # The publishers of this process, by name. A publisher class that is only written, not registered, is found by its
    # name as well.
    class PublisherRegistry
      # A publisher of that name is there already.
      class DuplicatePublisherError < StandardError
        attr_reader :publisher_name

        def initialize(name)
          @publisher_name = name
          super("a publisher `#{name}` is registered already")
        end
      end

      # No publisher has that name.
      class PublisherNotFoundError < StandardError
        attr_reader :publisher_name, :registered_publishers

        def initialize(name, registered)
          @publisher_name = name
          @registered_publishers = registered
          super("no publisher `#{name}` is registered; there are #{registered.empty? ? "none" : registered.join(", ")}")
        end
      end

      # The registry takes no more changes.
      class RegistryFrozenError < StandardError
        def initialize(message = "the registry of publishers is frozen") = super
      end

      # Publishers that are needed are not there.
      class ValidationError < StandardError
        attr_reader :missing_publishers, :registered_publishers

        def initialize(missing, registered)
          @missing_publishers = missing
          @registered_publishers = registered
          super("publishers are missing: #{missing.join(", ")}")
        end
      end

      DefaultPublisher = DomainEvents::DefaultPublisher
      LOCK = Mutex.new
      private_constant :LOCK

      # @return [Hash] publications: `:published`, `:skipped`, `:failed`
      attr_reader :stats
      # @return [Hash] publishers that were registered, by name
      attr_reader :publishers
      # @return [BasePublisher] takes declarations that name `default`
      attr_reader :default_publisher

      def self.instance = LOCK.synchronize { @instance ||= new }

      def initialize
        @missed = []
        # What a publisher raised in this thread, until it is seen to.
        @failure = :"tasker_publisher_failure_#{object_id}"
        @default_publisher = DefaultPublisher.new
        reset!
      end

      # Makes a publisher known by its name.
      #
      # @param publisher [BasePublisher, Class] a class is made into an object
      # @raise [ArgumentError] it is no publisher
      # @raise [DuplicatePublisherError] the name is taken
      # @raise [RegistryFrozenError]
      # @return [BasePublisher]
      def register(publisher)
        made = publisher.is_a?(Class) ? publisher.new : publisher
        unless made.is_a?(BasePublisher) || (made.respond_to?(:publish) && made.respond_to?(:name))
          raise ArgumentError, "#{publisher.inspect} is no TaskerCore::DomainEvents::BasePublisher"
        end

        thaw!
        raise DuplicatePublisherError, made.name.to_s if registered?(made.name)

        @publishers = @publishers.merge(made.name.to_s => made)
        DomainEvents.wake_workers
        made
      end

      # Removes a publisher by name; gives it.
      def unregister(name)
        thaw!
        known = @publishers[name.to_s]
        @publishers = @publishers.except(name.to_s)
        known
      end

      # The publisher of a name; nil if there is none.
      def get(name) = name.to_s == "default" ? @default_publisher : @publishers[name.to_s]

      # The publisher of a name, else the default one.
      def get_or_default(name) = get(name) || @default_publisher

      # @raise [PublisherNotFoundError] there is none of that name
      def get_strict(name) = get(name) || raise(PublisherNotFoundError.new(name.to_s, registered_names))

      def registered?(name) = !get(name).nil?

      # @return [Array<String>] without the default
      def registered_names = @publishers.keys.sort

      # @return [Array<String>] with the default
      def publisher_names = [*@publishers.keys, "default"].sort

      def count = @publishers.size
      def empty? = @publishers.empty?
      def logger = Logger.instance

      # Checks that publishers are there, and freezes the registry.
      #
      # @raise [ValidationError] one is not
      def validate_required!(required_publishers)
        missing = required_publishers.map(&:to_s).reject { |name| registered?(name) }
        raise ValidationError.new(missing, registered_names) unless missing.empty?

        freeze!
        true
      end

      # Takes no more changes until `reset!`.
      def freeze! = @frozen = true
      def frozen? = @frozen

      # Forgets all but the default.
      #
      # @raise [RegistryFrozenError]
      def clear
        thaw!
        reset!
      end

      # Forgets all but the default, also when it is frozen.
      def reset!
        @publishers = {}
        @frozen = false
        @stats = Hash.new(0)
      end
      alias clear! reset!

      # Puts back what there was before; for harnesses.
      def restore(publishers) = @publishers = publishers

      # What the publishers make of the events a step will publish, for the core.
      #
      # @return [Array<Hash>] `index payload metadata`, or `index skip`
      def prepare(event, result)
        step = StepEventContext.from_event(event)
        event.publications(result.success, result.retryable != false).flat_map do |index, name, of, delivery, schema|
          publisher = get(of) || written(of)
          next missed(of, name, step) if publisher.nil?

          declared = EventDeclaration.of(name:, publisher: of, delivery_mode: delivery,
                                         schema: schema && Serialization.load(schema))
          prepare_one(publisher, index, PublishContext.new(event_name: name, step_result: result,
                                                           event_declaration: declared, step_context: step))
        end
      end

      # As `prepare`, as JSON; nil if no event of the step names a publisher.
      def prepared_json(event, result)
        return nil unless event.publishers?

        made = prepare(event, result).map do |prepared|
          Serialization.dump(prepared, "event")
        rescue Serialization::SerializationError => e
          Logger.error("the payload of an event of step #{event.step_name} cannot be stored: #{e.message}")
          Serialization.dump(by_default(prepared[:index], result, e))
        end
        "[#{made.join(",")}]"
      end

      # Tells the publisher of an event that it has been published.
      def published(event)
        publisher = get(event.metadata["fired_by"]) || written(event.metadata["fired_by"])
        return if publisher.nil? || event.metadata.key?("publisher_error")

        @stats[:published] += 1
        about = Types::Indifferent.of({ publisher: event.metadata["fired_by"], published_at: event.metadata["fired_at"] })
        publisher.after_publish(event.event_name, event.payload, about.merge(event.metadata))
      rescue Exception => e # rubocop:disable Lint/RescueException -- a publisher must stop no worker
        failed(publisher, event.event_name, e, event.payload)
      end

      # Counts and logs what a publisher raised, and tells it.
      def failed(publisher, event_name, error, payload)
        @stats[:failed] += 1
        Thread.current[@failure] = error
        Logger.error("publisher #{publisher.class} failed on #{event_name}: #{error.class}: #{error.message}")
        publisher.on_publish_error(event_name, error, payload)
      rescue Exception => e # rubocop:disable Lint/RescueException -- as above
        Logger.error("publisher #{publisher.class} failed on its own failure: #{e.class}: #{e.message}")
      end

      private

      def thaw!
        raise RegistryFrozenError if @frozen
      end

      def prepare_one(publisher, index, ctx)
        handed = nil
        ctx.emit = lambda do |_name, payload, metadata|
          handed = { index:, payload:, metadata: metadata.nil? || metadata.empty? ? nil : metadata }
          false
        end
        Thread.current[@failure] = nil
        unless publisher.publish(ctx)
          error = Thread.current[@failure]
          # Nothing is lost because a publisher fails.
          return [by_default(index, ctx.step_result, error)] if error

          @stats[:skipped] += 1
        end
        [handed || { index:, skip: true }]
      end

      def by_default(index, result, error)
        { index:, payload: BasePublisher.default_payload(result),
          metadata: { publisher_error: "#{error.class.name}: #{error.message}" } }
      end

      # The publisher of a class that was never registered.
      def written(name)
        BasePublisher.written.each do |publisher|
          made = publisher.new
          return made if made.name.to_s == name.to_s
        rescue StandardError, NotImplementedError
          # One that needs more to be made was meant to be registered.
          next
        end
        nil
      end

      def missed(name, event_name, step)
        unless @missed.include?(name)
          @missed |= [name]
          Logger.warn("no publisher `#{name}` is registered; " \
                      "event #{event_name} of step #{step.step_name} is published as it is")
        end
        []
      end
    end

    PublisherNotFoundError = PublisherRegistry::PublisherNotFoundError
    RegistryFrozenError = PublisherRegistry::RegistryFrozenError
    ValidationError = PublisherRegistry::ValidationError
  end
end
