# frozen_string_literal: true

module TaskerCore
  module StepHandler
    # Base of handlers that call HTTP services. See Mixins::API.
    class Api < Base
      include Mixins::API

      def capabilities = %w[process http]
    end
  end
end
