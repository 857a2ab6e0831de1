# frozen_string_literal: true

module TaskerCore
  # Lines of the core's log: on standard error, level by `TASKER_LOG`, as JSON with `TASKER_LOG_FORMAT=json`.
  #
  # @example
  #   TaskerCore::Logger.info("paid", order: 17)
  #   TaskerCore::Logger.instance.log_step(:info, "paid", order: 17)
  class Logger
    LEVELS = %i[error warn info debug trace].freeze
    LOCK = Mutex.new
    private_constant :LOCK

    class << self
      # The logger of the process.
      def instance = LOCK.synchronize { @instance ||= new }

      LEVELS.each do |level|
        define_method(level) { |message = nil, **fields, &block| instance.public_send(level, message, **fields, &block) }
      end

      def fatal(...) = instance.fatal(...)

      # A logger whose lines carry these fields.
      def with(**fields) = new(fields)

      # Writes a line.
      #
      # @param level [Symbol, String] one of `LEVELS`, or `fatal`, which is written as an error
      # @param fields [Hash] shown after the message
      def write(level, message, fields = {})
        level = { "fatal" => "error", "warning" => "warn", "unknown" => "info" }.fetch(level.to_s, level.to_s)
        text = message.to_s
        text = text.dup.force_encoding(Encoding::UTF_8).scrub unless text.encoding == Encoding::UTF_8 && text.valid_encoding?
        Native.log(level, text, fields.nil? || fields.empty? ? nil : dumped(fields))
      end

      private

      # No line fails because of what it was given.
      def dumped(fields)
        Serialization.dump(fields, "fields")
      rescue Serialization::SerializationError
        Serialization.dump(fields.to_h { |name, value| [name.to_s, value.inspect[0, 1000].scrub] })
      end
    end

    # @param fields [Hash] in every line
    def initialize(fields = {}) = @fields = fields

    [*LEVELS, :fatal].each do |level|
      # The message, or what the block gives, and fields.
      define_method(level) do |message = nil, **fields, &block|
        Logger.write(level, message.nil? && block ? block.call : message, @fields.merge(fields))
      end
      # What is shown is decided by the core.
      define_method(:"#{level}?") { true }
    end

    # A logger whose lines carry these fields as well.
    def with(**fields) = Logger.new(@fields.merge(fields))

    # Lines about an operation of a part of the system, with its data as fields.
    def log_task(level, operation, **data) = about("task", level, operation, data)
    def log_step(level, operation, **data) = about("step", level, operation, data)

    def log_queue_worker(level, operation, namespace: nil, **data)
      about("queue_worker", level, operation, { namespace:, **data })
    end

    def log_orchestrator(level, operation, **data) = about("orchestrator", level, operation, data)
    def log_ffi(level, operation, component: nil, **data) = about("ffi", level, operation, { part: component, **data })
    def log_config(level, operation, **data) = about("config", level, operation, data)
    def log_database(level, operation, **data) = about("database", level, operation, data)

    def log_registry(level, operation, namespace: nil, name: nil, **data)
      about("registry", level, operation, { namespace:, name:, **data })
    end

    private

    def about(component, level, operation, data)
      Logger.write(level, operation, @fields.merge({ component:, operation: operation.to_s, **data }.compact))
    end
  end
end
