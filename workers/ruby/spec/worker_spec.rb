# frozen_string_literal: true

require "bigdecimal"
require "date"

# A real worker in this process, on a real store.
RSpec.describe TaskerCore::Worker do
  include_context "with a bench"

  it "runs steps in order with the results of their dependencies" do
    bench.handler("square") { |c| success(result: c.get_input("n")**2) }
    bench.handler("add") { |c| c.get_dependency_result("a") + c.get_dependency_result("b") }
    task = bench.run(<<~YAML, { n: 3 })
      name: t
      steps:
        - {name: a, handler: square}
        - {name: b, handler: square, depends_on: [a]}
        - {name: c, handler: add, depends_on: [b]}
    YAML
    expect(task["by_name"]["c"]["result"]).to eq 18
  end

  it "runs branches at the same time" do
    # Each branch waits for the other: run one after the other, they would never end.
    here = { "b" => Thread::Queue.new, "c" => Thread::Queue.new }
    bench.handler("start") { 1 }
    bench.handler("branch") do |c|
      here[c.step_name] << true
      here[c.step_name == "b" ? "c" : "b"].pop
      c.step_name
    end
    task = bench.run(<<~YAML)
      name: t
      steps:
        - {name: a, handler: start}
        - {name: b, handler: branch, depends_on: [a]}
        - {name: c, handler: branch, depends_on: [a]}
    YAML
    expect(task["status"]).to eq "complete"
  end

  it "drops nothing a handler raises with" do
    bench.handler("h") do
      raise TaskerCore::Errors::RateLimitError.new("slow", error_code: "E1", retry_after: 0.01, metadata: { quota: 7 },
                                                           context: { path: [1] })
    end
    step = bench.run(one_step(retry: "{max_attempts: 1}"))["by_name"]["s"]
    expect(step["error"]).to include("message" => "slow", "error_type" => "rate_limit_error", "error_code" => "E1",
                                     "retryable" => true, "context" => { "path" => [1] })
    expect(step["error"]["backtrace"].last).to match(/worker_spec.rb:\d+ in block/)
    expect(step["error"]["backtrace"].join).not_to include("lib/tasker_core/")
    expect(step["metadata"]["custom"]).to eq("quota" => 7)
  end

  it "keeps the metadata of a success" do
    bench.handler("h") { success(result: 1, metadata: { rows: 3 }) }
    expect(bench.run(one_step)["by_name"]["s"]["metadata"]["custom"]).to eq("rows" => 3)
  end

  it "calls the method the template names, and says which there are if it does not exist" do
    handler = Class.new(TaskerCore::StepHandler::Base) { def refund(context) = { refunded: context.get_input("n") } }
    bench.registry.register_handler("pay", handler)
    task = bench.run(<<~YAML, { n: 4 })
      name: t
      steps:
        - {name: good, handler: {callable: pay, method: refund}}
        - {name: bad, handler: {callable: pay, method: refnd}}
    YAML
    expect(task["by_name"]["good"]["result"]).to eq("refunded" => 4)
    expect(task["by_name"]["bad"]["error"]).to include("error_type" => "handler_resolution_error", "retryable" => false)
    expect(task["by_name"]["bad"]["error"]["message"]).to match(/no method `refnd`; it has call, refund/)
  end

  it "uses only the resolver the template names" do
    resolver = Class.new(TaskerCore::Registry::Resolvers::RegistryResolver) do
      handles_prefix "mine:"
      resolver_name "mine"
      def resolve(definition) = ->(_) { definition.callable }
    end
    bench.registry.add_resolver(resolver.new)
    task = bench.run(<<~YAML)
      name: t
      steps:
        - {name: good, handler: {callable: "mine:a", resolver: mine}}
        - {name: bad, handler: {callable: "mine:a", resolver: nobody}}
    YAML
    expect(task["by_name"]["good"]["result"]).to eq "mine:a"
    expect(task["by_name"]["bad"]["error"]["message"]).to include("there is no resolver `nobody`")
  end

  it "calls handlers of the three-argument form, and gives the constructor the step's configuration" do
    old = Class.new(TaskerCore::StepHandler::Base) do
      def call(task, results, step)
        envelope = results["a"]
        [task.context["n"], results.get_results("a"), *envelope.dig("metadata", "custom"), step.name, config["k"]]
      end
    end
    bench.registry.register_handler("old", old)
    bench.handler("h") { success(result: 5, metadata: { source: "cache" }) }
    task = bench.run(<<~YAML, { n: 1 })
      name: t
      steps:
        - {name: a, handler: h}
        - {name: s, handler: {callable: old, initialization: {k: v}}, depends_on: [a]}
    YAML
    expect(task["by_name"]["s"]["result"]).to eq [1, 5, %w[source cache], "s", "v"]
  end

  it "takes a callable for a class of handlers or a registered name, never for any other constant" do
    stub_const("Shop::Reserve", Class.new(TaskerCore::StepHandler::Base) { def call(_) = "reserved" })
    bench.registry.allow_namespace("Shop")
    task = bench.run(<<~YAML)
      name: t
      steps:
        - {name: good, handler: Shop::Reserve}
        - {name: bad, handler: "Object"}
    YAML
    expect(task["by_name"]["good"]["result"]).to eq "reserved"
    expect(task["by_name"]["bad"]["error"]["error_type"]).to eq "handler_not_found"
  end

  it "names the nearest handler when one is not there" do
    bench.handler("reserve") { 1 }
    step = bench.run(one_step("reserv"))["by_name"]["s"]
    expect(step["error"]["message"]).to include("reserve")
  end

  {
    "NaN" => [-> { { items: [1, Float::NAN] } }, "result.items[1]: NaN"],
    "infinity" => [-> { { a: Float::INFINITY } }, "result.a: Infinity"],
    "an object" => [-> { [Object.new] }, "result[0]: a value of type Object"],
    "bytes" => [-> { "\xFF".b }, "a string in ASCII-8BIT"],
    "a loop" => [-> { [].tap { |a| a << a } }, "contains itself"],
    "an odd key" => [-> { { [1] => 2 } }, "a key of type Array"]
  }.each do |name, (value, place)|
    it "fails a step for good that returns #{name}" do
      bench.handler("h") { value.call }
      step = bench.run(one_step)["by_name"]["s"]
      expect(step.values_at("status", "attempts")).to eq ["error", 1]
      expect(step["error"]).to include("error_type" => "serialization_error", "message" => include(place))
    end
  end

  it "stores nothing as an empty hash" do
    bench.handler("h") { nil }
    expect(bench.run(one_step)["by_name"]["s"]["result"]).to eq({})
  end

  ["", "a\0b", "x" * 1_000_000, [], {}, 0, -1.5, true, 2**63, (2**53) + 1, { "ä" => "𝄞" }, [[[]]]].each do |value|
    it "gives back #{value.inspect[0, 30]} as it was" do
      bench.handler("h") { value }
      bench.handler("echo") { |c| c.get_dependency_result("s") }
      task = bench.run("#{one_step}  - {name: e, handler: echo, depends_on: [s]}\n")
      expect(task["by_name"].transform_values { |s| s["result"] }).to eq("s" => value, "e" => value)
    end
  end

  it "stores symbols, structs, times and decimals as Python would" do
    point = Struct.new(:x, :at)
    bench.handler("h") do
      { kind: :dot, point: point.new(1, Time.utc(2026, 1, 31, 12)), day: Date.new(2026, 1, 31), price: BigDecimal("1.5") }
    end
    expect(bench.run(one_step)["by_name"]["s"]["result"]).to eq(
      "kind" => "dot", "point" => { "x" => 1, "at" => "2026-01-31T12:00:00+00:00" }, "day" => "2026-01-31",
      "price" => "1.5"
    )
  end

  it "takes a hash that says success: false for a failure" do
    bench.handler("h") { { success: false, error: { message: "no stock", error_code: "S1" }, retryable: false } }
    expect(bench.run(one_step)["by_name"]["s"]["error"]).to include("message" => "no stock", "error_code" => "S1",
                                                                    "retryable" => false)
  end

  {
    "out_of_memory" => [-> { raise NoMemoryError }, true],
    "recursion_error" => [-> { (deep = ->(n) { deep.call(n + 1) + 1 }).call(0) }, false],
    "not_implemented_error" => [-> { raise NotImplementedError }, false],
    "attribute_error" => [-> { nil.nothing }, false],
    "value_error" => [-> { throw :ball }, false],
    "ThreadError" => [-> { Thread.exit }, true],
    "Fatal" => [-> { raise Class.new(Exception) { def self.name = "Shop::Fatal" } }, true] # rubocop:disable Lint/InheritException
  }.each do |name, (body, retryable)|
    it "fails only the attempt at #{name}" do
      bench.handler("h") { |c| c.retry_count.zero? ? body.call : "again" }
      bench.handler("other") { 2 }
      task = bench.run("#{one_step(retry: "{backoff: none}")}  - {name: o, handler: other}\n")
      expect(task["by_name"]["s"]["history"].first["error"]).to include("error_type" => name, "retryable" => retryable)
      expect(task["status"]).to eq(retryable ? "complete" : "blocked_by_failures")
      expect(bench.task["by_name"]["o"]["result"]).to eq 2
    end
  end

  it "stores a message without Ruby's guesses and excerpts" do
    bench.handler("h") { undefined_thing_here }
    expect(bench.run(one_step)["by_name"]["s"]["error"]["message"].lines.size).to eq 1
  end

  it "resumes from a checkpoint" do
    bench.handler("h") do |c|
      done = c.checkpoint_items_processed
      next c.accumulated_results if done == 3

      checkpoint_yield(cursor: { at: done }, items_processed: done + 1,
                       accumulated_results: [*c.accumulated_results, c.checkpoint_cursor])
    end
    step = bench.run(one_step)["by_name"]["s"]
    expect(step["result"]).to eq [nil, { "at" => 0 }, { "at" => 1 }]
    expect(step["attempts"]).to eq 1
  end

  it "tells a handler that its attempt was cut short, and rejects what it returns" do
    bench.handler("h") do |c|
      sleep(0.001) until c.cancelled? || c.is_retry?
      c.is_retry? ? "in time" : "late"
    end
    step = bench.run(one_step(timeout_seconds: 0.1, retry: "{max_attempts: 2, backoff: none}"))["by_name"]["s"]
    expect(step["result"]).to eq "in time"
    expect(step["history"].first["error"]["error_type"]).to eq "timeout"
  end

  it "needs no more threads than the work does" do
    bench.handler("h") { 1 }
    worker = bench.start(one_step, max_concurrent_handlers: 50)
    20.times { bench.task }
    expect(worker.poller.get_metrics["threads"]).to be <= 4
  end

  it "publishes what happens, to the process's bridge too" do
    heard = Thread::Queue.new
    names = TaskerCore::Worker::EventNames
    everyone = TaskerCore::Worker::EventBridge.instance
    listeners = {
      names::STEP_COMPLETION_SENT => [->(result) { heard << result }, ->(_) { raise "a broken listener" }],
      names::BRIDGE_ERROR => [->(error) { heard << error.message }]
    }
    listeners.each { |name, all| all.each { |l| everyone.subscribe(name, l) } }
    bench.handler("h") { raise TaskerCore::Errors::PermanentError, "no" }
    bench.run(one_step)
    expect(heard.pop).to have_attributes(success: false, error_message: "no")
    expect(heard.pop).to eq "a broken listener"
    listeners.each { |name, all| all.each { |l| everyone.unsubscribe(name, l) } }
  end

  it "opens and closes two hundred times without growing" do
    bench.handler("h") { 1 }
    cycle = lambda do
      worker = bench.start(one_step)
      worker.stop(timeout: 0)
    end
    10.times { cycle.call }
    before = [Thread.list.size, Dir["/proc/self/task/*"].size, Dir["/proc/self/fd/*"].size]
    200.times { cycle.call }
    after = [Thread.list.size, Dir["/proc/self/task/*"].size, Dir["/proc/self/fd/*"].size]
    after.zip(before).each { |now, then_| expect(now).to be <= then_ + 3 }
  end

  it "drives a step by the published functions" do
    ffi = TaskerCore::FFI
    expect { ffi.poll_step_events }.to raise_error(TaskerCore::Errors::Error, /no worker is running/)
    bench.start(one_step, poll: false)
    uuid = ffi.client_create_task(name: "t")["task_uuid"]
    event = nil
    event = ffi.poll_step_events until event
    expect(event["task_sequence_step"]["workflow_step"]["name"]).to eq "s"
    expect(ffi.checkpoint_yield_step_event(event["event_id"], { cursor: 1, items_processed: 1 })).to be true
    event = nil
    event = ffi.poll_step_events until event
    result = { success: false, error: { message: "no", error_type: "mine", retryable: false } }
    expect(ffi.complete_step_event(event["event_id"], result)).to be true
    expect(ffi.complete_step_event("unknown", result)).to be false
    expect(bench.client.wait(uuid)["status"]).to eq "blocked_by_failures"
    expect(ffi.client_get_step(uuid, "s")["error"]).to include("message" => "no", "error_type" => "mine")
    expect(TaskerCore::Observability.get_health_check).to be_healthy
    expect(TaskerCore::Observability.get_metrics.failed).to eq 1
    expect(ffi.stop_worker).to be true
  end

  it "says why it cannot start, and what the client's request lacks" do
    expect { bench.start("name: [\n") }.to raise_error(TaskerCore::Errors::NativeError)
    bench.handler("h") { 1 }
    bench.start("#{one_step}input_schema: {type: object, required: [a, b]}\n")
    expect { bench.client.create_task(name: "t") }.to raise_error(TaskerCore::ClientError) { |e|
      expect([e.code, e.details.size]).to eq ["context_violates_schema", 2]
    }
  end
end
