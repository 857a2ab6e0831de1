# frozen_string_literal: true

module TaskerCore
  module StepHandler
    # Handlers as blocks: keywords name what they need. They register themselves.
    #
    # @example
    #   module Shop
    #     extend TaskerCore::StepHandler::Functional
    #
    #     step_handler "shop.total", depends_on: { cart: "load_cart" }, inputs: [:tax_rate] do |_context, cart:, tax_rate:|
    #       cart["sum"] * (1 + tax_rate)
    #     end
    #   end
    module Functional
      # What a decision block returns.
      class Decision
        attr_reader :steps, :reason, :routing_context

        # Creates the named steps; the context is kept beside the outcome.
        def self.route(steps, **routing_context) = new(Array(steps), nil, routing_context)

        # Creates nothing, and says why.
        def self.skip(reason, **routing_context) = new([], reason, routing_context)

        def initialize(steps, reason, routing_context)
          @steps = steps
          @reason = reason
          @routing_context = routing_context
          freeze
        end
      end

      # What an analyzer block returns: how much there is, and how it is cut.
      BatchConfig = Struct.new(:total_items, :batch_size, :metadata, :max_batches, keyword_init: true)

      # Registers a block as the handler of a name.
      #
      # @param depends_on [Hash] keyword => name of the dependency whose result it gets
      # @param inputs [Array] fields of the task's context, each a keyword
      # @return [Class] the handler class
      def step_handler(name, depends_on: {}, inputs: [], version: "1.0.0", &block)
        functional(Base, name, depends_on, inputs, version, block)
      end

      # Registers a block that returns a `Decision`, names of steps, or a result.
      def decision_handler(name, depends_on: {}, inputs: [], version: "1.0.0", &block)
        finish = lambda do |handler, output|
          output = Decision.route(output) if output.is_a?(String) || output.is_a?(Array)
          next output unless output.is_a?(Decision)

          context = output.routing_context.empty? ? nil : output.routing_context
          next handler.skip_branches(reason: output.reason, routing_context: context) if output.reason

          handler.decision_success(steps: output.steps, result_data: { routing_context: context }.compact)
        end
        functional(StepHandler::Decision, name, depends_on, inputs, version, block, finish:)
      end

      # Registers a block that returns a `BatchConfig` or a result. No items: one placeholder worker runs.
      #
      # @param worker_template [String, nil] step of the workers; that of the step's `batch_config` when absent
      def batch_analyzer(name, worker_template: nil, depends_on: {}, inputs: [], version: "1.0.0", &block)
        finish = lambda do |handler, output|
          next output unless output.is_a?(BatchConfig)
          next handler.no_batches_outcome(reason: "no items") if output.total_items.zero?

          cursors = handler.create_cursor_ranges(output.total_items, output.batch_size, max_batches: output.max_batches)
          handler.create_batches_outcome(cursor_configs: cursors, total_items: output.total_items,
                                         worker_template_name: worker_template, metadata: output.metadata || {})
        end
        functional(Batchable, name, depends_on, inputs, version, block, finish:)
      end

      # Registers a block that gets `batch_context:`; placeholder workers never reach it.
      def batch_worker(name, depends_on: {}, inputs: [], version: "1.0.0", &block)
        extra = ->(handler, context) { { batch_context: handler.get_batch_context(context) } }
        instead = ->(handler, context) { handler.handle_no_op_worker(context) }
        functional(Batchable, name, depends_on, inputs, version, block, extra:, instead:)
      end

      # Registers a block that gets `api:`, a handler with `get post … api_success api_failure`. An `ApiResponse` it
      # returns becomes a success or failure by its status.
      def api_handler(name, base_url: nil, timeout: 30, default_headers: {}, depends_on: {}, inputs: [], version: "1.0.0",
                      &block)
        base = Class.new(Api) do
          define_method(:base_url) { base_url }
          define_method(:default_timeout) { timeout }
          define_method(:default_headers) { default_headers }
        end
        finish = lambda do |handler, output|
          next output unless output.is_a?(ApiResponse)

          output.ok? ? handler.api_success(output) : handler.api_failure(output)
        end
        functional(base, name, depends_on, inputs, version, block, extra: lambda { |handler, _|
                                                                            { api: handler }
                                                                          }, finish:)
      end

      private

      # What all kinds share: `extra` gives further keywords of a call, `finish` turns what the block returned into a
      # result, and what `instead` gives, unless nil, stands for a call.
      def functional(base, name, depends_on, inputs, version, block, extra: nil, finish: nil, instead: nil)
        takes = block.parameters
        accepts = lambda do |key|
          takes.any? { |kind, of| kind == :keyrest || (%i[key keyreq].include?(kind) && of == key) }
        end
        optional = takes.filter_map { |kind, key| key if kind == :key }
        handler = Class.new(base) do
          const_set(:HANDLER_NAME, name)
          const_set(:VERSION, version)
          define_method(:call) do |context|
            settled = instead&.call(self, context)
            next settled unless settled.nil?

            keywords = depends_on.to_h { |key, step| [key.to_sym, context.get_dependency_result(step)] }
            inputs.each do |field|
              given = context.input_data.key?(field.to_s) || !optional.include?(field.to_sym)
              keywords[field.to_sym] = context.get_input(field) if given
            end
            keywords.update(extra.call(self, context).select { |key, _| accepts.call(key) }) if extra
            output = block.call(context, **keywords)
            finish ? finish.call(self, output) : output
          end
        end
        Registry::HandlerRegistry.instance.register(name, handler)
        handler
      end
    end
  end
end
