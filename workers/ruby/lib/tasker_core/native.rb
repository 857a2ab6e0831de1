# frozen_string_literal: true

require "tasker_core/errors"

module TaskerCore
  # The compiled half; converts and forwards, decides nothing.
  module Native
  end
end

require "tasker_core/tasker_core_native"
