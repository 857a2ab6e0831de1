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
      attr_reader :config, :logger

      # Name templates use as `handler.callable`: the constant `HANDLER_NAME`, else the class's name.
      def self.handler_name
        const_defined?(:HANDLER_NAME) ? const_get(:HANDLER_NAME) : name
      end

      def self.handler_version = const_defined?(:VERSION, false) ? const_get(:VERSION) : "1.0.0"

      def initialize(config: {}, logger: nil)
        @config = config
        @logger = logger || Logger
      end

      # Runs one attempt. The form `call(task, dependency_results, workflow_step)` works too.
      def call(_context)
        raise NotImplementedError, "#{self.class} does not implement call"
      end

      def handler_name = self.class.handler_name

      # What it can do.
      def capabilities = ["process"]

      # JSON Schema of `handler.initialization`, if it has one.
      def config_schema = nil

      def metadata = { handler_name:, version: self.class.handler_version, capabilities: }

      # A success with any JSON value.
      def success(result: nil, result_data: nil, metadata: {})
        Types::StepHandlerCallResult.success(result: result_data.nil? ? result : result_data, metadata:)
      end

      # A failure; retryable unless you say otherwise. `retry_after` is in seconds.
      def failure(message:, error_type: "handler_error", error_code: nil, retryable: true, metadata: {}, retry_after: nil,
                  status_code: nil)
        Types::StepHandlerCallResult.error(message:, error_type:, error_code:,
                                           retryable:, metadata:, retry_after:,
                                           status_code:)
      end

      # Progress to keep; return it, and the handler is called again with `context.checkpoint` set.
      def checkpoint_yield(cursor:, items_processed: 0, accumulated_results: nil)
        Types::StepHandlerCallResult.checkpoint_yield(cursor:, items_processed:,
                                                      accumulated_results:)
      end
    end
  end
end
