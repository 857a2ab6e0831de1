# frozen_string_literal: true

require "json"
require "time"

module TaskerCore
  # From Ruby values to the JSON text the core takes, and back.
  module Serialization
    # A value cannot be written as JSON. Permanent: the same handler would return it again.
    class SerializationError < Errors::Error
      def error_type = "serialization_error"
      def retryable = false
    end

    # Deepest value that is written.
    DEPTH_MAX = 200

    module_function

    # @return the value of JSON text; integers and keys as sent
    def load(text)
      JSON.parse(text, max_nesting: false)
    end

    # @param what [String] how the value is called in errors
    # @return [String] the value as UTF-8 JSON
    # @raise [SerializationError] naming the place of what cannot be written
    def dump(value, what = "result")
      JSON.generate(plain(value, what, what, 0), max_nesting: false)
    end

    # The value in terms of JSON: hashes with string keys, arrays, strings, finite numbers, booleans, nil.
    def plain(value, place, what, depth)
      refuse(what, place, "nested too deeply, or a value that contains itself") if depth > DEPTH_MAX
      case value
      when nil, true, false, Integer then value
      when String then text(value, place, what)
      when Float then value.finite? ? value : refuse(what, place, "#{value} is not a JSON number")
      when Symbol then text(value.name, place, what)
      when Hash then hash(value, place, what, depth)
      when Array then value.each_with_index.map { |item, index| plain(item, "#{place}[#{index}]", what, depth + 1) }
      when Time then moment(value, value.nsec / 1000)
      else other(value, place, what, depth)
      end
    end

    def hash(value, place, what, depth)
      value.to_h do |key, item|
        name = case key
               when String then text(key, place, what)
               when Symbol, Integer, Float, true, false then key.to_s
               when nil then "null"
               else refuse(what, place, "a key of type #{key.class}")
               end
        [name, plain(item, "#{place}.#{name}", what, depth + 1)]
      end
    end

    def text(value, place, what)
      utf8 = value.encoding == Encoding::UTF_8 ? value : value.encode(Encoding::UTF_8)
      return utf8 if utf8.valid_encoding?

      refuse(what, place, "a string that is not valid UTF-8")
    rescue EncodingError
      refuse(what, place, "a string in #{value.encoding} that is not text")
    end

    def other(value, place, what, depth)
      return moment(value, (value.sec_fraction * 1_000_000).to_i) if value.is_a?(DateTime)
      # Times of a zone of their own.
      return moment(value, value.usec) if value.respond_to?(:iso8601) && value.respond_to?(:usec)
      return value.iso8601 if value.respond_to?(:iso8601)
      return decimal(value, place, what) if defined?(BigDecimal) && value.is_a?(BigDecimal)
      return plain(value.to_h, place, what, depth + 1) if value.is_a?(Struct) || value.respond_to?(:to_hash)
      return plain(value.to_h, place, what, depth + 1) if value.respond_to?(:to_h) && !value.is_a?(Enumerable)

      refuse(what, place, "a value of type #{value.class}")
    end

    # To the microsecond, as every language writes it.
    def moment(value, microseconds)
      value.strftime(microseconds.zero? ? "%Y-%m-%dT%H:%M:%S%:z" : "%Y-%m-%dT%H:%M:%S.%6N%:z")
    end

    # All digits, no exponent, and no fraction that is only a zero.
    def decimal(value, place, what)
      value.finite? ? value.to_s("F").delete_suffix(".0") : refuse(what, place, "#{value} is not a JSON number")
    end

    def refuse(what, place, why)
      raise SerializationError, "the #{what} cannot be stored as JSON: #{place}: #{why}. " \
                                "Return only hashes with string keys, arrays, strings, finite numbers, booleans and nil"
    end

    private_class_method :plain, :hash, :text, :other, :moment, :decimal, :refuse
  end
end
