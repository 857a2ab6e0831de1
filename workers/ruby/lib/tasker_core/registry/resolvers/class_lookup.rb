# frozen_string_literal: true

module TaskerCore
  module Registry
    module Resolvers
      # Names of constants, but only under modules the user named, and only of handlers; nothing is loaded for it.
      class ClassConstantResolver < BaseResolver
        attr_reader :namespaces

        def initialize
          super(name: "class_constant", priority: 100)
          @namespaces = []
        end

        def allow(namespace) = @namespaces |= [namespace.to_s]

        def can_resolve?(definition)
          @namespaces.any? { |n| definition.callable == n || definition.callable.start_with?("#{n}::") }
        end

        def resolve(definition)
          return nil unless definition.callable.match?(/\A[A-Z]\w*(::[A-Z]\w*)*\z/)

          found = Object.const_get(definition.callable) if Object.const_defined?(definition.callable)
          found.is_a?(Class) && found <= StepHandler::Base ? found : nil
        end
      end
    end
  end
end
