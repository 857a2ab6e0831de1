# frozen_string_literal: true

module TaskerCore
  module Worker
    # Polls the core and calls back with each step, in the thread that took it. The pool of threads grows with the work.
    class EventPoller
      # Threads that wait for steps at once; more would only wake each other up.
      SEARCHING_MAX = 2
      # Seconds between two looks of a poller that is not woken; the core wakes this one.
      POLL_INTERVAL = 0.01
      # Polls between two reports of metrics.
      STARVATION_CHECK_INTERVAL = 100

      LOCK = Mutex.new
      private_constant :LOCK

      # The poller of the running worker; with none running, one that starts with `start!`.
      def self.instance
        Current.worker&.poller || LOCK.synchronize { @instance ||= new }
      end

      # @param polling_interval_ms [Integer] longest wait in one poll; a step that arrives ends the wait at once
      # @param starvation_check_interval [Integer] polls between two reports of metrics
      def initialize(native: nil, polling_interval_ms: 1000, starvation_check_interval: STARVATION_CHECK_INTERVAL,
                     cleanup_interval: 1000)
        @native = native
        @polling_interval_ms = polling_interval_ms
        @starvation_check_interval = starvation_check_interval
        @cleanup_interval = cleanup_interval
        @callbacks = Hash.new { |found, kind| found[kind] = [] }
        # Guards the counters and lists below: taken a few times a step, for a few instructions.
        @lock = Mutex.new
        @searching = 0
        @parked = []
        @threads = []
        @polls = @received = 0
        @running = false
      end

      def on_step_event(&block) = @callbacks[:step] << block
      def on_metrics(&block) = @callbacks[:metrics] << block
      def on_error(&block) = @callbacks[:error] << block

      # Calls back with the core's signals: cancel, drain, fatal, shutdown.
      def on_signal(&block) = @callbacks[:signal] << block

      # Calls back with what ended the poller, if it was not `stop`.
      def on_death(&block) = @callbacks[:death] << block

      def running? = @running
      alias active? running?
      alias active running?

      # @return [Thread, nil] a thread that looks for steps
      def polling_thread = @threads.find(&:alive?)

      # @return [Hash] steps waiting, running, done
      def ffi_dispatch_metrics = FFI.get_ffi_dispatch_metrics
      def logger = Logger.instance

      def start
        return if @running

        @native ||= Current.worker!.native
        @running = true
        another
        return unless @threads.empty?

        @running = false
        raise ThreadError, "the system gives no thread to look for steps in"
      end
      alias start! start

      # Stops polling and waits for the threads, at most `timeout` seconds in all.
      def stop(timeout: 5)
        @lock.synchronize do
          @running = false
          @parked.each { |place| place.push(true) }
          @parked.clear
        end
        deadline = now + timeout
        @threads.each { |thread| thread.join([deadline - now, 0].max) unless thread == Thread.current }
        @threads.select!(&:alive?)
      end
      alias stop! stop

      def get_metrics
        core = @running ? Serialization.load(@native.status) : {}
        { "polls" => @polls, "received" => @received, "threads" => @threads.size }.merge(core)
      end

      private

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

      # Sends one more thread to look for steps: a parked one, or a new one while the core allows it.
      def another
        @lock.synchronize do
          next unless @running

          if (place = @parked.pop)
            @searching += 1
            place.push(true)
            next
          end
          @threads.select!(&:alive?)
          # One more than there are slots: with all of them busy someone must still hear the core's signals.
          next if @threads.size > @native.thread_limit

          thread = begin
            Thread.new { work }
          rescue ThreadError => e
            # The system gives no more threads for now: the ones there are go on by themselves.
            @short_of_threads ||= Logger.warn("no further thread for handlers: #{e.message}") || true
            next
          end
          @searching += 1
          thread.name = "tasker-worker-#{@threads.size}"
          thread.report_on_exception = false
          @threads << thread
        end
      end

      # A thread from its start to its end. What ends it unasked (a handler may end its thread) must not end the poller.
      def work
        done = false
        look
        done = true
      rescue Exception => e # rubocop:disable Lint/RescueException -- a poller that dies must not die unheard
        error = e
      ensure
        go_on(error) unless done || !@running
      end

      # Sees to it that someone looks for steps after a thread has ended; with nobody left, the poller has died.
      def go_on(error)
        report(error) if error
        return if @lock.synchronize { @searching.positive? }

        another
        nobody = @threads.none? { |thread| thread.alive? && thread != Thread.current }
        @callbacks[:death].each { |callback| callback.call(error || ThreadError.new("no thread is left")) } if nobody
      end

      def look
        place = Thread::Queue.new
        while @running
          event = poll
          alone = @lock.synchronize do
            @searching -= 1
            @polls += 1
            @searching <= 0
          end
          told = take(event, alone)
          return unless told

          park = @lock.synchronize do
            wait = @searching >= SEARCHING_MAX && @running
            wait ? @parked << place : @searching += 1
            wait
          end
          place.pop if park
        end
      end

      def poll
        @native.poll(@polling_interval_ms)
      rescue Exception => e # rubocop:disable Lint/RescueException -- also when memory runs short
        report(e)
        # Whatever it is, it must not become a busy loop.
        sleep(0.1)
        nil
      end

      # Handles what a poll gave; false once there is nothing more to come.
      def take(event, alone)
        tell(:metrics, get_metrics) if (@polls % @starvation_check_interval).zero? && @callbacks.key?(:metrics)
        case event
        when nil then true
        when Native::StepEvent
          @received += 1
          # Someone must be there for the next step while this one runs.
          another if alone
          forget_locals
          tell(:step, event)
          true
        else
          tell(:signal, event)
          return true unless event.kind == "shutdown"

          stop(timeout: 0)
          false
        end
      end

      # What an attempt sets on its thread (tenants, time zones, spans) must not reach the next one.
      def forget_locals
        thread = Thread.current
        thread.keys.each { |key| thread[key] = nil } # rubocop:disable Style/HashEachMethods -- a thread is no hash
        thread.thread_variables.each { |name| thread.thread_variable_set(name, nil) }
      end

      def tell(kind, value)
        @callbacks[kind].each do |callback|
          callback.call(value)
        rescue Exception => e # rubocop:disable Lint/RescueException -- a callback must not end the thread it is called in
          report(e)
        end
      end

      def report(error)
        return Logger.error("the poller: #{error.class}: #{error.message}") unless @callbacks.key?(:error)

        @callbacks[:error].each do |callback|
          callback.call(error)
        rescue Exception => e # rubocop:disable Lint/RescueException -- as above
          Logger.error("the poller: #{error.class}: #{error.message}; a callback failed on it: #{e.class}: #{e.message}")
        end
      end
    end
  end
end
