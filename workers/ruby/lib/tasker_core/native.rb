# frozen_string_literal: true

# Before anything can raise: a `require` must not be the place where an interrupt strikes.
require "json"
require "tasker_core/errors"

module TaskerCore
  # The compiled half; converts and forwards, decides nothing.
  module Native
  end
end

# A gem for a platform holds one for each Ruby it supports; one that was compiled at its installation, the one for this Ruby.
require "tasker_core/#{RUBY_VERSION[/\d+\.\d+/]}/tasker_core_native"

module TaskerCore
  module Native
    # What the compiled class hands over as text, as listeners read it.
    class StepEvent
      # @return [Models::TaskSequenceStepWrapper] task, step, dependency results and definition
      def task_sequence_step
        Models::TaskSequenceStepWrapper.new(Serialization.load(to_json)["task_sequence_step"])
      end
    end
  end
end
