# frozen_string_literal: true

require "tasker_core"

# Adds up a CSV file of `id,category,price,stock`, plain fields without quotes; a cursor is a row number.
#
# The analyzer remembers where each part begins in the file, so that no worker reads the parts before its own.
module Reports
  Errors = TaskerCore::Errors

  class Analyze < TaskerCore::StepHandler::Batchable
    HANDLER_NAME = "reports.analyze"

    def call(context)
      rows, offsets = measure(context.get_input("file"), context.get_input("batch_size"))
      return no_batches_outcome(reason: "the file has no rows") if rows.zero?

      cursors = create_cursor_ranges(rows, context.get_input("batch_size"))
      cursors = cursors.zip(offsets).map { |cursor, offset| cursor.merge("metadata" => { "offset" => offset }) }
      create_batches_outcome(cursor_configs: cursors, total_items: rows)
    end

    private

    def measure(path, size)
      File.open(path, "rb") do |file|
        file.gets
        offset, rows, offsets = file.pos, 0, []
        file.each_line do |line|
          offsets << offset if (rows % size).zero?
          offset += line.bytesize
          rows += 1
        end
        [rows, offsets]
      end
    rescue Errno::ENOENT
      raise Errors::NotFoundError.new("there is no file #{path}", error_code: "FILE_NOT_FOUND")
    end
  end

  class AddUp < TaskerCore::StepHandler::Batchable
    HANDLER_NAME = "reports.add_up"

    def call(context)
      nothing = handle_no_op_worker(context)
      return nothing if nothing

      part = get_batch_context(context)
      count = part.end_cursor - part.start_cursor
      stock, value, categories = 0, 0, Hash.new(0)
      rows(context.get_input("file"), part.cursor_config["metadata"]["offset"], count) do |row, index|
        category, price, pieces = product(part.start_cursor + index + 1, row)
        stock += pieces
        value += pieces * price
        categories[category] += 1
      end
      batch_worker_success(items_processed: count, last_cursor: part.end_cursor, results: [[stock, value, categories]])
    end

    private

    def rows(path, offset, count, &)
      File.open(path, "r:UTF-8") do |file|
        file.seek(offset)
        file.each_line.lazy.first(count).each_with_index(&)
      end
    end

    def product(number, row)
      _, category, price, stock, *more = row.split(",")
      raise ArgumentError unless stock && more.empty?

      [category, Integer(price, 10), Integer(stock, 10)]
    rescue ArgumentError
      raise Errors::ValidationError.new("row #{number} is no product", error_code: "BAD_ROW")
    end
  end

  class Aggregate < TaskerCore::StepHandler::Batchable
    HANDLER_NAME = "reports.aggregate"
    ZERO = { total_processed: 0, stock: 0, value: 0, categories: {} }.freeze

    def call(context)
      scenario = detect_aggregation_scenario(context, "analyze", "add_up_")
      aggregate_batch_worker_results(scenario, zero_metrics: ZERO) do |results|
        sums = aggregate_worker_results(results)
        stock, value, categories = sums[:results].transpose
        { total_processed: sums[:total_processed], stock: stock.sum, value: value.sum,
          categories: categories.reduce { |all, counted| all.merge(counted) { |_, one, other| one + other } } }
      end
    end
  end
end
