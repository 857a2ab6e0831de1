# frozen_string_literal: true

# Before anything can raise: a `require` must not be the place where an interrupt strikes.
require "json"
require "tasker_core/errors"

module TaskerCore
  # The compiled half; converts and forwards, decides nothing.
  module Native
  end
end

require "tasker_core/tasker_core_native"
