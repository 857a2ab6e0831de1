# frozen_string_literal: true

module TaskerCore
  module Types
    # Which code a template asks for.
    class HandlerDefinition < Model
      attribute :callable
      attribute :initialization, default: -> { {} }
      attribute :handler_method, default: nil
      attribute :resolver, default: nil

      # @param method [String, nil] as `handler_method`
      def initialize(given = nil, method: nil, **keywords)
        keywords[:handler_method] ||= method unless method.nil?
        super(given, **keywords)
      end

      # The definition a name, a wrapper of a template's step or another definition stands for.
      def self.of(wanted)
        case wanted
        when HandlerDefinition then wanted
        when Models::HandlerWrapper
          new(callable: wanted.callable, initialization: wanted.initialization, handler_method: wanted.handler_method,
              resolver: wanted.resolver)
        else new(callable: wanted.to_s)
        end
      end

      # @return [String] the method that runs the step
      def effective_method = handler_method.nil? || handler_method.to_s.empty? ? "call" : handler_method.to_s

      # Whether another method than `call` runs the step.
      def uses_method_dispatch? = effective_method != "call"

      # Whether only one resolver is to be asked.
      def has_resolver_hint? = !resolver.nil? && !resolver.to_s.empty?

      # The method of the template, as `handler_method`; with a name, that method of the object.
      def method(*name) = name.empty? ? handler_method : super
    end
  end

  module Registry
    HandlerDefinition = Types::HandlerDefinition
  end
end
