# frozen_string_literal: true

module TaskerCore
  module StepHandler
    module Mixins
      # Results of decisions; mix it into any handler.
      #
      # @example
      #   class Route < TaskerCore::StepHandler::Decision
      #     def call(context)
      #       return decision_success(steps: "auto") if context.get_input("amount") < 1000
      #
      #       decision_success(steps: %w[manager finance], result_data: { amount: context.get_input("amount") })
      #     end
      #   end
      module Decision
        # JSON Schema of `handler.initialization`.
        SCHEMA = { type: "object", properties: {} }.freeze
        private_constant :SCHEMA

        def capabilities
          (defined?(super) ? super : ["process"]) | %w[decision decision_point dynamic_workflow step_creation]
        end

        def config_schema = (defined?(super) ? super : nil) || SCHEMA

        # Creates the named steps; `result_data` is kept beside the outcome.
        #
        # @param steps [String, Symbol, Array] a name or names
        # @raise [Errors::PermanentError] no name, or something that is not a name
        def decision_success(steps:, result_data: {}, metadata: {})
          outcome = begin
            Types::DecisionPointOutcome.create_steps(steps)
          rescue ArgumentError => e
            raise Errors::PermanentError.new(e.message, error_code: "INVALID_DECISION_OUTCOME")
          end
          decision_with_custom_outcome(outcome:, result_data:, metadata:)
        end

        # Creates nothing.
        def decision_no_branches(result_data: {}, metadata: {})
          decision_with_custom_outcome(outcome: Types::DecisionPointOutcome.no_branches, result_data:, metadata:)
        end

        # Creates nothing, and may say why.
        def skip_branches(reason: nil, routing_context: nil, result_data: {}, metadata: {})
          decision_no_branches(result_data: { reason:, routing_context: }.compact.merge(result_data), metadata:)
        end

        # A success that carries an outcome, and whatever else the result shall hold.
        #
        # @param outcome [Types::DecisionPointOutcome, Hash]
        # @raise [Errors::PermanentError] the outcome names no steps, or is none
        def decision_with_custom_outcome(outcome:, result_data: {}, metadata: {})
          said = validate_decision_outcome!(outcome)
          about = { decision_point: true, outcome_type: said[:type], branches_created: (said[:step_names] || []).size,
                    processed_at: Time.now.utc.iso8601(3), processed_by: handler_label }
          Types::StepHandlerCallResult.success(result: result_data.merge(decision_point_outcome: said),
                                               metadata: about.merge(metadata))
        end

        # No decision could be made; permanent unless you say otherwise.
        def decision_failure(message:, error_type: "decision_error", retryable: false, metadata: {}, error_code: nil)
          Types::StepHandlerCallResult.error(message:, error_type:, retryable:, metadata:, error_code:)
        end

        # The outcome as a hash.
        #
        # @raise [Errors::PermanentError] the outcome names no steps, or is none
        def validate_decision_outcome!(outcome)
          said = outcome.respond_to?(:to_h) ? Types::Indifferent.symbols(outcome.to_h) : {}
          names = said[:step_names]
          fits = case said[:type]
                 when "no_branches" then true
                 when "create_steps"
                   names.is_a?(Array) && !names.empty? && names.all? { |name| name.is_a?(String) && !name.strip.empty? }
                 end
          return said if fits

          raise Errors::PermanentError.new(
            "#{said.inspect} is no decision: it needs the type create_steps with step_names, or the type no_branches",
            error_code: "INVALID_DECISION_OUTCOME"
          )
        end

        private

        def handler_label = respond_to?(:handler_name) ? handler_name : self.class.name
      end
    end
  end
end
