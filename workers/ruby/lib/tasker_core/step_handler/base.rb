# frozen_string_literal: true

module TaskerCore
  module StepHandler
    # Code that runs a step. A fresh object is made for every attempt.
    #
    # @example
    #   class Double < TaskerCore::StepHandler::Base
    #     HANDLER_NAME = "math.double"
    #
    #     def call(context)
    #       success(result: context.get_input("n") * 2)
    #     end
    #   end
    class Base
      # Files of this library.
      OURS = File.expand_path("..", __dir__) + File::SEPARATOR
      # How Ruby says that a method was called with other arguments than it takes.
      UNFIT = /\A(wrong number of arguments|missing keyword|unknown keyword)/
      private_constant :OURS, :UNFIT

      class << self
        # Name templates use as `handler.callable`: the constant `HANDLER_NAME`, else the class's name.
        def handler_name = const_defined?(:HANDLER_NAME) ? const_get(:HANDLER_NAME) : name

        def handler_version = const_defined?(:VERSION) ? const_get(:VERSION) : "1.0.0"

        # The name a handler class is registered by: that of an instance-level `handler_name` if it has one.
        def name_of(handler)
          return handler.name unless handler <= Base

          handler.instance_method(:handler_name).owner == Base ? handler.handler_name : handler.allocate.handler_name
        rescue StandardError
          # It needs what the constructor sets.
          handler.handler_name
        end

        # Handler classes that are loaded, in the order they were written; classes of this library and those whose
        # constant stands for another class by now are left out.
        def loaded
          # One look at all classes: ActiveSupport before 7 has its own `subclasses`, which takes such a look for each class.
          found = ObjectSpace.each_object(singleton_class).reject(&:singleton_class?)
          found.reject! { |handler| ours?(handler) || outdated?(handler) }
          found.sort_by { |handler| handler.instance_variable_get(:@tasker_order) || 0 }
        end

        # Whether a class is one of this library's own bases.
        def ours?(handler) = handler.name.to_s.start_with?("TaskerCore::")

        # The file a handler class was written in; nil if nobody knows.
        def file_of(handler) = handler.instance_variable_get(:@tasker_file)

        # A handler object.
        #
        # @param config [Hash] for constructors that take `config:`, required or not
        # @raise [Errors::ResolutionError] the constructor wants more
        def build(handler, config = {})
          takes = handler.instance_method(:initialize).parameters
          keyword = takes.any? { |kind, name| kind == :keyrest || (%i[key keyreq].include?(kind) && name == :config) }
          return handler.new(config:) if keyword

          takes.any? { |kind, _| kind == :req } ? handler.new(config) : handler.new
        rescue ArgumentError => e
          # What a constructor raises by itself is its own affair.
          unfit = e.backtrace_locations&.first&.label == "initialize" && e.message.match?(UNFIT)
          raise unless unfit

          raise Errors::ResolutionError, "handler #{handler.name} cannot be constructed with `config:` or without " \
                                         "arguments: #{e.message}"
        end

        private

        def inherited(handler)
          super
          at = caller_locations(1, 50).find { |place| !place.path.start_with?(OURS) && place.label != "inherited" }
          handler.instance_variable_set(:@tasker_file, at&.absolute_path || at&.path)
          handler.instance_variable_set(:@tasker_order, Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond))
        end

        # A class that was reloaded lives on until it is collected.
        def outdated?(handler)
          handler.name && (!Object.const_defined?(handler.name) || !Object.const_get(handler.name).equal?(handler))
        rescue NameError
          true
        end
      end

      # @return [Hash] `handler.initialization` of the step; keys fit as symbols and as strings
      attr_reader :config
      # @return [Logger] writes lines of the worker's log
      attr_reader :logger

      # @param config [Hash] `handler.initialization` of the step
      # @param logger [Logger, nil] that of the library when absent
      def initialize(config: {}, logger: nil)
        # Symbols are kept as they are: who makes a handler by hand compares them.
        given = config || {}
        @config = given.keys.all?(String) ? Types::Indifferent.of(given) : given
        @logger = logger || Logger.instance
      end

      # Runs one attempt. The form `call(task, dependency_results, workflow_step)` works too.
      #
      # @param _context [Types::StepContext]
      def call(_context)
        raise NotImplementedError, "#{self.class} does not implement call"
      end

      # The name: `HANDLER_NAME`, else the class's in snake_case, without its modules. Define it to give another; the
      # handler is registered by it.
      def handler_name
        return self.class.handler_name if self.class.const_defined?(:HANDLER_NAME)

        self.class.name.to_s.demodulize.underscore
      end

      # What it can do.
      def capabilities = ["process"]

      # JSON Schema of `handler.initialization`, if it has one.
      def config_schema = nil

      # Whether a configuration has what `config_schema` says is required.
      def validate_config(config_hash)
        required = (config_schema || {}).to_h.transform_keys(&:to_s)["required"] || []
        given = config_hash.to_h.transform_keys(&:to_s)
        required.all? { |name| given.key?(name.to_s) }
      end

      # What the handler says of itself.
      def metadata
        { handler_name:, handler_class: self.class.name, version: self.class.handler_version, capabilities:,
          config_schema:, ruby_version: RUBY_VERSION, created_at: Time.now }
      end

      # Steps are found by the core, and the core runs no Ruby; kept for programs that ask.
      def orchestration_system = nil
      def rust_integration = nil

      # A success with any JSON value; nothing is `{}`.
      #
      # @param result_data as `result`
      # @param metadata [Hash] kept with the attempt
      # @return [Types::StepHandlerCallResult::Success]
      def success(result: nil, result_data: nil, metadata: {})
        Types::StepHandlerCallResult.success(result: result.nil? ? result_data : result, metadata:)
      end

      # A failure; retryable unless you say otherwise.
      #
      # @param message [String]
      # @param error_type [String] a standard type or one of your own
      # @param error_code [String, nil] your own code
      # @param retryable [Boolean] whether another attempt may help
      # @param metadata [Hash] kept with the attempt
      # @param retry_after [Numeric, nil] seconds until the next attempt
      # @return [Types::StepHandlerCallResult::Error]
      def failure(message:, error_type: "handler_error", error_code: nil, retryable: true, metadata: {}, retry_after: nil,
                  status_code: nil)
        Types::StepHandlerCallResult.error(message:, error_type:, error_code:, retryable:, metadata:, retry_after:,
                                           status_code:)
      end

      # Progress to keep; return it, and the handler is called again with `context.checkpoint` set.
      #
      # @return [Types::StepHandlerCallResult::CheckpointYield]
      def checkpoint_yield(cursor:, items_processed: 0, accumulated_results: nil)
        Types::StepHandlerCallResult.checkpoint_yield(cursor:, items_processed:, accumulated_results:)
      end
    end
  end
end
