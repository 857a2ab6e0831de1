# frozen_string_literal: true

require "time"

module TaskerCore
  module Types
    # Standard error types. They are stored in snake_case; PascalCase spellings are taken as well and stored so.
    module ErrorTypes
      STANDARD = %w[
        permanent_error retryable_error validation_error timeout handler_error handler_not_found network_error
        rate_limit_error service_unavailable_error resource_contention_error not_found_error authentication_error
        authorization_error configuration_error business_logic_error serialization_error step_completion_error
        unexpected_error
      ].freeze
      # Spellings of the first kind, by constant.
      PUBLISHED = { PERMANENT_ERROR: "PermanentError", RETRYABLE_ERROR: "RetryableError",
                    VALIDATION_ERROR: "ValidationError", UNEXPECTED_ERROR: "UnexpectedError",
                    STEP_COMPLETION_ERROR: "StepCompletionError" }.freeze
      STANDARD.each { |type| const_set(type.upcase, PUBLISHED.fetch(type.upcase.to_sym, type)) }
      SPELLINGS = STANDARD.to_h { |type| [type.split("_").map(&:capitalize).join, type] }
                          .merge("TimeoutError" => "timeout").freeze
      ALL = (STANDARD + PUBLISHED.values).freeze
      # No attempt helps against these.
      PERMANENT = %w[permanent_error validation_error not_found_error authentication_error authorization_error
                     configuration_error business_logic_error serialization_error step_completion_error].freeze
      private_constant :STANDARD, :PUBLISHED, :PERMANENT

      module_function

      # @return [String] the type as it is stored
      def standard(type)
        text = type.to_s
        return "handler_error" if text.empty?

        SPELLINGS.fetch(text, text)
      end

      # @return [Boolean] whether it is a standard type, in either spelling
      def valid?(error_type) = ALL.include?(error_type.to_s) || SPELLINGS.key?(error_type.to_s)

      # @return [Boolean] whether no attempt helps against errors of a type
      def typically_permanent?(error_type) = PERMANENT.include?(standard(error_type))

      # @return [Boolean] whether another attempt may help against errors of a type
      def typically_retryable?(error_type) = valid?(error_type) && !typically_permanent?(error_type)
    end

    # What a handler returns.
    module StepHandlerCallResult
      # A success with any JSON value.
      class Success < Model
        attribute :success, default: true
        attribute :result, default: nil
        attribute :metadata, default: {}.freeze

        def success? = true
        def checkpoint? = false
      end

      # A failure. `retry_after` is in seconds; `exception` is what was raised, if anything was.
      class Error < Model
        attribute :success, default: false
        attribute :error_type, default: "handler_error"
        attribute :message
        attribute :error_code, default: nil
        attribute :retryable, default: false
        attribute :metadata, default: {}.freeze
        attribute :retry_after, default: nil
        attribute :status_code, default: nil
        attribute :exception, default: nil

        def success? = false
        def checkpoint? = false
        def to_h = super.except(:exception)
      end

      # Progress to keep; the handler is called again with it, and no attempt is used.
      class CheckpointYield < Model
        attribute :cursor
        attribute :items_processed, default: 0
        attribute :accumulated_results, default: nil

        def success? = false
        def checkpoint? = true

        # @return [Hash] as it is handed to the core
        def to_checkpoint_data(event_id:, step_uuid:)
          { event_id:, step_uuid:, cursor:, items_processed:, accumulated_results: }
        end
      end

      module_function

      # @param result any JSON value; nothing is `{}`
      # @return [Success]
      def success(result: nil, metadata: {})
        Success.new(result: result.nil? ? {} : result, metadata: metadata || {})
      end

      # @param error_type [String] a standard type, in either spelling, or one of your own
      # @param retryable [Boolean, nil] whether another attempt may help; as the type says when absent
      # @param retry_after [Numeric, nil] seconds until the next attempt
      # @return [Error]
      def error(message:, error_type: "handler_error", error_code: nil, retryable: nil, metadata: {},
                retry_after: nil, status_code: nil, exception: nil)
        retryable = !unpromising?(error_type) if retryable.nil?
        type = error_type.to_s.empty? ? "handler_error" : error_type.to_s
        Error.new(message: message.to_s, error_type: type, error_code: error_code&.to_s,
                  retryable: retryable ? true : false, metadata: metadata || {}, retry_after:, status_code:, exception:)
      end

      # @param cursor where to go on, any JSON value
      # @param items_processed [Integer] items done so far
      # @param accumulated_results what to carry along, any JSON value
      # @return [CheckpointYield]
      def checkpoint_yield(cursor:, items_processed: 0, accumulated_results: nil)
        unless items_processed.is_a?(Integer) && items_processed >= 0
          raise ArgumentError, "items_processed is #{items_processed.inspect}; it must be a whole number from 0 up"
        end

        CheckpointYield.new(cursor:, items_processed:, accumulated_results:)
      end

      # The result a handler's return value stands for: any bare value is a success; a hash that says `success: false` is
      # a failure, one that says `success: true` gives its `result` where it has one.
      # Objects with fields are what their fields are.
      def from_handler_output(output)
        case output
        when Success, Error, CheckpointYield then return output
        when Hash then nil
        else
          return success(result: output) unless fields?(output)

          output = output.to_h
        end
        said = output.transform_keys(&:to_s)
        case said["success"]
        when false then from_failure(said)
        when true
          metadata = said["metadata"].is_a?(Hash) ? said["metadata"] : {}
          success(result: said.key?("result") ? said["result"] : output, metadata:)
        else success(result: output)
        end
      end

      # The failure an exception stands for, by the classifier.
      #
      # @return [Error] its metadata has the error's own, and `context`, `retry_after` or `exception_class`
      def from_exception(error)
        classifier = Errors::ErrorClassifier
        metadata = asked(error, :metadata)
        retry_after = asked(error, :retry_after)
        error(message: message_of(error), error_type: spelled(error, classifier.kind_of(error)),
              error_code: asked(error, :error_code), retryable: classifier.retryable?(error),
              metadata: { **(metadata.is_a?(Hash) ? metadata : {}), **about(error, retry_after) },
              retry_after: seconds(retry_after), status_code: status(asked(error, :status_code)), exception: error)
      end

      # Seconds to wait, from a number, its text or an HTTP date; nil if it says nothing of the kind.
      def seconds(given)
        case given
        when Numeric then given.to_f.finite? ? [0.0, given.to_f].max : nil
        when String
          number = Float(given, exception: false)
          number ? seconds(number) : [0.0, Time.httpdate(given) - Time.now].max
        end
      rescue ArgumentError, RangeError, NoMethodError
        nil
      end

      # Whether a value is an object of named fields: a Struct, a model.
      def fields?(value)
        !value.nil? && value.respond_to?(:to_h) && (value.is_a?(Struct) || !value.is_a?(Enumerable))
      end

      def from_failure(said)
        inner = said["error"].is_a?(Hash) ? said["error"].transform_keys(&:to_s) : { "message" => said["error"] }
        field = ->(name) { said[name].nil? ? inner[name] : said[name] }
        message = said["error_message"] || inner["message"] || said["message"]
        retryable = field.call("retryable")
        error(message: message || "the handler returned success: false", error_type: field.call("error_type"),
              error_code: field.call("error_code"), retryable: retryable.nil? || retryable,
              metadata: said["metadata"].is_a?(Hash) ? said["metadata"] : {},
              retry_after: seconds(field.call("retry_after")), status_code: status(field.call("status_code")))
      end

      # What an exception says, if only its class; whatever its methods do.
      def message_of(error)
        # Ruby adds guesses and an excerpt of the source to what names nothing.
        said = error.is_a?(NameError) ? error.message.to_s.lines.first.to_s.chomp : error.message.to_s
        said.empty? ? error.class.name.to_s[/[^:]+\z/].to_s : said
      rescue StandardError
        error.class.name.to_s
      end

      # What a method of an exception gives, nil if it has none or fails.
      def asked(error, name)
        error.respond_to?(name) ? error.public_send(name) : nil
      rescue StandardError
        nil
      end

      def status(given) = given.is_a?(Integer) && given.between?(100, 599) ? given : nil

      # Types that say by themselves that no attempt will help.
      def unpromising?(error_type)
        ErrorTypes.typically_permanent?(error_type) || error_type == ErrorTypes::UNEXPECTED_ERROR
      end

      # The errors of old keep their spelling until they are stored.
      def spelled(error, type)
        old = [Errors::PermanentError, Errors::RetryableError, Errors::ValidationError]
        old.include?(error.class) ? error.error_class : type
      end

      def about(error, retry_after)
        return { exception_class: error.class.name } unless error.is_a?(Errors::ProceduralError)

        context = asked(error, :context)
        { context: context.is_a?(Hash) && !context.empty? ? context : nil, retry_after: }.compact
      end

      private_class_method :fields?, :from_failure, :unpromising?, :spelled, :about
    end
  end
end
