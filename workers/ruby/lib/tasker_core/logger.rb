# frozen_string_literal: true

module TaskerCore
  # Lines of the core's log: on standard error, level by `TASKER_LOG`, as JSON with `TASKER_LOG_FORMAT=json`.
  #
  # @example
  #   TaskerCore::Logger.info("paid", order: 17)
  module Logger
    LEVELS = %i[error warn info debug trace].freeze

    # Puts the same fields into every line.
    class WithFields
      def initialize(fields) = @fields = fields

      LEVELS.each do |level|
        define_method(level) { |message, **fields| Logger.write(level, message, @fields.merge(fields)) }
      end
    end

    module_function

    LEVELS.each do |level|
      define_method(level) { |message, **fields| Logger.write(level, message, fields) }
      module_function level
    end

    # A logger whose lines carry these fields.
    def with(**fields) = WithFields.new(fields)

    def write(level, message, fields = {})
      Native.log(level.to_s, message.to_s, fields.empty? ? nil : Serialization.dump(fields, "fields"))
    end
  end
end
