# frozen_string_literal: true

module TaskerCore
  module StepHandler
    # Handlers as blocks: keywords name what they need. They register themselves. The functions can be called on the
    # module, and after `include` or `extend`.
    #
    # A block gets keywords: `context:`, one for each dependency and input, and what its kind adds; it takes those it names.
    # A block that takes a positional argument gets the context there.
    #
    # @example
    #   module Shop
    #     extend TaskerCore::StepHandler::Functional
    #
    #     Total = step_handler "shop.total", depends_on: { cart: "load_cart" }, inputs: [:rate] do |cart:, rate:, context:|
    #       cart[:sum] * (1 + rate)
    #     end
    #   end
    module Functional
      # What a decision block returns.
      class Decision
        # @return [String] `create_steps` or `no_branches`
        attr_reader :type
        attr_reader :steps, :reason, :routing_context

        # Creates the named steps; the context is kept beside the outcome.
        def self.route(steps, **routing_context) = new("create_steps", Array(steps), nil, routing_context)

        # Creates nothing, and says why.
        def self.skip(reason, **routing_context) = new("no_branches", [], reason, routing_context)

        def initialize(type, steps, reason, routing_context)
          @type = type
          @steps = steps
          @reason = reason
          @routing_context = routing_context
          freeze
        end
      end

      # What an analyzer block returns: how much there is, and how it is cut.
      class BatchConfig < Types::Model
        attribute :total_items
        attribute :batch_size
        attribute :metadata, default: {}.freeze
        attribute :max_batches, default: nil
      end

      # Private after `include`, which may be at the top level; a module that is extended may be asked from outside.
      def self.extended(base)
        super
        base.singleton_class.class_eval { public(*Functional.singleton_methods(false) - [:extended]) }
      end

      module_function

      # Makes a block the handler of a name.
      #
      # @param depends_on [Hash] keyword => name of the dependency whose result it gets, or `[name, Model]` for an object of
      #   a class: one that answers to `attribute_names` and `new(**fields)`, a Struct, or one whose constructor takes
      #   keywords
      # @param inputs [Array, Class] fields of the task's context, each a keyword; or such a class, for the keyword `inputs:`
      # @param version [String] of the handler
      # @return [Class] the handler class
      # @raise [ArgumentError] without a block
      def step_handler(name, depends_on: {}, inputs: [], version: "1.0.0", &block)
        Block.make(Base, name, depends_on, inputs, version, block)
      end

      # Makes a block that returns a `Decision`, names of steps, or a result, the handler of a name.
      def decision_handler(name, depends_on: {}, inputs: [], version: "1.0.0", &block)
        finish = lambda do |handler, output|
          output = Decision.route(output) if output.is_a?(String) || output.is_a?(Array)
          next output unless output.is_a?(Decision)

          said = { reason: output.reason, routing_context: output.routing_context.presence }.compact
          next handler.decision_no_branches(result_data: said) if output.type == "no_branches"

          handler.decision_success(steps: output.steps, result_data: said)
        end
        Block.make(StepHandler::Decision, name, depends_on, inputs, version, block, finish:)
      end

      # Makes a block that returns a `BatchConfig` or a result the handler of a name. No items: one placeholder worker runs.
      #
      # @param worker_template [String, nil] step of the workers; that of the step's `batch_config` when absent
      def batch_analyzer(name, worker_template: nil, depends_on: {}, inputs: [], version: "1.0.0", &block)
        finish = lambda do |handler, output|
          next output unless output.is_a?(BatchConfig)

          metadata = output.metadata || {}
          next handler.no_batches_outcome(reason: "no items", metadata:) if output.total_items.zero?

          cursors = handler.create_cursor_ranges(output.total_items, output.batch_size, max_batches: output.max_batches)
          handler.create_batches_outcome(cursor_configs: cursors, total_items: output.total_items,
                                         worker_template_name: worker_template, metadata:)
        end
        Block.make(Batchable, name, depends_on, inputs, version, block, finish:)
      end

      # Makes a block that gets `batch_context:` the handler of a name; placeholder workers never reach it.
      def batch_worker(name, depends_on: {}, inputs: [], version: "1.0.0", &block)
        extra = ->(handler, context) { { batch_context: handler.get_batch_context(context) } }
        instead = lambda do |handler, context|
          batch = handler.get_batch_context(context)
          batch && handler.handle_no_op_worker(batch)
        end
        Block.make(Batchable, name, depends_on, inputs, version, block, extra:, instead:)
      end

      # Makes a block that gets `api:` the handler of a name: a handler with `get post … api_success api_failure`. An
      # `ApiResponse` it returns becomes a success or failure by its status.
      #
      # @param timeout [Numeric, nil] seconds for an answer
      # @param open_timeout [Numeric, nil] seconds for a connection
      # @param headers [Hash] sent with every request; also `default_headers:`
      def api_handler(name, base_url: nil, timeout: nil, open_timeout: nil, headers: {}, default_headers: {},
                      depends_on: {}, inputs: [], version: "1.0.0", &block)
        settings = { url: base_url, timeout:, open_timeout:, headers: default_headers.merge(headers) }.compact
        base = Class.new(Api) do
          define_method(:initialize) do |config: {}, logger: nil|
            super(config: settings.merge(Types::Indifferent.symbols((config || {}).to_h)), logger:)
          end
        end
        finish = lambda do |handler, output|
          next output unless output.is_a?(ApiResponse)

          output.ok? ? handler.api_success(output) : handler.api_failure(output)
        end
        Block.make(base, name, depends_on, inputs, version, block, extra: ->(handler, _) { { api: handler } }, finish:)
      end

      # How a block becomes a handler.
      module Block
        module_function

        # What all kinds share: `extra` gives further keywords of a call, `finish` turns what the block returned into a
        # result, and what `instead` gives, unless nil, stands for a call.
        def make(base, name, depends_on, inputs, version, block, extra: nil, finish: nil, instead: nil)
          raise ArgumentError, "the handler #{name} needs a block" if block.nil?

          handler = Class.new(base) do
            const_set(:HANDLER_NAME, name.to_s)
            const_set(:VERSION, version)
            define_method(:call) do |context|
              settled = instead&.call(self, context)
              next settled unless settled.nil?

              given = Block.keywords(context, depends_on, inputs, block)
              given.update(extra.call(self, context)) if extra
              output = Block.run(block, context, given)
              Types::StepHandlerCallResult.from_handler_output(finish ? finish.call(self, output) : output)
            rescue StandardError => e
              Types::StepHandlerCallResult.from_exception(e)
            end
          end
          Registry::HandlerRegistry.instance.register(name.to_s, handler)
          handler
        end

        # A keyword for each dependency and input. An input that is absent is nil, unless the block has a default for it.
        def keywords(context, depends_on, inputs, block)
          optional = block.parameters.filter_map { |kind, key| key if kind == :key }
          given = depends_on.to_h { |key, wanted| [key.to_sym, dependency(context, wanted)] }
          typed = inputs.respond_to?(:attribute_names) || inputs.is_a?(Class)
          return given.merge(inputs: model(inputs, context.input_data)) if typed

          Array(inputs).each do |field|
            value = context.get_input(field)
            given[field.to_sym] = value unless value.nil? && optional.include?(field.to_sym)
          end
          given
        end

        def dependency(context, wanted)
          step, kind = wanted
          value = context.get_dependency_result(step)
          kind.nil? || !value.is_a?(Hash) ? value : model(kind, value)
        end

        # An object of a class, of the fields it knows; absent ones are left out.
        def model(kind, values)
          names = names_of(kind)
          fields = names.filter_map { |name| [name.to_sym, values[name.to_s]] if values.key?(name.to_s) }.to_h
          made = begin
            plain = kind.is_a?(Class) && kind < Struct && !kind.keyword_init?
            plain ? kind.new(*fields.values_at(*names.map(&:to_sym))) : kind.new(**fields)
          rescue ArgumentError, TypeError, NameError => e
            raise Errors::ValidationError, "#{kind.name || "the model"} cannot be made of what is there: #{e.message}"
          end
          made.validate! if made.respond_to?(:validate!)
          made
        end

        # Names of a model's fields: what it says itself, or the keywords of its constructor.
        def names_of(kind)
          return kind.attribute_names if kind.respond_to?(:attribute_names)
          return kind.members if kind.respond_to?(:members)

          kind.instance_method(:initialize).parameters.filter_map { |sort, name| name if %i[key keyreq].include?(sort) }
        end

        # Calls the block with the keywords it takes, and with the context where it has a place for it.
        def run(block, context, given)
          takes = block.parameters
          all = takes.any? { |kind, _| kind == :keyrest }
          named = takes.filter_map { |kind, key| key if %i[key keyreq].include?(kind) }
          given = { context: }.merge(given)
          given = given.slice(*named) unless all
          positional = takes.any? { |kind, _| %i[req opt rest].include?(kind) }
          positional ? block.call(context, **given) : block.call(**given)
        end
      end
      private_constant :Block
    end
  end
end
