# frozen_string_literal: true

module TaskerCore
  module Types
    # Hashes whose keys fit as symbols and as strings, all the way down.
    module Indifferent
      module_function

      # @param value any value; hashes in it, arrays' elements included, are copied
      # @return the value with indifferent hashes in it
      def of(value)
        case value
        when Hash
          indifferent = value.is_a?(ActiveSupport::HashWithIndifferentAccess)
          indifferent ? value : fill(ActiveSupport::HashWithIndifferentAccess.new, value)
        when Array then value.map { |item| of(item) }
        else value
        end
      end

      # As `of`, into a hash of a class of its own.
      def fill(made, hash)
        hash.each { |key, item| made.regular_writer(key.is_a?(Symbol) ? key.name : key, of(item)) }
        made
      end

      # The hash with symbols for its keys, whatever they were.
      def symbols(hash) = hash.transform_keys { |key| key.to_s.to_sym }

      # The value with plain hashes in it, keys as strings.
      def plain(value)
        case value
        when Hash then value.to_h { |key, item| [key.is_a?(Symbol) ? key.name : key, plain(item)] }
        when Array then value.map { |item| plain(item) }
        else value
        end
      end
    end

    # A frozen value with named attributes: made from a hash or keywords, compared by what it holds.
    #
    # @example
    #   class Port < TaskerCore::Types::Model
    #     attribute :name
    #     attribute :berths, default: 1
    #   end
    #   Port.new(name: "Wick").to_h   # => { name: "Wick", berths: 1 }
    class Model
      REQUIRED = Object.new.freeze
      private_constant :REQUIRED

      class << self
        # Declares an attribute.
        #
        # @param default what it is when it is not given; without one it must be given
        # @param one_of [Array, nil] the only values it may have
        # @param of [Class, nil] hashes are made into objects of this class, lists of hashes into lists of them
        def attribute(name, default: REQUIRED, one_of: nil, of: nil)
          @attributes = attributes.merge(name => { default:, one_of:, of: })
          define_method(name) { @values[name] }
        end

        # @return [Hash] what was declared, by name
        def attributes = @attributes || (superclass <= Model ? superclass.attributes : {})

        # @return [Array<Symbol>] in the order of their declaration
        def attribute_names = attributes.keys
      end

      # @raise [ArgumentError] an attribute is missing, or has a value it may not have
      def initialize(given = nil, **keywords)
        given = Indifferent.symbols((given || {}).to_h).merge(keywords)
        @values = self.class.attributes.to_h { |name, rule| [name, read(name, rule, given)] }.freeze
        freeze
      end

      # @return [Hash] attributes by name, models in it as hashes too
      def to_h = @values.transform_values { |value| unwrapped(value) }
      alias to_hash to_h
      alias attributes to_h

      # An attribute by its name; nil if there is none of that name.
      def [](name) = @values[name.to_sym]

      # A copy with other values.
      def with(**changes) = self.class.new(@values.merge(changes))
      alias new with

      def ==(other) = other.class == self.class && other.to_h == to_h
      alias eql? ==
      def hash = [self.class, @values].hash
      def inspect = "#<#{self.class.name} #{@values.map { |name, value| "#{name}=#{value.inspect}" }.join(" ")}>"
      alias to_s inspect

      private

      def read(name, rule, given)
        value = given.fetch(name) do
          raise ArgumentError, "#{self.class.name}: `#{name}` is missing" if rule[:default].equal?(REQUIRED)

          rule[:default].respond_to?(:call) ? rule[:default].call : rule[:default]
        end
        unless rule[:one_of].nil? || value.nil? || rule[:one_of].include?(value)
          raise ArgumentError, "#{self.class.name}: `#{name}` is #{value.inspect}; it must be #{rule[:one_of].join(", ")}"
        end
        return value if rule[:of].nil?

        value.is_a?(Array) ? value.map { |item| wrapped(rule[:of], item) } : wrapped(rule[:of], value)
      end

      def wrapped(kind, value) = value.is_a?(Hash) ? kind.new(value) : value

      def unwrapped(value)
        case value
        when Model then value.to_h
        when Array then value.map { |item| unwrapped(item) }
        when Hash then value.transform_values { |item| unwrapped(item) }
        else value
        end
      end
    end
  end
end
