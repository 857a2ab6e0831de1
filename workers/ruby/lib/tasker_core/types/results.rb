# frozen_string_literal: true

require "time"

module TaskerCore
  module Types
    # Standard error types, as stored. PascalCase spellings are taken as well.
    module ErrorTypes
      ALL = %w[
        permanent_error retryable_error validation_error timeout handler_error handler_not_found network_error
        rate_limit_error service_unavailable_error resource_contention_error not_found_error authentication_error
        authorization_error configuration_error business_logic_error serialization_error
      ].freeze
      ALL.each { |type| const_set(type.upcase, type) }
      SPELLINGS = ALL.to_h { |type| [type.split("_").map(&:capitalize).join, type] }
                     .merge("TimeoutError" => "timeout").freeze

      # @return [String] the type as it is stored
      def self.standard(type)
        text = type.to_s
        return "handler_error" if text.empty?

        SPELLINGS.fetch(text, text)
      end
    end

    # What a handler returns.
    module StepHandlerCallResult
      # A success with any JSON value.
      Success = Struct.new(:result, :metadata, keyword_init: true) do
        def success? = true
      end

      # A failure; retryable unless it says otherwise. `retry_after` is in seconds.
      Error = Struct.new(:message, :error_type, :error_code, :retryable, :metadata, :retry_after, :status_code,
                         keyword_init: true) do
        def success? = false
      end

      # Progress to keep; the handler is called again with it, and no attempt is used.
      CheckpointYield = Struct.new(:cursor, :items_processed, :accumulated_results, keyword_init: true)

      module_function

      # @return [Success]
      def success(result: nil, metadata: {})
        Success.new(result:, metadata: metadata || {}).freeze
      end

      # @return [Error]
      def error(message:, error_type: "handler_error", error_code: nil, retryable: true, metadata: {},
                retry_after: nil, status_code: nil)
        Error.new(message: message.to_s, error_type: ErrorTypes.standard(error_type), error_code: error_code&.to_s,
                  retryable: retryable ? true : false, metadata: metadata || {}, retry_after:,
                  status_code:).freeze
      end

      # @return [CheckpointYield]
      def checkpoint_yield(cursor:, items_processed: 0, accumulated_results: nil)
        unless items_processed.is_a?(Integer) && items_processed >= 0
          raise ArgumentError, "items_processed is #{items_processed.inspect}; it must be a whole number from 0 up"
        end

        CheckpointYield.new(cursor:, items_processed:,
                            accumulated_results:).freeze
      end

      # The result a handler's return value stands for: any bare value is a success, a hash that says
      # `success: false` a failure.
      def from_handler_output(output)
        case output
        when Success, Error, CheckpointYield then return output
        when Hash then nil
        else return success(result: output)
        end
        said = output.transform_keys(&:to_s)
        return success(result: output) unless said["success"] == false

        from_failure(said)
      end

      # The failure an exception stands for, by the classifier.
      def from_exception(error)
        classified = Errors::ErrorClassifier.classify(error)
        metadata = asked(error, :metadata)
        # Ruby adds guesses and an excerpt of the source to what names nothing.
        said = error.is_a?(NameError) ? error.message.to_s.lines.first.to_s.chomp : error.message.to_s
        error(message: said.empty? ? error.class.name.to_s[/[^:]+\z/] : said,
              error_type: classified[:error_type], error_code: asked(error, :error_code),
              retryable: classified[:retryable], metadata: metadata.is_a?(Hash) ? metadata : {},
              retry_after: seconds(asked(error, :retry_after)), status_code: status(asked(error, :status_code)))
      end

      # Seconds to wait, from a number, its text or an HTTP date; nil if it says nothing of the kind.
      def seconds(given)
        case given
        when Numeric then given.to_f.finite? ? [0.0, given.to_f].max : nil
        when String
          number = Float(given, exception: false)
          number ? seconds(number) : [0.0, Time.httpdate(given) - Time.now].max
        end
      rescue ArgumentError
        nil
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

      def asked(error, name) = error.respond_to?(name) ? error.public_send(name) : nil

      def status(given) = given.is_a?(Integer) && given.between?(100, 599) ? given : nil
    end
  end
end
