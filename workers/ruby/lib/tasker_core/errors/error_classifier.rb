# frozen_string_literal: true

require "timeout"

module TaskerCore
  module Errors
    # Which exceptions are worth another attempt; the same families in every language.
    #
    # An explicit boolean `retryable` on the exception wins; then the permanent families; then the retryable ones;
    # anything else is retryable.
    module ErrorClassifier
      # Programming errors: the same input fails the same way again. IndexError covers KeyError and StopIteration,
      # NameError NoMethodError, ScriptError LoadError and NotImplementedError, ArgumentError bad dates.
      PERMANENT = [ArgumentError, TypeError, NameError, IndexError, RangeError, ZeroDivisionError, FrozenError,
                   NoMatchingPatternError, RegexpError, FiberError, EncodingError, LocalJumpError, ScriptError,
                   SystemStackError].freeze
      # Text that is not what it should be, and failed assertions; by name, so that no library is loaded for it.
      PERMANENT_NAMES = %w[JSON::JSONError URI::Error Psych::Exception CSV::MalformedCSVError Minitest::Assertion
                           RSpec::Expectations::ExpectationNotMetError].freeze
      # Trouble with the world: it may have passed by the next attempt. By name as well.
      RETRYABLE = %w[SystemCallError IOError SocketError Timeout::Error Net::OpenTimeout Net::ReadTimeout
                     Net::WriteTimeout OpenSSL::SSL::SSLError Faraday::ConnectionFailed Faraday::TimeoutError
                     Faraday::SSLError].freeze
      private_constant :PERMANENT_NAMES
      # The families as lists of classes, for programs that ask; `classify` decides.
      PERMANENT_ERROR_CLASSES = [ConfigurationError, PermanentError, ValidationError, NotFoundError, AuthenticationError,
                                 AuthorizationError, BusinessLogicError, *PERMANENT].freeze
      RETRYABLE_ERROR_CLASSES = [RetryableError, NetworkError, TimeoutError, RateLimitError, ServiceUnavailableError,
                                 ResourceContentionError, SystemCallError, IOError, Timeout::Error].freeze

      module_function

      # @return [Hash] `error_type`, `retryable`, and by which rule (`classification`)
      def classify(error)
        type = error.respond_to?(:error_type) ? error.error_type : nil
        type = error.class.name.to_s[/[^:]+\z/] || "StandardError" unless type.is_a?(String) && !type.empty?
        explicit = error.respond_to?(:retryable) ? error.retryable : nil
        retryable, rule =
          if [true, false].include?(explicit) then [explicit, "explicit_attribute"]
          elsif permanent_class?(error) then [false, "permanent_class"]
          elsif kind?(error, RETRYABLE) then [true, "retryable_class"]
          else
            [true, "default"]
          end
        { error_type: type, retryable:, classification: rule }
      end

      # @return [Boolean] whether another attempt may help
      def retryable?(error) = classify(error)[:retryable]

      # Whether an error belongs to the permanent families.
      def permanent_class?(error)
        PERMANENT.any? { |family| error.is_a?(family) } || kind?(error, PERMANENT_NAMES)
      end

      # Whether an error is of a class with one of the names.
      def kind?(error, names) = error.class.ancestors.any? { |ancestor| names.include?(ancestor.name) }

      # @return [Boolean] whether no attempt will help
      def permanent?(error) = !retryable?(error)
    end
  end
end
