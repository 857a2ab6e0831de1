# frozen_string_literal: true

module TaskerCore
  module DomainEvents
    # The subscribers of this process. A worker starts all that are registered when it is started itself.
    class SubscriberRegistry
      LOCK = Mutex.new
      private_constant :LOCK

      # @return [Array<BaseSubscriber>] all, started or not
      attr_reader :subscribers

      def self.instance = LOCK.synchronize { @instance ||= new }

      def initialize
        @lock = Mutex.new
        # Replaced as a whole, so that dispatching needs no lock.
        @subscribers = []
        @counts = Hash.new(0)
        @started = false
      end

      # Makes a subscriber known; it hears once it is started.
      #
      # @param subscriber [Class, BaseSubscriber] a class is made into an object
      # @raise [ArgumentError] it is no subscriber
      # @return [BaseSubscriber]
      def register(subscriber)
        unless subscriber.is_a?(Class) ? subscriber <= BaseSubscriber : subscriber.is_a?(BaseSubscriber)
          raise ArgumentError, "#{subscriber.inspect} is no subclass of TaskerCore::DomainEvents::BaseSubscriber"
        end

        made = subscriber.is_a?(Class) ? subscriber.new : subscriber
        add(made)
        made
      end

      # As `register`, for an object.
      #
      # @raise [ArgumentError] it is no subscriber
      def register_instance(subscriber)
        raise ArgumentError, "#{subscriber.inspect} is no subscriber" unless subscriber.is_a?(BaseSubscriber)

        register(subscriber)
      end

      # Adds a subscriber unless it is there.
      def add(subscriber)
        @lock.synchronize { @subscribers |= [subscriber] }
        DomainEvents.wake_workers
      end

      def start_all!
        @started = true
        @subscribers.each(&:start)
      end

      def stop_all!
        @started = false
        @subscribers.each(&:stop)
      end

      # Whether `start_all!` was called last.
      def started? = @started
      def count = @subscribers.size
      def logger = Logger.instance

      # @return [Hash] `started subscriber_count active_count subscribers`, and how many events were `handled`, `skipped`
      #   and `failed`
      def stats
        listed = @subscribers.map { |s| { class: s.class.name, active: s.active?, patterns: s.subscriptions } }
        { started: @started, subscriber_count: count, active_count: @subscribers.count(&:active?), subscribers: listed,
          handled: @counts[:handled], skipped: @counts[:skipped], failed: @counts[:failed] }
      end

      # Stops and forgets all.
      def clear!
        stop_all!
        @lock.synchronize { @subscribers = [] }
        @counts.clear
      end
      alias reset! clear!

      # Puts back what there was before; for harnesses.
      def restore(subscribers)
        (@subscribers - subscribers).each(&:stop)
        @lock.synchronize { @subscribers = subscribers }
      end

      # Hands an event to every started subscriber that hears its name; to how many.
      def dispatch(event)
        heard = @subscribers.select { |s| s.active? && s.matches?(event.event_name) }
        heard.each { |subscriber| hand(subscriber, event) }
        heard.size
      end

      private

      def hand(subscriber, event)
        return @counts[:skipped] += 1 if subscriber.before_handle(event) == false

        subscriber.handle(event)
        subscriber.after_handle(event)
        @counts[:handled] += 1
      # A subscriber must stop no other, nor the thread that hears for all, whatever it raises.
      rescue Exception => e # rubocop:disable Lint/RescueException
        @counts[:failed] += 1
        Logger.error("subscriber #{subscriber.class} failed on #{event.event_name}: #{e.class}: #{e.message}")
        begin
          subscriber.on_handle_error(event, e)
        rescue Exception => again # rubocop:disable Lint/RescueException
          Logger.error("subscriber #{subscriber.class} failed on its own failure: #{again.class}: #{again.message}")
        end
      end
    end
  end
end
