# frozen_string_literal: true

module TaskerCore
  module StepHandler
    # Base of decision handlers. See Mixins::Decision.
    class Decision < Base
      include Mixins::Decision
    end
  end
end
