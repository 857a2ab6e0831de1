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
      # A handler must not take its worker along, whatever it raises; these ask the worker itself to end.
      LEAVING = [SystemExit, SignalException].freeze
      private_constant :PACKAGE, :LEAVING

      # @param event_bridge [EventBridge] where steps arrive and outcomes are published
      # @param handler_registry [Registry::HandlerRegistry] which code answers to which name
      # @param on_exit called when a handler asks the process to end
      def initialize(event_bridge, handler_registry, worker_id = "", native: nil, &on_exit)
        @event_bridge = event_bridge
        @handler_registry = handler_registry
        @worker_id = worker_id
        @native = native
        @on_exit = on_exit
        # Answers of the chain at one generation; replaced as a whole, so that no thread keeps an old answer.
        @resolved = [-1, {}]
        @listener = method(:handle)
        # Called with each step event before its handler; what it raises is the attempt's failure.
        @before = nil
      end

      attr_writer :before

      def native = @native ||= Current.worker!.native
      def start = @event_bridge.subscribe(EventNames::STEP_EXECUTION_RECEIVED, @listener)
      def stop = @event_bridge.unsubscribe(EventNames::STEP_EXECUTION_RECEIVED, @listener)

      # Runs the handler of one step.
      def handle(event)
        started = clock
        ended = false
        begin
          @before&.call(event)
          invoke = resolve(event)
          output = invoke&.call(Types::StepContext.new(event, event.handler_callable))
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

      private

      def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)

      def resolve(event)
        chain = @handler_registry.chain
        generation, resolved = @resolved
        @resolved = [chain.generation, resolved = {}] if generation != chain.generation
        key = [event.handler_callable, event.handler_method, event.handler_resolver]
        resolved[key] ||= begin
          definition = Registry::HandlerDefinition.new(callable: key[0], method: key[1], resolver: key[2])
          found = chain.resolve(definition)
          found && invoker(found, definition.method)
        end
      end

      # How to call what a resolver found: a class (a fresh object an attempt), an object, or a proc.
      def invoker(found, method)
        unless found.is_a?(Class) ? found.method_defined?(method) : found.respond_to?(method)
          raise Errors::ResolutionError, Registry::MethodDispatchWrapper.missing(found, method)
        end

        target = found.is_a?(Class) ? found.instance_method(method) : found.method(method)
        three = target.parameters.count { |kind, _| kind == :req } == 3
        lambda do |context|
          handler = found.is_a?(Class) ? made(found, context) : found
          next handler.public_send(method, context) unless three

          step = context.task_sequence_step
          handler.public_send(method, step.task, step.dependency_results, step.workflow_step)
        end
      end

      def made(handler, context)
        takes_config = handler.instance_method(:initialize).parameters.include?(%i[key config])
        takes_config ? handler.new(config: context.step_config) : handler.new
      rescue ArgumentError => e
        raise Errors::ResolutionError, "handler #{handler.name} cannot be constructed without arguments: #{e.message}"
      end

      def finish(event, output, started)
        result = Types::StepHandlerCallResult.from_handler_output(output)
        case result
        when Types::StepHandlerCallResult::CheckpointYield then checkpointed(event, result, started)
        when Types::StepHandlerCallResult::Success then succeeded(event, result, started)
        else send_failure(event, result, [], nil, started)
        end
      end

      def succeeded(event, result, started)
        payload = Serialization.dump(result.result)
        metadata = blank(result.metadata) && Serialization.dump(result.metadata, "metadata")
        told = DomainEvents::StepResult.new(success: true, result: result.result, metadata: result.metadata)
        native.finish_success(event, payload, metadata, clock - started, events(event, told))
        completed(event, true, nil, started)
      end

      def checkpointed(event, checkpoint, started)
        accumulated = checkpoint.accumulated_results
        accumulated = Serialization.dump(accumulated, "accumulated results") unless accumulated.nil?
        cursor = Serialization.dump(checkpoint.cursor, "cursor")
        native.finish_checkpoint(event, cursor, checkpoint.items_processed, accumulated, clock - started)
        @event_bridge.publish(EventNames::STEP_CHECKPOINT_YIELD_SENT, event, checkpoint)
      end

      # An exception as the failure of the attempt; the worker goes on, unless it was asked to end.
      def failed(event, error, started)
        leaving = LEAVING.any? { |kind| error.is_a?(kind) }
        begin
          failure = Types::StepHandlerCallResult.from_exception(error)
          failure = failure.dup.tap { |f| f.message = "the handler ended its worker: #{error.inspect}" } if leaving
          context = error.respond_to?(:context) ? error.context : nil
          send_failure(event, failure, frames(error), context, started)
          @event_bridge.publish(EventNames::HANDLER_ERROR, event, error)
        rescue Exception => e # rubocop:disable Lint/RescueException -- as above
          unreportable(event, error, e, started)
        end
        @on_exit&.call(error) if leaving
      end

      # Whatever an error holds, its attempt must not hang until the lease ends.
      def unreportable(event, error, trouble, started)
        message = "#{error.class} could not be reported: #{trouble.class}: #{trouble.message}"
        failure = { message: short(message), error_type: "handler_error", retryable: true }
        native.finish_failure(event, Serialization.dump(failure), nil, nil, clock - started, nil)
      rescue StandardError
        # The worker was closed meanwhile: the attempt has been handed back.
        Logger.debug("step #{event.step_name} ended after its worker: #{message}")
      end

      def send_failure(event, failure, backtrace, context, started)
        message = short(failure.message.to_s.empty? ? "the handler gave no message" : failure.message)
        said = { message:, error_type: failure.error_type, error_code: failure.error_code,
                 backtrace:, retryable: failure.retryable, status_code: failure.status_code,
                 context: blank(context) && Serialization.load(dump_or_note(context)) }
        said.compact!
        # The core keeps to an hour anyway; the bound keeps the number a number.
        retry_after = failure.retry_after && ([failure.retry_after, RETRY_AFTER_MAX].min * 1000).to_i
        metadata = blank(failure.metadata) && dump_or_note(failure.metadata)
        told = DomainEvents::StepResult.new(
          success: false, metadata: failure.metadata, error_message: message, error_type: failure.error_type,
          error_code: failure.error_code, retryable: failure.retryable
        )
        native.finish_failure(event, Serialization.dump(said), retry_after, metadata, clock - started, events(event, told))
        completed(event, false, message, started)
      end

      def events(event, result)
        return nil unless event.publishers?

        made = DomainEvents::PublisherRegistry.instance.prepare(event, result).map do |prepared|
          Serialization.dump(prepared, "event")
        rescue Serialization::SerializationError => e
          Logger.error("an event of step #{event.step_name} cannot be published: #{e.message}")
          Serialization.dump({ index: prepared[:index], skip: true })
        end
        "[#{made.join(",")}]"
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

      # The way to the error, last call last, without the SDK's own frames.
      def frames(error)
        all = (error.backtrace_locations || []).reverse.map do |at|
          [at.absolute_path || at.path.to_s, "#{at.path}:#{at.lineno} in #{at.label}"]
        end
        shown = all.reject { |path, _| path.start_with?(PACKAGE) }
        (shown.empty? ? all : shown).last(FRAMES_MAX).map(&:last)
      end
    end
  end
end
