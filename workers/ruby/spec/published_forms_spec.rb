# frozen_string_literal: true

require "open3"
require "rbconfig"
require "tmpdir"
require "tasker_core/testing"

# Handlers, events and clients in the published forms, and what must not go wrong with them.
RSpec.describe "the published forms" do
  include_context "with a bench"

  events = TaskerCore::DomainEvents
  result = TaskerCore::Types::StepHandlerCallResult
  library = File.expand_path("../lib", __dir__)

  before do
    @found = TaskerCore::Registry::HandlerRegistry.instance
    TaskerCore::Registry::HandlerRegistry.reset_instance!
  end

  after do
    events::PublisherRegistry.instance.reset!
    events::SubscriberRegistry.instance.reset!
    TaskerCore::Registry::HandlerRegistry.reset_instance!
  end

  def context(input = {}, results = {}, inputs: {}, checkpoint: nil)
    TaskerCore::Types::StepContext.new(
      { task: { task: { task_uuid: "t-1", context: input }, task_name: "t", namespace_name: "n" },
        workflow_step: { workflow_step_uuid: "s-1", name: "s", attempts: 0, max_attempts: 3, inputs:, checkpoint: },
        dependency_results: results.transform_values { |value| { "result" => value, "metadata" => {} } },
        step_definition: { name: "s", handler: { callable: "h", initialization: { "rate" => 2 } } } }
    )
  end

  def step(task) = task["by_name"]["s"]

  describe "errors" do
    it "keep their message when their context is something odd" do
      odd = Class.new(StandardError) do
        def self.name = "Aws::Errors::Missing"
        def context = Object.new
      end
      bench.handler("h") { raise odd, "no such bucket" }
      expect(step(bench.run(one_step(retry: "{max_attempts: 1}")))["error"])
        .to include("message" => "no such bucket", "retryable" => true)
    end

    it "keep their message when one of their methods fails" do
      odd = Class.new(StandardError) { def metadata = raise("worse") }
      bench.handler("h") { raise odd, "first" }
      expect(step(bench.run(one_step(retry: "{max_attempts: 1}")))["error"]["message"]).to eq "first"
    end

    it "keep what they were made with" do
      bench.handler("h") { raise TaskerCore::Errors::ValidationError.new("bad", field: "lamp", context: { "n" => 1 }) }
      expect(step(bench.run(one_step))["error"]["context"]).to eq("n" => 1, "field" => "lamp")
    end

    it "keep their causes" do
      bench.handler("h") do
        {}.fetch(:port)
      rescue KeyError
        raise TaskerCore::Errors::PermanentError, "could not load settings"
      end
      expect(step(bench.run(one_step))["error"]["backtrace"].first).to start_with "caused by KeyError: key not found: :port"
    end

    it "keep their way and their code when a block raises them" do
      handler = TaskerCore::StepHandler::Functional.step_handler("h") do |context:|
        raise TaskerCore::Errors::PermanentError.new("not #{context.get_input(:n)}", error_code: "E7")
      end
      bench.registry.register("h", handler)
      error = step(bench.run(one_step, { n: 3 }))["error"]
      expect(error).to include("message" => "not 3", "error_code" => "E7", "error_type" => "permanent_error")
      expect(error["backtrace"].join).to include "published_forms_spec.rb"
    end

    it "have a Retry-After only where it is a time" do
      ["Mon, 01 Jan 99999 00:00:00 GMT", "inf", "soon", "", Float::NAN, Float::INFINITY, [], true, nil].each do |odd|
        expect(result.seconds(odd)).to be_nil
      end
      expect([result.seconds("2.5"), result.seconds(3), result.seconds(-1)]).to eq [2.5, 3.0, 0.0]
    end

    { ZeroDivisionError.new("x") => false, FloatDomainError.new("x") => false, StopIteration.new("x") => false,
      RegexpError.new("x") => false, JSON::ParserError.new("x") => false, EncodingError.new("x") => false,
      SystemStackError.new("x") => false, LoadError.new("x") => false, URI::InvalidURIError.new("x") => false,
      Errno::ECONNREFUSED.new => true, IOError.new("x") => true, Timeout::Error.new("x") => true,
      NoMemoryError.new("x") => true, RuntimeError.new("x") => true,
      TaskerCore::Errors::DatabaseError.new("x") => true }.each do |error, retryable|
      it "are #{retryable ? "tried again" : "for good"} as #{error.class}" do
        expect(TaskerCore::Errors::ErrorClassifier.retryable?(error)).to be retryable
      end
    end
  end

  describe "results" do
    it "are what a bare value says" do
      point = Struct.new(:success, :message)
      expect(result.from_handler_output(point.new(false, "dark"))).to have_attributes(success?: false, message: "dark")
      expect(result.from_handler_output({ success: true, result: { n: 1 }, metadata: { m: 2 } }))
        .to have_attributes(result: { n: 1 }, metadata: { m: 2 })
      expect(result.from_handler_output([1])).to have_attributes(success?: true, result: [1])
      expect(result.from_handler_output(nil).result).to eq({})
      expect(result.from_handler_output({ 1 => 2 }).result).to eq(1 => 2)
    end

    it "hold no secrets of an answer's headers" do
      shown = TaskerCore::StepHandler::ApiResponse.shown("Set-Cookie" => "a", "x-csrf-token" => "b", "etag" => "d",
                                                         "proxy-authenticate" => "c")
      expect(shown).to eq("Set-Cookie" => "[masked]", "x-csrf-token" => "[masked]", "etag" => "d",
                          "proxy-authenticate" => "[masked]")
    end

    it "of old decisions are permanent errors where they name nothing" do
      decision = TaskerCore::StepHandler::Decision.new
      expect { decision.decision_success(steps: [""]) }.to raise_error(TaskerCore::Errors::PermanentError)
      expect(decision.decision_success(steps: "a", result_data: { x: 1 }).result)
        .to eq(x: 1, decision_point_outcome: { type: "create_steps", step_names: ["a"] })
    end
  end

  describe "contexts" do
    it "take symbols and strings, all the way down" do
      given = context({ "lamp" => { "colours" => [{ "name" => "red" }] } }, { "wind" => { "gusts" => { "most" => 34 } } })
      expect(given.task.context[:lamp][:colours].first[:name]).to eq "red"
      expect(given.get_dependency_result(:wind)[:gusts]["most"]).to eq 34
      expect(given.dependency_results["wind"][:result][:gusts].deep_symbolize_keys).to eq(most: 34)
      expect([given.step_config[:rate], given.get_config(:rate), given.get_input_or(:none, 8)]).to eq [2, 2, 8]
    end

    it "have what a step has unless it is said" do
      bare = TaskerCore::Types::StepContext.from_ffi_event({ "task_uuid" => "t" }, "h")
      expect([bare.task_uuid, bare.handler_name, bare.input_data, bare.step_inputs, bare.retry_count, bare.max_retries,
              bare.retryable?, bare.checkpoint, bare.get_dependency_result("a")]).to eq ["t", "h", {}, {}, 0, 3, true, nil,
                                                                                         nil]
      expect([bare.workflow_step.max_attempts, bare.workflow_step.processed, bare.step_definition.retry,
              bare.step_definition.timeout_seconds]).to eq [3, false, {}, 30]
    end

    it "answer to their fields only" do
      expect { context.task.contxt }.to raise_error(NoMethodError)
      expect { context.dependency_results.wind }.to raise_error(NoMethodError)
      expect(context.workflow_step.processed_at).to be_nil
    end
  end

  describe "blocks" do
    functional = TaskerCore::StepHandler::Functional

    it "get keywords, the context among them" do
      handler = functional.step_handler("x", depends_on: { cart: "load" },
                                             inputs: %i[rate none]) do |cart:, rate:, none:, **more|
        [cart[:sum] * rate, none, more[:context].task_uuid]
      end
      expect(handler.new.call(context({ rate: 2 }, { "load" => { "sum" => 5 } })).result).to eq [10, nil, "t-1"]
    end

    it "get models where they ask for them" do
      model = Class.new do
        def self.attribute_names = %i[name size]
        attr_reader :name, :size

        def initialize(name:, size: 1)
          @name = name
          @size = size
        end
      end
      handler = functional.step_handler("x", inputs: model, depends_on: { from: ["load", model] }) do |inputs:, from:, **|
        [inputs.name, inputs.size, from.name]
      end
      given = context({ "name" => "a", "more" => 1 }, { "load" => { "name" => "b" } })
      expect(handler.new.call(given).result).to eq ["a", 1, "b"]
      expect(handler.new.call(context({}, { "load" => { "name" => "b" } })))
        .to have_attributes(success?: false, retryable: false)
    end

    it "take a Struct or a class with keywords for a model" do
      plain = Class.new do
        attr_reader :name

        define_method(:initialize) { |name:| @name = name }
      end
      [plain, Struct.new(:name, :size), Struct.new(:name, keyword_init: true)].each do |model|
        handler = functional.step_handler("x", inputs: model) { |inputs:| inputs.name }
        expect(handler.new.call(context({ "name" => "a", "other" => 1 })).result).to eq "a"
      end
    end

    it "leave placeholder workers to the library" do
      handler = functional.batch_worker("x") { |**| raise "never called" }
      given = context(inputs: { "cursor" => { "batch_id" => "000" }, "is_no_op" => true })
      expect(handler.new.call(given).result).to include("no_op" => true, "batch_id" => "000")
    end

    it "are refused without a block" do
      expect { functional.step_handler("x") }.to raise_error(ArgumentError)
    end
  end

  describe "batches" do
    batch = TaskerCore::StepHandler::Batchable.new

    it "are cut in whole numbers, and none is lost" do
      expect(batch.create_cursor_ranges((2**53) + 1, 1, max_batches: 1).size).to eq 1
      expect(batch.create_cursor_configs(7, 3) { |cursor, i| cursor["tag"] = i }.map { |c| c[:tag] }).to eq [0, 1, 2]
    end

    it "give the analyzer's metadata in its result" do
      cursors = batch.create_cursor_configs(4, 2)
      made = batch.create_batches_outcome(worker_template_name: "w", cursor_configs: cursors, total_items: 4,
                                          metadata: { path: "/tmp/x" })
      expect(made.result).to include("path" => "/tmp/x", "worker_count" => 2)
      expect(batch.no_batches_outcome(reason: "none", metadata: { day: 1 }).result)
        .to include("day" => 1, "reason" => "none")
    end

    it "are added up from the context's dependency results" do
      given = context({}, { "cut" => { "path" => "p" }, "w_001" => { "items_processed" => 2 } })
      scenario = batch.detect_aggregation_scenario(given.dependency_results, "cut", "w_")
      expect(scenario).to have_attributes(no_batches?: false, with_batches?: true, worker_count: 1)
      added = batch.aggregate_batch_worker_results(scenario) { |all| { n: all.each_value.sum { |r| r[:items_processed] } } }
      expect(added.result).to eq("n" => 2, "worker_count" => 1, "scenario" => "with_batches")
    end

    it "of nothing are no batches" do
      none = { "batch_processing_outcome" => { "type" => "no_batches" } }
      given = context({}, { "cut" => none, "w_001" => { "no_op" => true } })
      scenario = batch.detect_aggregation_scenario(given.dependency_results, "cut", "w_")
      expect(batch.aggregate_batch_worker_results(scenario, zero_metrics: { n: 0 }).result)
        .to eq("worker_count" => 0, "scenario" => "no_batches", "n" => 0)
    end

    it "have integer keys if their users like" do
      given = context({}, { "w_001" => { "counts" => { 1 => 2 } } })
      expect(batch.detect_aggregation_scenario(given.dependency_results, "cut", "w_").worker_count).to eq 1
      expect(batch.aggregate_worker_results({ "w" => { 1 => 2, "items_processed" => 3 } })).to include(total_processed: 3)
    end
  end

  describe "handlers" do
    it "are named by their instances, and get their configuration" do
      stub_const("Shop::Reserve", Class.new(TaskerCore::StepHandler::Base) do
        def initialize(config:)
          super(config:)
          @rate = config.fetch(:rate)
        end

        def handler_name = "shop.reserve"
        def call(_context) = { rate: @rate, again: config["rate"] }
      end)
      bench.registry.register(Shop::Reserve)
      task = bench.run(one_step("{callable: shop.reserve, initialization: {rate: 3}}"))
      expect(step(task)["result"]).to eq("rate" => 3, "again" => 3)
    end

    it "find a clean thread" do
      bench.handler("h") do
        seen = [Thread.current[:tenant], Thread.current.thread_variable_get(:span)]
        Thread.current[:tenant] = "one"
        Thread.current.thread_variable_set(:span, 1)
        seen
      end
      bench.start(one_step, max_concurrent_handlers: 1)
      expect(Array.new(3) { step(bench.task)["result"] }).to all eq([nil, nil])
    end

    it "leave no header to the next attempt, registered as a class or as an object" do
      handler = Class.new(TaskerCore::StepHandler::Api) do
        def call(_context)
          seen = connection.headers["X-Who"]
          connection.headers["X-Who"] = "alice"
          { seen: }
        end
      end
      bench.registry.register("h", handler)
      bench.registry.register("o", handler.new)
      bench.start("#{one_step}  - {name: o, handler: o}\n")
      2.times do
        expect(bench.task["by_name"].transform_values do |s|
                 s["result"]
               end).to eq("s" => { "seen" => nil }, "o" => { "seen" => nil })
      end
    end

    it "run once, although the process has a subscriber of its own" do
      runs = Thread::Queue.new
      bench.handler("h") { runs << 1 }
      heard = Thread::Queue.new
      listener = TaskerCore::Worker::EventBridge.instance.subscribe("step.execution.received") { |event| heard << event }
      own = TaskerCore::Worker::StepExecutionSubscriber.new(TaskerCore::Worker::EventBridge.instance, bench.registry, "own")
      own.start
      bench.run(one_step)
      own.stop
      TaskerCore::Worker::EventBridge.instance.unsubscribe("step.execution.received", listener)
      expect([runs.size, heard.size]).to eq [1, 1]
      # With task, step and results, as the published event has them.
      expect(heard.pop(true).task_sequence_step.workflow_step.name).to eq "s"
    end

    def folder(files)
      files.each do |name, code|
        path = File.join(@folder, name)
        FileUtils.mkdir_p(File.dirname(path))
        File.write(path, code)
      end
    end

    def handler_file(name) = "class #{name} < TaskerCore::StepHandler::Base\n  def call(_) = 1\nend\n"

    around { |example| Dir.mktmpdir { |made| (@folder = made) && example.run } }

    it "are found whatever their files are called, except in folders of tests" do
      folder("spec/app/deep/first_test.rb" => handler_file("FoundFirst"),
             "spec/app/second_spec.rb" => handler_file("FoundSecond"),
             "spec/app/spec/inner.rb" => "raise 'never loaded'", "spec/app/tests/inner.rb" => "raise 'never loaded'")
      registry = TaskerCore::Registry::HandlerRegistry.new
      expect { expect(registry.discover_handlers("#{@folder}/spec/app")).to eq [] }
        .to output(/spec is left out.*tests is left out/m).to_stderr
      expect(registry.registered_handlers).to eq %w[FoundFirst FoundSecond]
    end

    it "are found by a second registry as well" do
      folder("a.rb" => handler_file("FoundTwice"))
      2.times do
        registry = TaskerCore::Registry::HandlerRegistry.new
        expect([registry.discover_handlers(@folder), registry.registered_handlers]).to eq [[], ["FoundTwice"]]
      end
    end

    it "are told about when there are none" do
      folder("a.rb" => "FOUND_NOTHING = 1\n")
      expect(TaskerCore::Registry::HandlerRegistry.new.discover_handlers(@folder)).to eq ["0 handlers found in #{@folder}"]
    end

    it "are told about when two have one name, the first one having it" do
      folder("a.rb" => "class TwiceA < TaskerCore::StepHandler::Base\n  HANDLER_NAME = 'twice'\n  def call(_) = 1\nend\n",
             "b.rb" => "class TwiceB < TaskerCore::StepHandler::Base\n  HANDLER_NAME = 'twice'\n  def call(_) = 1\nend\n",
             "c.rb" => "require_relative 'a'\nclass TwiceC < TwiceA\nend\n")
      registry = TaskerCore::Registry::HandlerRegistry.new
      expect(registry.discover_handlers(@folder)).to match [/two handlers have one name: `twice` is both Twice/]
    end

    it "stand in the place of the parent whose name they have" do
      folder("a.rb" => "class ParentH < TaskerCore::StepHandler::Base\n  HANDLER_NAME = 'parent'\n  def call(_) = 1\nend\n" \
                       "class ChildH < ParentH\n  def call(_) = 2\nend\n")
      registry = TaskerCore::Registry::HandlerRegistry.new
      expect(registry.discover_handlers(@folder)).to eq []
      expect(registry.get_handler_class("parent").name).to eq "ChildH"
    end

    it "that the program registered itself are not replaced by a class that is found" do
      mine = ->(_) { "mine" }
      bench.registry.register("FoundOwn", mine)
      folder("a.rb" => handler_file("FoundOwn"))
      bench.registry.discover_handlers(@folder)
      expect(bench.registry.handlers["FoundOwn"]).to be mine
    end
  end

  describe "events" do
    def publishing(*declared)
      "#{one_step}    publishes_events: [#{declared.map { |d| "{#{d}}" }.join(", ")}]\n"
    end

    it "are shaped by publishers with two or three arguments, registered or only written" do
      stub_const("WrittenPublisher", Class.new(events::BasePublisher) do
        def name = "written"
        def transform_payload(step_result, declaration) = { of: declaration[:name], n: step_result[:result] }
        def additional_metadata(_result, _declaration, context = nil) = { step: context.step_name }
      end)
      bench.handler("h") { 5 }
      bench.run(publishing("name: a.b, publisher: written"))
      message = bench.client.list_events.first["message"]
      expect(message["payload"]).to eq("of" => "a.b", "n" => 5)
      expect(message["metadata"]).to include("step" => "s", "fired_by" => "written")
    end

    it "are published with the default payload when their publisher fails" do
      told = Thread::Queue.new
      failing = Class.new(events::BasePublisher) do
        def name = "failing"
        def transform_payload(*) = raise("cannot shape that")
        define_method(:on_publish_error) { |name, error, _payload| told << [name, error.message] }
      end
      events::PublisherRegistry.instance.register(failing)
      bench.handler("h") { raise TaskerCore::Errors::PermanentError.new("no money", error_code: "M1") }
      bench.run(publishing("name: a.b, condition: failure, publisher: failing"))
      message = bench.client.list_events.first["message"]
      expect(message["payload"]).to include("error_message" => "no money", "error_code" => "M1", "retryable" => false)
      expect(message["metadata"]["publisher_error"]).to eq "RuntimeError: cannot shape that"
      expect(told.pop).to eq ["a.b", "cannot shape that"]
    end

    it "are heard again although a subscriber ran out of stack, or asked the process to end" do
      heard = Thread::Queue.new
      [-> { (deep = ->(n) { deep.call(n + 1) + 1 }).call(0) }, -> { exit(3) }].each do |body|
        subscriber = Class.new(events::BaseSubscriber) do
          subscribes_to "a.*"
          define_method(:handle) do |event|
            heard << event[:event_name]
            body.call
          end
        end
        events::SubscriberRegistry.instance.register(subscriber)
      end
      bench.handler("h") { 1 }
      worker = bench.start(publishing("name: a.b, delivery_mode: fast"))
      2.times { bench.task }
      worker.stop
      expect(Array.new(heard.size) { heard.pop }).to eq ["a.b"] * 4
    end

    it "come to subscribers as hashes, once, also with pollers of their own" do
      heard, seen = Thread::Queue.new, Thread::Queue.new
      subscriber = Class.new(events::BaseSubscriber) do
        subscribes_to "a.*"
        define_method(:handle) do |event|
          heard << [event[:business_payload]["n"], event["metadata"][:step_name], event[:execution_result][:success],
                    event.context[:task_name]]
        end
      end
      events::SubscriberRegistry.instance.register(subscriber)
      bench.handler("h") { |c| { n: c.get_input("n") } }
      worker = bench.start(publishing("name: a.b, delivery_mode: broadcast"))
      pollers = Array.new(2) { events::InProcessDomainEventPoller.new(native: worker.native) }
      pollers.each { |poller| poller.on_event { |event| seen << event.payload["n"] } }
      pollers.each(&:start)
      5.times { |n| bench.task({ n: }) }
      worker.stop
      pollers.each(&:stop)
      expect(Array.new(heard.size) { heard.pop }.sort).to eq(Array.new(5) { |n| [n, "s", true, "t"] })
      expect(Array.new(seen.size) { seen.pop }.tally).to eq((0..4).to_h { |n| [n, 2] })
    ensure
      pollers.each { |poller| events::InProcessDomainEventPoller.forget(poller) }
    end

    it "leave nothing behind in a harness" do
      subscriber = Class.new(events::BaseSubscriber) { def handle(_event) = nil }
      template = "name: t\nsteps: [{name: s, handler: h}]\n"
      TaskerCore::Testing::Harness.open(template, handlers: { "h" => ->(_) { 1 } }) do
        events::SubscriberRegistry.instance.register(subscriber)
      end
      expect(events::SubscriberRegistry.instance.count).to eq 0
    end

    it "have registries that say what they refuse" do
      registry = events::PublisherRegistry.instance
      expect { registry.register(Object.new) }.to raise_error(ArgumentError)
      expect { registry.get_strict("gone") }.to raise_error(events::PublisherNotFoundError)
      expect { registry.validate_required!(["gone"]) }.to raise_error(events::ValidationError)
      registry.freeze!
      expect { registry.clear }.to raise_error(events::RegistryFrozenError)
      expect { registry.register(Object.new) }.to raise_error(ArgumentError)
    end
  end

  describe "a worker" do
    it "takes a text where a list is expected" do
      bench.handler("h") { 1 }
      template = one_step.sub("name: t\n", "name: t\nnamespace_name: shop\n")
      worker = TaskerCore::Worker::Bootstrap.start!(url: bench.url, namespaces: "shop", templates: template,
                                                    registry: bench.registry)
      expect(worker.info["namespaces"]).to eq ["shop"]
      worker.stop
    end

    it "is given to whoever starts it again without settings" do
      bench.handler("h") { 1 }
      worker = bench.start(one_step)
      expect(TaskerCore::Worker::Bootstrap.start!).to be worker
      expect(TaskerCore::Worker::Bootstrap.instance).to be worker
      worker.stop
      expect(TaskerCore::Worker::Bootstrap.instance.running?).to be false
    end

    it "calls what was to be called at its stop, also if that was said before its start" do
      told = []
      TaskerCore::Worker::Bootstrap.instance.on_shutdown { told << :early }
      bench.handler("h") { 1 }
      worker = bench.start(one_step)
      worker.on_shutdown { exit(3) }
      worker.on_shutdown { told << :late }
      worker.stop
      expect(told).to eq %i[early late]
    end

    it "writes any line a handler likes" do
      bench.handler("h") do
        logger.info("odd \xFF", of: Object.new, error: StandardError.new("x"))
        1
      end
      expect(step(bench.run(one_step))["status"]).to eq "complete"
    end

    it "goes on with the threads it has when the system gives no more" do
      bench.handler("h") { 1 }
      worker = bench.start(one_step)
      bench.task
      allow(Thread).to receive(:new).and_raise(ThreadError, "can't create Thread")
      expect(step(bench.task)["result"]).to eq 1
      expect(step(bench.task)["result"]).to eq 1
      expect(worker.poller.polling_thread).to be_alive
    end

    it "goes on when a callback of its poller raises whatever it likes" do
      bench.handler("h") { 1 }
      worker = bench.start(one_step)
      worker.poller.on_step_event { |_event| raise NoMemoryError }
      worker.poller.on_error { |_error| raise SystemStackError }
      2.times { expect(step(bench.task)["result"]).to eq 1 }
    end

    it "takes one result of a step, and no number that is none" do
      ffi = TaskerCore::FFI
      bench.start(one_step, poll: false)
      uuid = ffi.client_create_task(name: "t").task_uuid
      event = nil
      event = ffi.poll_step_events until event
      said = { success: false, error: { message: "no", retryable: false }, metadata: { retry_after_seconds: "NaN" } }
      expect(ffi.complete_step_event(event["event_id"], said)).to be true
      expect(ffi.complete_step_event(event["event_id"], said)).to be false
      bench.client.wait(uuid)
      expect(bench.client.get_step(uuid, "s").values_at("attempts", "status")).to eq [1, "error"]
    end
  end

  describe "clients" do
    it "answer with readers and keys" do
      bench.handler("h") { { grams: 5 } }
      worker = bench.start(one_step)
      task = TaskerCore::Client.create_task(name: "t", context: { hens: 9 })
      bench.client.wait(task.task_uuid)
      read = TaskerCore::Client.get_task(task.task_uuid)
      expect(read).to be_a(TaskerCore::Types::ClientTaskResponse)
      expect([read.execution_status, read.total_steps, read.completed_steps, read[:context][:hens]])
        .to eq ["all_complete", 1, 1, 9]
      found = TaskerCore::Client.list_task_steps(task.task_uuid).first
      expect([found.current_state, found.results[:result][:grams], found["status"]]).to eq ["complete", 5, "complete"]
      history = TaskerCore::Client.get_step_audit_history(task.task_uuid, found.step_uuid)
      expect([history.first.success, history.first.step_name]).to eq [true, "s"]
      expect(TaskerCore::Client.list_tasks(limit: 1).pagination.total_count).to eq 1
      worker.stop
    end

    it "count the parents a step has, not those it might have had" do
      bench.handler("route", TaskerCore::StepHandler::Decision) { decision_success(steps: "left") }
      bench.handler("h") { 1 }
      task = bench.run(<<~YAML)
        name: t
        steps:
          - {name: start, handler: h}
          - {name: route, type: decision, handler: route, depends_on: [start]}
          - {name: left, handler: h, depends_on: [route]}
          - {name: right, handler: h, depends_on: [route]}
          - {name: end, type: deferred_convergence, handler: h, depends_on: [left, right]}
      YAML
      last = bench.client.get_step(task["task_uuid"], "end")
      expect([last.total_parents, last.completed_parents, last.dependencies_satisfied]).to eq [1, 1, true]
      expect(task["by_name"]["end"]).to include("total_parents" => 1, "completed_parents" => 1)
    end

    it "refuse with an error of the library" do
      bench.handler("h") { 1 }
      bench.start(one_step)
      expect { TaskerCore::Client.create_task(name: "nothing of that name") }.to raise_error(TaskerCore::Errors::Error)
    end

    it "stay closed" do
      client = TaskerCore::Client.new(url: bench.url)
      client.health_check
      client.close
      expect { client.health_check }.to raise_error(TaskerCore::ClientError, /closed/)
    end
  end

  describe "the library" do
    def ruby(code) = Open3.capture3(RbConfig.ruby, "-I", File.expand_path("../lib", __dir__), "-e", code)

    paths = Dir[File.join(library, "tasker_core/compat/paths/**/*.rb")]
            .map { |file| file.delete_prefix("#{library}/tasker_core/compat/paths/").delete_suffix(".rb") }

    it "has every path it was published with" do
      out, err, = ruby("require 'tasker_core'; #{paths.inspect}.each { |path| require path }; puts :fine")
      expect([out, err]).to eq ["fine\n", ""]
    end

    it "has what handlers use of ActiveSupport, whatever its version" do
      out, err, = ruby(<<~RUBY)
        require "tasker_core"
        p Time.now.to_fs(:db).size, 12_345.to_fs(:delimited), [1].sole, (1..3).overlap?(2..4), 3.days.ago.class,
          { a: { "b" => 1 } }.deep_symbolize_keys, "a_b".camelize, [{ n: 2 }, { n: 3 }].maximum(:n), Time.current.class
      RUBY
      expect([out.lines.map(&:chomp), err])
        .to eq [["19", '"12,345"', "1", "true", "Time", "{:a=>{:b=>1}}", '"AB"', "3", "Time"], ""]
    end

    it "loads neither the compiled half nor Faraday before they are needed" do
      out, = ruby('require "tasker_core"; p $LOADED_FEATURES.grep(/faraday|tasker_core_native/)')
      expect(out).to eq "[]\n"
    end
  end
end
