# frozen_string_literal: true

module TaskerCore
  # Lines of the core's log with fields, and trace ids of a step event; spans themselves are made by the core.
  class Tracing
    LOCK = Mutex.new
    private_constant :LOCK

    class << self
      def instance = LOCK.synchronize { @instance ||= new }

      %i[error warn info debug trace].each do |level|
        # @param fields [Hash] shown after the message
        define_method(level) { |message, fields = {}| Logger.write(level, message, fields) }
      end

      # @return [String, nil] the W3C `traceparent` of a step, for calls to other systems
      def traceparent(context)
        document = Serialization.load(context.event.to_json)
        trace, span = document.values_at("trace_id", "span_id")
        trace && span ? "00-#{trace}-#{span}-01" : nil
      end
    end

    %i[error warn info debug trace].each do |level|
      define_method(level) { |message, fields = {}| Tracing.public_send(level, message, fields) }
    end
  end
end
