# frozen_string_literal: true

module TaskerCore
  # What differs under `TASKER_ENV=test`.
  module TestEnvironment
    module_function

    def test? = ENV["TASKER_ENV"] == "test"

    # Loads the testing harness in the test environment; whether it did.
    def load_if_test!
      return false unless test?

      require "tasker_core/testing"
      true
    end
  end
end
