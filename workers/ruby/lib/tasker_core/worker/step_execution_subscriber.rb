# frozen_string_literal: true

module TaskerCore
  module Worker
    # Listens for `step.execution.received`, runs the handler, finishes the step.
    class StepExecutionSubscriber
      # Frames of a backtrace that are kept.
      FRAMES_MAX = 50
      # Characters of an error message that are kept.
      MESSAGE_MAX = 10_000
      # Longest wait before the next attempt, seconds.
      RETRY_AFTER_MAX = 3600.0
      PACKAGE = File.expand_path("..", __dir__) + File::SEPARATOR
      # A handler must not take its worker along, whatever it raises.
      LEAVING = [SystemExit, SignalException].freeze
      private_constant :PACKAGE, :LEAVING

      # @return [Registry::HandlerRegistry] which code answers to which name
      attr_reader :handler_registry
      # @return [Hash] attempts: `:received`, `:completed`, `:failed`, `:checkpointed`
      attr_reader :stats

      # @param event_bridge [EventBridge, nil] where steps arrive and outcomes are published; that of the process when absent
      # @param handler_registry [Registry::HandlerRegistry, nil] that of the process when absent
      # @param worker_id [String] kept for programs that say it
      def initialize(event_bridge = nil, handler_registry = nil, worker_id = "", native: nil)
        @event_bridge = event_bridge || EventBridge.instance
        @handler_registry = handler_registry || Registry::HandlerRegistry.instance
        @worker_id = worker_id
        @native = native
        # Answers of the chain at one generation; replaced as a whole, so that no thread keeps an old answer.
        @resolved = [-1, {}]
        @listener = method(:handle)
        # Called with each step event before its handler; what it raises is the attempt's failure.
        @before = nil
        @stats = Hash.new(0)
        @active = false
      end

      attr_writer :before

      def native = @native ||= Current.worker!.native
      def logger = Logger.instance
      def active? = @active

      # Starts listening; does nothing if it listens.
      def start
        return if @active

        @active = true
        @event_bridge.subscribe(EventNames::STEP_EXECUTION_RECEIVED, @listener)
      end

      # Stops listening.
      def stop
        @active = false
        @event_bridge.unsubscribe(EventNames::STEP_EXECUTION_RECEIVED, @listener)
      end
      alias stop! stop

      # Runs the handler of one step.
      #
      # @param event the native step event, or an event as the bridge publishes it
      def handle(event)
        started = clock
        ended = false
        @stats[:received] += 1
        begin
          @before&.call(event)
          invoke = resolve(event)
          output = invoke&.call(Types::StepContext.new(event, handler_name: event.handler_callable))
          ended = true
          invoke.nil? ? native.finish_handler_not_found(event, nil) : finish(event, output, started)
        rescue Exception => e # rubocop:disable Lint/RescueException -- an attempt must end, whatever ended it
          ended = true
          failed(event, e, started)
        ensure
          # `Thread.exit` in a handler raises nothing.
          failed(event, ThreadError.new("the handler ended its thread"), started) unless ended
        end
      end
      alias call handle

      private

      def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)

      def resolve(event)
        chain = @handler_registry.chain
        generation, resolved = @resolved
        @resolved = [chain.generation, resolved = {}] if generation != chain.generation
        key = [event.handler_callable, event.handler_method, event.handler_resolver]
        resolved[key] || begin
          definition = Types::HandlerDefinition.new(callable: key[0], handler_method: key[1], resolver: key[2],
                                                    initialization: {})
          ask(chain, definition, event) { |invoke| resolved[key] = invoke }
        end
      end

      # Yields what may be kept for other attempts: a resolver of the user's is asked each time, with the step's own
      # configuration, and the constants of classes may be reloaded.
      def ask(chain, definition, event)
        config = Types::StepContext.new(event).step_config
        found, resolver = chain.find(definition.with(initialization: config), config)
        return nil if found.nil?

        invoke = invoker(found, definition.effective_method)
        yield invoke if resolver.instance_of?(Registry::Resolvers::ExplicitMappingResolver)
        invoke
      end

      # How to call what a resolver found: a class (a fresh object an attempt), an object, or a proc.
      def invoker(found, method)
        unless found.is_a?(Class) ? found.method_defined?(method) : found.respond_to?(method)
          raise Errors::ResolutionError, Registry::MethodDispatchWrapper.missing(found, method)
        end

        target = found.is_a?(Class) ? found.instance_method(method) : found.method(method)
        three = target.parameters.count { |kind, _| kind == :req } == 3
        lambda do |context|
          handler = found.is_a?(Class) ? StepHandler::Base.build(found, context.step_config) : own(found)
          next handler.public_send(method, context) unless three

          step = context.task_sequence_step
          handler.public_send(method, step.task, step.dependency_results, step.workflow_step)
        end
      end

      # An HTTP handler that was registered as an object: a copy with a connection of its own, for each attempt.
      def own(found)
        return found if StepHandler::Mixins.autoload?(:API) || !found.is_a?(StepHandler::Mixins::API)

        found.clone(freeze: false)
      end

      def finish(event, output, started)
        result = Types::StepHandlerCallResult.from_handler_output(output)
        case result
        when Types::StepHandlerCallResult::CheckpointYield then checkpointed(event, result, started)
        when Types::StepHandlerCallResult::Success then succeeded(event, result, started)
        # A block gives its exception as a result; it is stored as one that was raised.
        else result.exception ? failed(event, result.exception, started) : send_failure(event, result, [], nil, started)
        end
      end

      def succeeded(event, result, started)
        value = result.result.nil? ? {} : result.result
        payload = Serialization.dump(value)
        metadata = blank(result.metadata) && Serialization.dump(result.metadata, "metadata")
        events = events(event) { { success: true, result: value, metadata: result.metadata } }
        native.finish_success(event, payload, metadata, clock - started, events)
        @stats[:completed] += 1
        completed(event, true, nil, started)
      end

      def checkpointed(event, checkpoint, started)
        accumulated = checkpoint.accumulated_results
        accumulated = Serialization.dump(accumulated, "accumulated results") unless accumulated.nil?
        cursor = Serialization.dump(checkpoint.cursor, "cursor")
        native.finish_checkpoint(event, cursor, checkpoint.items_processed, accumulated, clock - started)
        @stats[:checkpointed] += 1
        @event_bridge.publish(EventNames::STEP_CHECKPOINT_YIELD_SENT, event, checkpoint)
      end

      # An exception as the failure of the attempt; the worker goes on, also where a handler asks its process to end.
      def failed(event, error, started)
        result = Types::StepHandlerCallResult
        failure = result.from_exception(error)
        said = result.asked(error, :metadata)
        failure = failure.with(error_type: Types::ErrorTypes.standard(failure.error_type),
                               metadata: said.is_a?(Hash) ? said : {})
        if LEAVING.any? { |kind| error.is_a?(kind) }
          failure = failure.with(message: "the handler asked its process to end: #{error.inspect}", retryable: false)
        end
        send_failure(event, failure, frames(error), context_of(error), started)
        @event_bridge.publish(EventNames::HANDLER_ERROR, event, error)
      rescue Exception => e # rubocop:disable Lint/RescueException -- as above
        unreportable(event, error, e, started)
      end

      # The context of our own errors, with what else they were given, and of others where it is a plain hash: AWS puts a
      # whole request there.
      def context_of(error)
        context = Types::StepHandlerCallResult.asked(error, :context)
        return nil unless context.is_a?(Hash)
        return context unless error.is_a?(Errors::ProceduralError)

        %i[field resource_type timeout_duration].each_with_object(context.dup) do |name, all|
          given = Types::StepHandlerCallResult.asked(error, name)
          all[name] = given unless given.nil? || all.key?(name) || all.key?(name.name)
        end
      end

      # Whatever an error holds, its attempt must not hang until the lease ends, and what it said comes first.
      def unreportable(event, error, trouble, started)
        said = Types::StepHandlerCallResult.message_of(error)
        message = "#{said} (#{error.class}; it could not be reported in full: #{trouble.class}: #{trouble.message})"
        retryable = !Errors::ErrorClassifier.permanent_class?(error)
        failure = { message: short(message), error_type: error.class.name.to_s[/[^:]+\z/] || "handler_error", retryable: }
        native.finish_failure(event, Serialization.dump(failure), nil, nil, clock - started, nil)
      rescue StandardError
        # The worker was closed meanwhile: the attempt has been handed back.
        Logger.debug("step #{event.step_name} ended after its worker: #{message}")
      end

      def send_failure(event, failure, backtrace, context, started)
        message = short(failure.message.to_s.empty? ? "the handler gave no message" : failure.message)
        error_type = Types::ErrorTypes.standard(failure.error_type)
        said = { message:, error_type:, error_code: failure.error_code,
                 backtrace:, retryable: failure.retryable, status_code: failure.status_code,
                 context: blank(context) && Serialization.load(dump_or_note(context)) }
        said.compact!
        # The core keeps to an hour anyway; the bound keeps the number a number.
        seconds = Types::StepHandlerCallResult.seconds(failure.retry_after)
        retry_after = seconds && ([seconds, RETRY_AFTER_MAX].min * 1000).to_i
        metadata = blank(failure.metadata) && dump_or_note(failure.metadata)
        events = events(event) do
          { success: false, result: nil, metadata: failure.metadata, error_message: message, error_type:,
            error_code: failure.error_code, retryable: failure.retryable }
        end
        native.finish_failure(event, Serialization.dump(said), retry_after, metadata, clock - started, events)
        @stats[:failed] += 1
        completed(event, false, message, started)
      end

      # What publishers make of the step's events; yields for what the step came to, if one is asked.
      def events(event)
        return nil unless event.publishers?

        DomainEvents::PublisherRegistry.instance.prepared_json(event, DomainEvents::StepResult.of(yield))
      end

      def completed(event, success, message, started)
        return unless @event_bridge.listeners?(EventNames::STEP_COMPLETION_SENT)

        result = ExecutionResult.new(event_id: event.event_id, step_uuid: event.step_uuid, success:,
                                     execution_time_ms: (clock - started) / 1000.0, error_message: message)
        @event_bridge.publish(EventNames::STEP_COMPLETION_SENT, result)
      end

      def blank(value) = value.nil? || value.empty? ? nil : value

      def dump_or_note(value)
        Serialization.dump(value, "metadata")
      rescue Serialization::SerializationError => e
        Serialization.dump({ note: e.message, repr: value.inspect[0, 1000].scrub })
      end

      def short(message)
        text = message.to_s.dup.force_encoding(Encoding::UTF_8)
        text = text.inspect unless text.valid_encoding?
        return text if text.length <= MESSAGE_MAX

        "#{text[0, MESSAGE_MAX]}… (#{text.length - MESSAGE_MAX} more characters)"
      end

      # The way to the error, last call last, without the SDK's own frames; then what caused it.
      def frames(error)
        all = (error.backtrace_locations || []).reverse.map do |at|
          [at.absolute_path || at.path.to_s, "#{at.path}:#{at.lineno} in #{at.label}"]
        end
        shown = all.reject { |path, _| path.start_with?(PACKAGE) }
        causes(error) + (shown.empty? ? all : shown).last(FRAMES_MAX).map(&:last)
      end

      # What led to an error, the first cause first.
      def causes(error)
        found = []
        found << error while (error = error.cause) && !found.include?(error) && found.size < 10
        found.reverse.map do |cause|
          at = cause.backtrace&.first
          "caused by #{cause.class}: #{short(Types::StepHandlerCallResult.message_of(cause))}#{at ? " (#{at})" : ""}"
        end
      end
    end
  end
end
