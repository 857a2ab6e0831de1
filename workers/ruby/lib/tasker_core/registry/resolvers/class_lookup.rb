# frozen_string_literal: true

module TaskerCore
  module Registry
    module Resolvers
      # Constants of handler classes that are loaded; nothing is loaded for it.
      class ClassConstantResolver < BaseResolver
        PRIORITY = 100

        def initialize = super(name: "class_constant", priority: PRIORITY)

        def can_resolve?(definition, _config = {}) = !find(definition.callable).nil?
        def resolve(definition, _config = {}) = find(definition.callable)

        # Constants of all loaded handlers.
        def registered_callables
          StepHandler::Base.loaded.filter_map(&:name).select { |name| find(name) }.sort
        end

        private

        # Each part is looked up in the one before it alone, so that no `const_missing` loads a file; what an autoload
        # stands for counts once it has been loaded.
        def find(callable)
          return nil unless callable.match?(/\A(::)?[A-Z]\w*(::[A-Z]\w*)*\z/)

          found = callable.split("::").reject(&:empty?).inject(Object) do |owner, part|
            return nil unless owner.is_a?(Module) && owner.const_defined?(part, owner.equal?(Object)) &&
                              owner.autoload?(part).nil?

            owner.const_get(part, owner.equal?(Object))
          end
          found.is_a?(Class) && found < StepHandler::Base && !StepHandler::Base.ours?(found) ? found : nil
        end
      end
    end
  end
end
