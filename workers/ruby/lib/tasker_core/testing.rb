# frozen_string_literal: true

require "tasker_core"

module TaskerCore
  # A harness for tests of workflows: a real worker on a store in memory, in which no time is waited for.
  #
  # @example
  #   TaskerCore::Testing::Harness.open("workflows/order.yaml", handlers: [Validate, Reserve]) do |harness|
  #     harness.fail("reserve", times: 2)
  #     task = harness.run("order", { items: [1] })
  #     task.status                        # => "complete"
  #     task.step("reserve").attempts      # => 3
  #   end
  module Testing
    # A step as it is stored; everything the API says of it is in `data`.
    StepOutcome = Struct.new(:name, :status, :result, :attempts, :error, :history, :data, keyword_init: true) do
      # How its attempts ended, oldest first.
      def outcomes = history.map { |attempt| attempt["outcome"] }
    end

    # A task at rest; everything the API says of it is in `data`.
    TaskOutcome = Struct.new(:task_uuid, :status, :steps, :data, keyword_init: true) do
      # A step by its name.
      def step(name) = steps.fetch(name) { raise KeyError, "no step `#{name}`; there are #{steps.keys.sort.join(", ")}" }

      # A step's result.
      def result(name) = step(name).result

      # Raises with every step's error unless the task is complete.
      def assert_complete
        failed = steps.values.filter_map { |s| "#{s.name}: #{s.error["message"]}" if s.error }
        said = failed.empty? ? "no step failed" : failed.join("; ")
        status == "complete" ? self : raise("the task is #{status}; #{said}")
      end
    end

    # A worker with handlers on a store in memory. Retries, delayed starts and lifecycle limits take no time.
    class Harness
      # No lease ends while the clock moves over retries, milliseconds.
      LEASE_MS = 10_000_000_000
      private_constant :LEASE_MS

      attr_reader :worker, :client, :registry

      # Opens a harness for a block.
      def self.open(templates, **options)
        harness = new(templates, **options)
        yield harness
      ensure
        harness&.close
      end

      # @param templates files, folders or YAML texts
      # @param handlers [Array, Hash, nil] classes, or names to classes or procs; the registry of this process when absent
      # @param environment [String] chooses the templates' overrides; `test` switches jitter off
      def initialize(templates, handlers: nil, environment: "test", max_concurrent_handlers: 10)
        @registry = handlers.nil? ? Registry::HandlerRegistry.instance : Registry::HandlerRegistry.new
        case handlers
        when Hash then handlers.each { |name, handler| @registry.register(name, handler) }
        else Array(handlers).each { |handler| @registry.register(handler) }
        end
        @faults = Hash.new { |all, step| all[step] = [] }
        @lock = Mutex.new
        # What a test registers must not be heard by the next one.
        @publishers = DomainEvents::PublisherRegistry.instance.publishers
        @subscribers = DomainEvents::SubscriberRegistry.instance.subscribers
        @worker = Worker::Bootstrap.start!(url: "sqlite::memory:", templates: Array(templates), registry: @registry,
                                           lease_ms: LEASE_MS, environment:,
                                           max_concurrent_handlers:)
        @worker.subscriber.before = method(:fault)
        @client = @worker.client
      end

      # Makes the next attempts of a step raise `error` (a retryable one when absent) instead of its handler.
      def fail(step, times: 1, error: nil)
        given = error || Errors::RetryableError.new("injected into #{step}")
        @lock.synchronize { @faults[step].concat([given] * times) }
      end

      # Creates a task and waits until it rests.
      #
      # @param namespace [String] of the template; that of the only template of this name when absent
      # @param timeout [Numeric] seconds of real time
      def run(name, context = {}, namespace: nil, timeout: 30, **options)
        outcome(start(name, context, namespace:, **options), timeout:)
      end

      # Creates a task; gives its UUID.
      def start(name, context = {}, namespace: nil, **options)
        namespace ||= @worker.info["templates"].find { |t| t["name"] == name }&.fetch("namespace") || "default"
        @client.create_task(name:, namespace:, context:, **options)["task_uuid"]
      end

      # Waits until a task rests; gives it.
      def outcome(task_uuid, timeout: 30)
        task = @client.call("skip_to_rest", { task_uuid:, timeout_ms: (timeout * 1000).to_i })
        steps = @client.list_task_steps(task_uuid).to_h do |s|
          fields = StepOutcome.members.reject { |name| name == :data }.to_h { |name| [name, s[name.to_s]] }
          [s["name"], StepOutcome.new(**fields, data: s)]
        end
        TaskOutcome.new(task_uuid:, status: task["status"], steps:, data: task)
      end

      # Durable domain events published so far, oldest first.
      def events(name = "*") = @client.list_events(name:).map { |event| event["message"] }

      # Stops the worker; the store is gone.
      def close
        @client.close
        @worker.shutdown!(timeout: 1)
        DomainEvents::PublisherRegistry.instance.restore(@publishers)
        DomainEvents::SubscriberRegistry.instance.restore(@subscribers)
      end

      private

      def fault(event)
        error = @lock.synchronize do
          of = [event.step_name, event.template_step_name].find { |name| @faults.key?(name) && !@faults[name].empty? }
          of && @faults[of].shift
        end
        raise error if error
      end
    end
  end
end
