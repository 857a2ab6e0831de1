# frozen_string_literal: true

require "tasker_core"

# Handlers of the approval workflow: the amount decides who must approve.
module Approval
  extend TaskerCore::StepHandler::Functional

  MANAGER_FROM = 1000
  FINANCE_FROM = 5000

  step_handler "approval.validate", inputs: %i[amount requester] do |_context, amount:, requester:|
    unless amount.is_a?(Numeric) && amount.positive?
      raise TaskerCore::Errors::ValidationError.new("the amount must be a number above 0", error_code: "INVALID_AMOUNT")
    end

    { amount:, requester: }
  end

  decision_handler "approval.route", depends_on: { request: "validate" } do |_context, request:|
    amount = request["amount"]
    steps = if amount < MANAGER_FROM
              %w[auto]
            elsif amount < FINANCE_FROM
              %w[manager]
            else
              %w[manager finance]
            end
    TaskerCore::StepHandler::Functional::Decision.route(steps, amount:)
  end

  step_handler("approval.approve") { |context| { approved_by: context.get_config("approver") } }

  step_handler "approval.finalize", depends_on: { request: "validate" } do |context, request:|
    approvals = %w[auto manager finance].map { |step| context.get_dependency_field(step, "approved_by") }
    { **request, approved_by: approvals.compact }
  end
end
