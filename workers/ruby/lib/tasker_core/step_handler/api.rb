# frozen_string_literal: true

module TaskerCore
  module StepHandler
    # Base of handlers that call HTTP services. See Mixins::API.
    class Api < Base
      include Mixins::API

      # The request of handlers of an older form; define it, and call it from `call`.
      def process(_task, _sequence, _step)
        raise NotImplementedError, "#{self.class} does not implement process"
      end
    end
  end
end
