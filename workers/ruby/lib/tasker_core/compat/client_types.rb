# frozen_string_literal: true

module TaskerCore
  # The client's answers under the names they have beside other types.
  module Types
    ClientHealthResponse = ClientTypes::HealthResponse
    ClientPaginationInfo = ClientTypes::PaginationInfo
    ClientStepAuditResponse = ClientTypes::StepAuditResponse
    ClientStepReadiness = ClientTypes::StepReadiness
    ClientStepResponse = ClientTypes::StepResponse
    ClientTaskListResponse = ClientTypes::TaskListResponse
    ClientTaskResponse = ClientTypes::TaskResponse
  end
end
