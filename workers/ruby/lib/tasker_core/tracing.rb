# frozen_string_literal: true

module TaskerCore
  # Trace ids of a step event; spans themselves are made by the core.
  module Tracing
    module_function

    # @return [String, nil] the W3C `traceparent` of a step, for calls to other systems
    def traceparent(context)
      document = Serialization.load(context.event.to_json)
      trace, span = document.values_at("trace_id", "span_id")
      trace && span ? "00-#{trace}-#{span}-01" : nil
    end
  end
end
