# frozen_string_literal: true

module TaskerCore
  module DomainEvents
    # The subscribers of this process.
    class SubscriberRegistry
      LOCK = Mutex.new
      private_constant :LOCK

      # @return [Hash] events: `:handled`, `:skipped`, `:failed`
      attr_reader :stats
      # @return [Array<BaseSubscriber>] all, started or not
      attr_reader :subscribers

      def self.instance = LOCK.synchronize { @instance ||= new }

      def initialize
        @lock = Mutex.new
        # Replaced as a whole, so that dispatching needs no lock.
        @subscribers = []
        @stats = Hash.new(0)
      end

      # Makes a subscriber known; it hears once it is started.
      def register(subscriber)
        made = subscriber.is_a?(Class) ? subscriber.new : subscriber
        add(made)
        made
      end

      # Adds a subscriber unless it is there.
      def add(subscriber)
        @lock.synchronize { @subscribers |= [subscriber] }
        DomainEvents.wake_workers
      end

      def start_all! = @subscribers.each(&:start)
      def stop_all! = @subscribers.each(&:stop)

      # Stops and forgets all.
      def clear!
        stop_all!
        @lock.synchronize { @subscribers = [] }
        @stats.clear
      end

      # Hands an event to every started subscriber that hears its name; to how many.
      def dispatch(event)
        heard = @subscribers.select { |s| s.active? && s.matches?(event.event_name) }
        heard.each { |subscriber| hand(subscriber, event) }
        heard.size
      end

      private

      def hand(subscriber, event)
        return @stats[:skipped] += 1 if subscriber.before_handle(event) == false

        subscriber.handle(event)
        subscriber.after_handle(event)
        @stats[:handled] += 1
      rescue StandardError, NotImplementedError => e
        @stats[:failed] += 1
        Logger.error("subscriber #{subscriber.class} failed on #{event.event_name}: #{e.class}: #{e.message}")
        begin
          subscriber.on_handle_error(event, e)
        rescue StandardError => again
          Logger.error("subscriber #{subscriber.class} failed on its own failure: #{again.class}: #{again.message}")
        end
      end
    end
  end
end
