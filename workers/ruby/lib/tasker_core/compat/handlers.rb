# frozen_string_literal: true

module TaskerCore
  # Handler bases under the names of their domain.
  module Handlers
    # Handlers of steps.
    module Steps
      API = StepHandler::Api
      Base = StepHandler::Base
      Batchable = StepHandler::Batchable
      Decision = StepHandler::Decision
      Mixins = StepHandler::Mixins

      module_function

      # A handler object of a class.
      def create(handler_class, config: {}) = StepHandler::Base.build(handler_class, config)

      # Whether a class can run steps.
      #
      # @return [Hash] `valid errors handler_class`
      def validate(handler_class)
        errors = []
        if !handler_class.is_a?(Class) || !(handler_class <= StepHandler::Base)
          errors << "it is no subclass of TaskerCore::StepHandler::Base"
        elsif handler_class.instance_method(:call).owner == StepHandler::Base
          errors << "it does not implement call"
        end
        { valid: errors.empty?, errors:, handler_class: handler_class.to_s }
      end
    end
  end
end
