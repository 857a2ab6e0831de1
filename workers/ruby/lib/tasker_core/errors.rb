# frozen_string_literal: true

module TaskerCore
  # Errors that handlers raise, and how any exception is classified.
  module Errors
    autoload :ErrorClassifier, "tasker_core/errors/error_classifier"

    # Base of everything this library raises.
    class Error < StandardError
      # @return [String] the class without its modules
      def error_class = self.class.name.to_s[/[^:]+\z/].to_s
    end

    # An error of what runs the steps, with the operation it happened in.
    class OperationError < Error
      # @return [String, nil] what was being done
      attr_reader :operation
      # @return [Hash] kept with the error
      attr_reader :context

      # @param operation [String, nil] what was being done
      # @param context [Hash] kept with the error
      def initialize(message = "", operation: nil, context: {})
        super(message)
        @operation = operation
        @context = context
      end
    end

    # An error of the core: code, message, hint, details. Made from its JSON body.
    class NativeError < Error
      attr_reader :code, :hint, :details

      def initialize(body)
        fault = JSON.parse(body)
        super(fault["text"] || fault["message"])
        @plain = fault["message"]
        @code = fault["code"]
        @hint = fault["hint"]
        @details = fault["details"]
      end

      # The message without the hint.
      def plain_message = @plain
    end

    class OrchestrationError < Error; end
    class DatabaseError < Error; end
    class ServerError < OperationError; end

    # The compiled core refused a call.
    class FFIError < OperationError
      def error_type = "ffi_error"
    end

    # Base of all errors a handler may raise on purpose.
    #
    # @example
    #   raise TaskerCore::Errors::RetryableError.new("busy", retry_after: 5)
    class ProceduralError < Error
      TYPE = "handler_error"
      RETRYABLE = true

      # @return [Hash] kept with the attempt
      attr_reader :metadata
      # @return [String, nil] your own code, shown in the step's error
      attr_reader :error_code
      # @return [Numeric, String, nil] seconds to wait before the next attempt, at most 3600
      attr_reader :retry_after
      # @return [Hash] kept with the error
      attr_reader :context
      # @return [Boolean] whether another attempt may help
      attr_reader :retryable

      def initialize(message = "", retryable: nil, metadata: {}, error_code: nil, retry_after: nil, context: {})
        super(message)
        @retryable = retryable.nil? ? self.class::RETRYABLE : retryable
        @metadata = metadata
        @error_code = error_code
        @retry_after = retry_after
        @context = context
      end

      # @return [String] the type as it is stored
      def error_type = self.class::TYPE

      def retryable? = retryable

      def to_h
        { message:, error_type:, error_code:, retryable:,
          retry_after:, metadata:, context: }
      end
    end

    # Another attempt may help.
    class RetryableError < ProceduralError
      TYPE = "retryable_error"
    end

    # Something took too long.
    class TimeoutError < RetryableError
      TYPE = "timeout"
      attr_reader :timeout_duration

      def initialize(message = "", timeout_duration: nil, **options)
        super(message, **options)
        @timeout_duration = timeout_duration
      end
    end

    # Another system could not be reached.
    class NetworkError < RetryableError
      TYPE = "network_error"
      attr_reader :status_code

      def initialize(message = "", status_code: nil, **options)
        super(message, **options)
        @status_code = status_code
      end
    end

    # Another system asks for fewer requests; set `retry_after`.
    class RateLimitError < RetryableError
      TYPE = "rate_limit_error"
    end

    # Another system is down for now.
    class ServiceUnavailableError < RetryableError
      TYPE = "service_unavailable_error"
    end

    # Something is locked or used by another for now.
    class ResourceContentionError < RetryableError
      TYPE = "resource_contention_error"
    end

    # No attempt will help.
    class PermanentError < ProceduralError
      TYPE = "permanent_error"
      RETRYABLE = false
    end

    # The input cannot be worked with.
    class ValidationError < PermanentError
      TYPE = "validation_error"
      attr_reader :field

      def initialize(message = "", field: nil, **options)
        super(message, **options)
        @field = field
      end
    end

    # What the step needs does not exist.
    class NotFoundError < PermanentError
      TYPE = "not_found_error"
      attr_reader :resource_type

      def initialize(message = "", resource_type: nil, **options)
        super(message, **options)
        @resource_type = resource_type
      end
    end

    # Another system does not know who asks.
    class AuthenticationError < PermanentError
      TYPE = "authentication_error"
    end

    # Another system does not allow it.
    class AuthorizationError < PermanentError
      TYPE = "authorization_error"
    end

    # The step or the worker is set up wrongly.
    class ConfigurationError < PermanentError
      TYPE = "configuration_error"
    end

    # A rule of the business forbids it.
    class BusinessLogicError < PermanentError
      TYPE = "business_logic_error"
    end

    # A handler was found but cannot be used: no such method, or its construction failed.
    class ResolutionError < ConfigurationError
      TYPE = "handler_resolution_error"
    end

    # The template names a resolver that is not in the chain.
    class ResolverNotFoundError < ResolutionError; end
  end
end
