# frozen_string_literal: true

# The Ruby half of the polyglot workflow.
module Polyglot
  extend TaskerCore::StepHandler::Functional

  step_handler "polyglot.add", depends_on: { squared: "square" } do |_context, squared:|
    squared + 10
  end
end
