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
      PERMANENT_NAMES = %w[JSON::JSONError URI::Error Psych::Exception CSV::MalformedCSVError REXML::ParseException
                           Minitest::Assertion RSpec::Expectations::ExpectationNotMetError].freeze
      # Trouble with the world: it may have passed by the next attempt. By name as well.
      RETRYABLE = %w[SystemCallError IOError SocketError Timeout::Error Net::OpenTimeout Net::ReadTimeout
                     Net::WriteTimeout OpenSSL::SSL::SSLError Faraday::ConnectionFailed Faraday::TimeoutError
                     Faraday::SSLError].freeze
      # Kinds of trouble by class: the same words in every language, also where a class of the language or of a library is
      # meant that has another name elsewhere. A class derived from one of these stands for itself, unless it is one of the
      # system's own errors.
      KINDS = {
        "type_error" => %w[TypeError FrozenError],
        "value_error" => %w[ArgumentError UncaughtThrowError NoMatchingPatternError Math::DomainError Date::Error URI::Error
                            IPAddr::Error IPAddr::InvalidAddressError IPAddr::AddressFamilyError
                            IPAddr::InvalidPrefixError
                            URI::InvalidURIError URI::InvalidComponentError URI::BadURIError],
        "key_error" => %w[KeyError NoMatchingPatternKeyError],
        "index_error" => %w[IndexError],
        "iteration_error" => %w[StopIteration ClosedQueueError],
        "attribute_error" => %w[NoMethodError],
        "name_error" => %w[NameError],
        "arithmetic_error" => %w[ZeroDivisionError FloatDomainError RangeError],
        "not_implemented_error" => %w[NotImplementedError],
        "assertion_error" => %w[Minitest::Assertion RSpec::Expectations::ExpectationNotMetError],
        "import_error" => %w[LoadError],
        "syntax_error" => %w[SyntaxError],
        "recursion_error" => %w[SystemStackError],
        "encoding_error" => %w[EncodingError Encoding::CompatibilityError Encoding::UndefinedConversionError
                               Encoding::InvalidByteSequenceError Encoding::ConverterNotFoundError],
        "json_error" => %w[JSON::JSONError JSON::ParserError JSON::NestingError JSON::GeneratorError],
        "yaml_error" => %w[Psych::Exception Psych::SyntaxError Psych::DisallowedClass Psych::BadAlias
                           Psych::AliasesNotEnabled],
        "csv_error" => %w[CSV::MalformedCSVError],
        "xml_error" => %w[REXML::ParseException],
        "regex_error" => %w[RegexpError],
        "timeout" => %w[Timeout::Error Timeout::ExitException Errno::ETIMEDOUT IO::TimeoutError Net::OpenTimeout
                        Net::ReadTimeout Net::WriteTimeout Faraday::TimeoutError],
        "network_error" => %w[Errno::ECONNREFUSED Errno::ECONNRESET Errno::ECONNABORTED Errno::ENOTCONN Errno::EPIPE
                              Errno::EHOSTUNREACH Errno::ENETUNREACH Errno::ENETDOWN Errno::EHOSTDOWN Errno::EADDRINUSE
                              Errno::EADDRNOTAVAIL Errno::ESHUTDOWN SocketError Socket::ResolutionError
                              OpenSSL::SSL::SSLError Faraday::ConnectionFailed Faraday::SSLError],
        "io_error" => %w[IOError EOFError],
        "out_of_memory" => %w[NoMemoryError]
      }.flat_map { |kind, names| names.map { |name| [name, kind] } }.to_h.freeze
      private_constant :PERMANENT_NAMES, :KINDS
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

      # The word that is stored as the type of an error: its own `error_type`, the kind of trouble, else its class's name.
      #
      # @return [String]
      def kind_of(error)
        said = error.respond_to?(:error_type) ? error.error_type : nil
        return said if said.is_a?(String) && !said.empty?

        name = error.class.name.to_s
        KINDS[name] || (name.start_with?("Errno::") ? "io_error" : name[/[^:]+\z/] || "StandardError")
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
