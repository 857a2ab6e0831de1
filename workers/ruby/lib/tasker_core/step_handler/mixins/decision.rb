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
        # Creates the named steps; `result_data` is kept beside the outcome.
        def decision_success(steps:, result_data: {}, metadata: {})
          decision_with_custom_outcome(outcome: Types::DecisionPointOutcome.create_steps(steps), result_data:,
                                       metadata:)
        end

        # Creates nothing.
        def decision_no_branches(result_data: {}, metadata: {})
          decision_with_custom_outcome(outcome: Types::DecisionPointOutcome.no_branches, result_data:,
                                       metadata:)
        end

        # Creates nothing, and says why.
        def skip_branches(reason:, routing_context: nil, metadata: {})
          said = { reason:, routing_context: }.compact
          decision_no_branches(result_data: said, metadata:)
        end

        # A success that carries an outcome, and whatever else the result shall hold.
        def decision_with_custom_outcome(outcome:, result_data: {}, metadata: {})
          validate_decision_outcome!(outcome)
          Types::StepHandlerCallResult.success(result: result_data.merge(decision_point_outcome: outcome.to_h),
                                               metadata:)
        end

        # No decision could be made; permanent unless you say otherwise.
        def decision_failure(message:, error_type: "decision_error", retryable: false, metadata: {}, error_code: nil)
          Types::StepHandlerCallResult.error(message:, error_type:, retryable:,
                                             metadata:, error_code:)
        end

        # @raise [Errors::PermanentError] the outcome names no steps, or is none
        def validate_decision_outcome!(outcome)
          said = outcome.to_h.transform_keys(&:to_s)
          names = said["step_names"]
          fits = case said["type"]
                 when "no_branches" then true
                 when "create_steps" then names.is_a?(Array) && !names.empty? && names.all?(String)
                 end
          fits || raise(Errors::PermanentError, "#{said.inspect} is no decision: it needs the type create_steps with " \
                                                "step_names, or the type no_branches")
        end
      end
    end
  end
end
