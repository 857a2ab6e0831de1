# frozen_string_literal: true

TaskerCore::CoreExt.load_all

module TaskerCore
  # The engine refused a request.
  class ClientError < Errors::Error
    # @return [String] stable snake_case code, the same in every language
    attr_reader :code
    # @return [String, nil] what to do next
    attr_reader :hint
    # @return more, such as the violations of a schema
    attr_reader :details

    def initialize(message, code, hint = nil, details = nil)
      super(hint ? "#{message}\n  help: #{hint}" : message)
      @code = code
      @hint = hint
      @details = details
    end
  end

  # Creates tasks, reads them, waits for them, acts on them.
  #
  # @example
  #   client = TaskerCore::Client.new(url: "sqlite:///shop.db")
  #   task = client.create_task(name: "order", namespace: "shop", context: { items: [] })
  #   client.wait(task["task_uuid"])["status"]
  class Client
    # Longest wait without a look at interrupts, seconds.
    WAIT_SLICE = 0.05
    SHARED_LOCK = Mutex.new
    # Clients that open an engine by themselves, as web servers do before they fork.
    OPENERS = ObjectSpace::WeakMap.new
    OPENERS_LOCK = Mutex.new
    private_constant :SHARED_LOCK, :OPENERS, :OPENERS_LOCK

    # SQLite's locks do not survive a fork, so files are let go before it; both sides open theirs with their next call. A
    # running worker keeps its file, and children are refused it.
    module Forks
      def _fork
        clients = Client.openers
        clients.each(&:park)
        pid = super
        clients.each(&:begin_anew) if pid.zero?
        pid
      end
    end
    private_constant :Forks
    Process.singleton_class.prepend(Forks) if Process.respond_to?(:_fork)

    attr_reader :url

    # @param url [String] as for the worker
    # @param initiator [String] who asks, kept with each task
    # @param source_system [String] from where, kept with each task
    def initialize(url: nil, initiator: "api", source_system: "api", native: nil)
      @url = url || Url.default
      @initiator = initiator
      @source_system = source_system
      @native = native
      @lock = Mutex.new
      OPENERS_LOCK.synchronize { OPENERS[self] = self } if native.nil?
    end

    class << self
      # @api private
      def openers = OPENERS_LOCK.synchronize { OPENERS.keys }

      # The functions below, by a client of the default URL: that of the running worker if there is one. Answers have
      # readers, and are hashes besides.
      #
      # @param initiator [String] who asks, kept with the task
      # @param source_system [String] from where, kept with the task
      # @param reason [String] why, kept with the task
      # @param options further fields of the request
      # @return [Types::ClientTaskResponse]
      def create_task(name:, namespace: "default", context: {}, version: nil, initiator: "tasker-core-ruby",
                      source_system: "tasker-core", reason: "Task requested", **options)
        shared { |c| c.create_task(name:, namespace:, context:, version:, initiator:, source_system:, reason:, **options) }
      end

      # @return [Types::ClientTaskResponse]
      def get_task(task_uuid) = shared { |client| client.get_task(task_uuid) }

      # @return [Types::ClientTaskListResponse] a page of tasks, newest first
      def list_tasks(limit: 50, offset: 0, namespace: nil, status: nil)
        shared { |client| client.list_tasks(limit:, offset:, namespace:, status:) }
      end

      # @return [Hash] the task after it
      def cancel_task(task_uuid) = shared { |client| client.cancel_task(task_uuid) }

      # @return [Array<Types::ClientStepResponse>]
      def list_task_steps(task_uuid) = shared { |client| client.list_task_steps(task_uuid) }

      # @return [Types::ClientStepResponse]
      def get_step(task_uuid, step_uuid)
        # Its parents are looked at now: the client is not there later.
        shared { |client| client.get_step(task_uuid, step_uuid).settled }
      end

      # @return [Array<Types::ClientStepAuditResponse>] the attempts of a step, oldest first
      def get_step_audit_history(task_uuid, step_uuid)
        shared { |client| client.get_step_audit_history(task_uuid, step_uuid) }
      end

      # @return [Types::ClientHealthResponse]
      def health_check = shared(&:health_check)

      private

      # The engine stays open between two calls, in this process; a fork opens its own.
      def shared(&)
        return borrowed(Current.worker, &) if Current.worker&.running?

        kept = SHARED_LOCK.synchronize do
          key = [Process.pid, Url.default]
          @shared = [key, new] unless @shared&.first == key
          @shared.last
        end
        yield kept
      end

      def borrowed(worker)
        client = worker.client
        yield client
      ensure
        client&.close
      end
    end

    # Creates a task and gives it as stored. Options: `version tags priority correlation_id parent_correlation_id
    # idempotency_key reason run_at requested_at options initiator source_system`.
    #
    # @raise [ClientError] no such template, a context that violates its schema, a conflict
    def create_task(name:, namespace: "default", context: {}, **options)
      created = create_tasks([{ name:, namespace:, context:, **options.compact }]).first
      get_task(created["task_uuid"])
    end

    # Creates up to 1,000 tasks in one commit; gives `task_uuid` and `existing` of each.
    #
    # @raise [ClientError] of the first request that was refused; the others are created all the same
    def create_tasks(requests)
      try_create_tasks(requests).map do |answer|
        error = answer["error"]
        raise ClientError.new(error["message"], error["code"], error["hint"], error["details"]) if error

        answer["task"]
      end
    end

    # As `create_tasks`, but gives `task` or `error` for each and raises for none.
    def try_create_tasks(requests)
      defaults = { initiator: @initiator, source_system: @source_system }
      call("create_tasks", { tasks: requests.map { |request| defaults.merge(request.to_h) } })["tasks"]
    end

    # @return [Types::ClientTaskResponse]
    def get_task(task_uuid) = Types::ClientTypes::TaskResponse.from_core(call("get_task", { task_uuid: }))

    # A page of tasks, newest first: `tasks` and their `total`.
    def list_tasks(limit: 50, offset: 0, namespace: nil, status: nil, **filters)
      page = call("list_tasks", { limit:, offset:, namespace:, status:, **filters })
      Types::ClientTypes::TaskListResponse.from_core(page, limit:, offset:)
    end

    # Cancels a task; running handlers are told.
    def cancel_task(task_uuid, reason: "")
      call("cancel_task", { task_uuid:, reason:, actor: @initiator })
    end

    # Does an operator's action: `pause resume retry_failed reset_for_retry resolve_manually complete_manually give_up
    # resolve_task cancel`.
    def act(task_uuid, action, step: nil, result: nil, reason: "")
      call("act", { task_uuid:, action:, step:, result:, reason:, actor: @initiator })
    end

    # Does an operator's action on every task the filters match; a dry run only counts.
    def act_all(action, step: nil, dry_run: false, reason: "", **filters)
      call("act_all", { filter: filters, action:, step:, dry_run:, reason:, actor: @initiator })
    end

    # The steps of a task with results and history.
    #
    # @return [Array<Types::ClientStepResponse>]
    def list_task_steps(task_uuid)
      steps = call("list_task_steps", { task_uuid: })["steps"]
      steps.map { |step| Types::ClientTypes::StepResponse.from_core(step) { steps }.settled }
    end

    # One step, by name or UUID.
    #
    # @return [Types::ClientStepResponse]
    def get_step(task_uuid, step)
      found = call("get_step", { task_uuid:, step: })
      Types::ClientTypes::StepResponse.from_core(found) do
        call("list_task_steps", { task_uuid: })["steps"]
      end
    end

    # The attempts of a step, oldest first.
    #
    # @return [Array<Types::ClientStepAuditResponse>]
    def get_step_audit_history(task_uuid, step)
      about = call("get_step", { task_uuid:, step: })
      attempts = call("get_step_audit_history", { task_uuid:, step: })["attempts"]
      attempts.map { |attempt| Types::ClientTypes::StepAuditResponse.from_core(attempt, about) }
    end

    # Operator actions on a task, oldest first.
    def get_audit(task_uuid) = call("get_audit", { task_uuid: })["audit"]

    # Open dead letters, newest first. Filters: `reason namespace name fingerprint task_uuid limit`, and `all: true` for
    # settled ones too.
    def list_dead_letters(**filters) = call("list_dead_letters", filters)["dead_letters"]

    # Open dead letters by kind of error, the most frequent first.
    def group_dead_letters(**filters) = call("group_dead_letters", filters)["groups"]

    # Does `replay`, `discard` or `annotate` on one dead letter, or on all that the filters match.
    def settle_dead_letters(action, id = nil, note: nil, dry_run: false, reason: "", **filters)
      call("settle_dead_letters", { action:, id:, note:, dry_run:, reason:,
                                    actor: @initiator, filter: filters })
    end

    # Stored domain events, oldest first. Filters: `namespace name task_uuid archived after limit`.
    def list_events(**filters) = call("list_events", filters)["events"]

    # Takes durable events from a namespace's queue: no other reader gets them for `visibility` seconds, nor later once
    # they are acknowledged. Events of one task come in order.
    #
    # @param wait [Numeric] seconds to wait for the first one
    def read_events(namespace = "default", limit: 10, visibility: 30, wait: 0)
      sliced(wait) do |left|
        args = { namespace:, limit:, visibility_ms: (visibility * 1000).to_i, wait_ms: (left * 1000).to_i }
        events = call("read_events", args)["events"]
        events.empty? ? nil : events
      end || []
    end

    # Acknowledges events by their `msg_id`; how many were not before.
    def acknowledge_events(ids) = call("acknowledge_events", { ids: })["acknowledged"]

    # Makes the events that the filters of `list_events` match readable again; how many.
    def replay_events(dry_run: false, **filters) = call("replay_events", { **filters, dry_run: })["replayed"]

    # Whether the store answers.
    #
    # @return [Types::ClientHealthResponse]
    def health_check = Types::ClientTypes::HealthResponse.from_core(call("health_check", {}))

    # Checks every invariant of the store.
    def doctor = call("doctor", {})

    # Waits until the task ended or rests in `blocked_by_failures`, and gives it.
    #
    # @raise [Errors::TimeoutError] it did neither within `timeout` seconds
    def wait(task_uuid, timeout: 60)
      sliced(timeout) do |left|
        call("wait", { task_uuid:, timeout_ms: (left * 1000).to_i })
      rescue ClientError => e
        raise unless e.code == "timeout"
      end || raise(Errors::TimeoutError, "task #{task_uuid} has not ended within #{timeout} seconds; does a worker run?")
    end

    # Lets the engine go.
    def close
      @lock.synchronize do
        @native&.close
        @native = nil
        @closed = true
      end
    end

    # Lets the engine of a file go until the next call.
    #
    # @api private
    def park
      return if @url == "sqlite::memory:" || !@url.start_with?("sqlite:")

      @lock.synchronize do
        @native&.close
        @native = nil
      end
    end

    # In a forked child: what was opened, and whoever held the lock, is in the parent.
    #
    # @api private
    def begin_anew
      @lock = Mutex.new
      @native = nil
    end

    # One operation of the core, JSON in and out.
    def call(operation, args)
      native = @lock.synchronize do
        raise ClientError.new("the client has been closed", "client_closed", "make a new one") if @closed

        @native ||= Native::NativeClient.new(@url)
      end
      Serialization.load(native.call(operation, Serialization.dump(args, "request")))
    rescue Errors::NativeError => e
      raise ClientError.new(e.plain_message, e.code, e.hint, e.details), cause: nil
    end

    private

    # Asks again in slices, so that interrupts are heard between them, until there is an answer or the time is over.
    def sliced(timeout)
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + timeout
      loop do
        left = [deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC), 0].max
        answer = yield [left, WAIT_SLICE].min
        return answer if answer || left <= WAIT_SLICE
      end
    end
  end
end
