# frozen_string_literal: true

module TaskerCore
  module StepHandler
    # Base of analyzers, batch workers and aggregating steps. See Mixins::Batchable.
    class Batchable < Base
      include Mixins::Batchable
    end
  end
end
