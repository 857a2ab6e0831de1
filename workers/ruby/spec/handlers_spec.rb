# frozen_string_literal: true

require "logger"
require "webrick"
require "tasker_core/testing"

# What the test server does not answer by itself.
%w[PATCH DELETE].each { |name| WEBrick::HTTPServlet::ProcHandler.alias_method("do_#{name}", :do_GET) }

# Decisions, batches, HTTP handlers, events: by class and by block.
RSpec.describe "handlers of every kind" do
  functional = Module.new { extend TaskerCore::StepHandler::Functional }
  decision = TaskerCore::StepHandler::Functional::Decision
  batch_config = TaskerCore::StepHandler::Functional::BatchConfig

  flow = <<~YAML
    name: flow
    steps:
      - {name: start, handler: start}
      - {name: route, type: decision, handler: route, depends_on: [start]}
      - {name: cut, type: batchable, handler: cut, depends_on: [route], batch_config: {worker_template: work}}
      - {name: work, type: batch_worker, handler: work, depends_on: [cut]}
      - {name: end, type: deferred_convergence, handler: end, depends_on: [work]}
  YAML
  handlers = {
    "start" => functional.step_handler("start", inputs: [:n]) { |_context, n:| n },
    "route" => functional.decision_handler("route", depends_on: { start: "start" }) do |_context, start:|
      start.positive? ? decision.route("cut", items: start) : decision.skip("nothing there")
    end,
    "cut" => functional.batch_analyzer("cut", depends_on: { start: "start" }) do |_context, start:|
      batch_config.new(total_items: start, batch_size: 4)
    end,
    "work" => functional.batch_worker("work") do |_context, batch_context:|
      cursor = batch_context.checkpoint_cursor || batch_context.start_cursor
      next TaskerCore::Types::StepHandlerCallResult.checkpoint_yield(cursor: cursor + 1) unless batch_context.has_checkpoint?

      { items_processed: batch_context.end_cursor - batch_context.start_cursor, of: batch_context.total_batches }
    end,
    "end" => Class.new(TaskerCore::StepHandler::Batchable) do
      def call(context)
        aggregate_batch_worker_results(detect_aggregation_scenario(context, "cut", "work_"))
      end
    end
  }

  it "runs a decision, a batch with checkpoints and a convergence" do
    TaskerCore::Testing::Harness.open(flow, handlers:) do |harness|
      task = harness.run("flow", { n: 10 }).assert_complete
      expect(task.result("end")).to include("worker_count" => 3, "total_processed" => 10)
      expect(task.step("work_002").outcomes).to eq %w[checkpointed completed]
      expect(task.result("work_002")["of"]).to eq 3
      expect(task.result("route")["routing_context"]).to eq("items" => 10)
      skipped = harness.run("flow", { n: 0 }).assert_complete
      expect([skipped.steps.keys.sort, skipped.result("route")["reason"]]).to eq [%w[route start], "nothing there"]
    end
  end

  batch = TaskerCore::StepHandler::Batchable.new
  [0, 1, 7, 99, 100, 101].product([1, 3, 100], [nil, 1, 7]).each do |total, size, most|
    it "covers #{total} items once, by #{size}, in at most #{most || "any number of"} batches" do
      [batch.create_cursor_ranges(total, size, max_batches: most),
       batch.create_cursor_configs(total, size)].each do |cursors|
        items = cursors.flat_map { |c| (c["start_cursor"]...c["end_cursor"]).to_a }
        expect(items).to eq (0...total).to_a
        expect(cursors.map { |c| c["batch_id"] }).to eq((1..cursors.size).map { |n| format("%03d", n) })
      end
      expect(batch.create_cursor_ranges(total, size, max_batches: most).size).to be <= most if most
    end
  end

  it "refuses decisions that name nothing" do
    route = TaskerCore::StepHandler::Decision.new
    expect { route.decision_success(steps: []) }
      .to raise_error(TaskerCore::Errors::PermanentError, /no_branches/)
    wrong = { type: "create_steps", step_names: [1] }
    expect { route.validate_decision_outcome!(wrong) }.to raise_error(TaskerCore::Errors::PermanentError)
  end

  describe "over HTTP" do
    around do |example|
      @answers = []
      @seen = Thread::Queue.new
      quiet = Logger.new(File::NULL)
      server = WEBrick::HTTPServer.new(Port: 0, BindAddress: "127.0.0.1", Logger: quiet, AccessLog: [])
      server.mount_proc("/") do |request, response|
        @seen << [request.request_method, request.unparsed_uri, request.body, request["x-token"]]
        status, body, headers = @answers.shift || [200, {}, {}]
        response.status = status
        response["content-type"] = "application/json"
        headers.each { |name, value| response[name] = value }
        response.body = JSON.generate(body)
      end
      thread = Thread.new { server.start }
      @url = "http://127.0.0.1:#{server.config[:Port]}"
      example.run
      server.shutdown
      thread.join
    end

    def step_of(template, handler)
      TaskerCore::Testing::Harness.open(template, handlers: { "h" => handler }) { |h| yield h.run("t", { n: 3 }).step("s") }
    end

    let(:url) { @url }
    let(:handler) do
      at = url
      Class.new(TaskerCore::StepHandler::Api) do
        define_method(:base_url) { at }
        def default_headers = { "x-token" => "t" }

        def call(context)
          response = get("/thing", params: { n: context.get_input("n") })
          response.ok? ? api_success(response) : api_failure(response)
        end
      end
    end
    let(:template) { "name: t\nsteps: [{name: s, handler: h, retry: {max_attempts: 2, backoff: none}}]\n" }

    it "sends what it is given and gives what it gets" do
      @answers << [200, { "price" => 5 }, {}]
      step_of(template, handler) { |s| expect([s.status, s.result]).to eq ["complete", { "price" => 5 }] }
      expect(@seen.pop).to eq ["GET", "/thing?n=3", nil, "t"]
      api = handler.new
      api.post("/b", data: { n: 1 })
      api.put("/c", data: [1])
      api.patch("/d", data: "raw")
      api.delete("/e")
      expect(Array.new(4) { @seen.pop.first(3) })
        .to eq [["POST", "/b", '{"n":1}'], ["PUT", "/c", "[1]"], ["PATCH", "/d", "raw"], ["DELETE", "/e", nil]]
    end

    { 400 => ["client_error", false], 401 => ["authentication_error", false], 404 => ["not_found_error", false],
      408 => ["timeout", true], 425 => ["client_error", true], 429 => ["rate_limit_error", true],
      500 => ["server_error", true], 501 => ["server_error", false], 503 => ["service_unavailable_error", true],
      505 => ["server_error", false] }.each do |status, (type, retryable)|
      it "classifies #{status}" do
        2.times { @answers << [status, {}, {}] }
        step_of(template, handler) do |s|
          expect(s.error.values_at("error_type", "error_code", "status_code", "retryable"))
            .to eq [type, "HTTP_#{status}", status, retryable]
          expect(s.attempts).to eq(retryable ? 2 : 1)
        end
      end
    end

    it "hands Retry-After to the scheduler" do
      @answers << [503, {}, { "retry-after" => "2" }]
      step_of(template, handler) do |s|
        first = s.history.first
        waited = Time.parse(first["next_retry_at"]) - Time.parse(first["completed_at"])
        expect([s.status, waited.round(3)]).to eq ["complete", 2.0]
      end
    end
  end

  describe "events" do
    after do
      TaskerCore::DomainEvents::SubscriberRegistry.instance.clear!
      TaskerCore::DomainEvents::PublisherRegistry.instance.clear!
    end

    it "reach subscribers, a failing one stopping no other" do
      heard = Thread::Queue.new
      listener = Class.new(TaskerCore::DomainEvents::BaseSubscriber) do
        subscribes_to "order.*"
        define_method(:handle) { |event| event.payload == "bad" ? raise("no") : heard << event.payload }
        define_method(:on_handle_error) { |_event, error| heard << error.message }
      end
      2.times { TaskerCore::DomainEvents::SubscriberRegistry.instance.register(listener).start }
      template = "name: t\nsteps: [{name: s, handler: h, publishes_events: [{name: order.paid, delivery_mode: fast}]}]\n"
      TaskerCore::Testing::Harness.open(template, handlers: { "h" => ->(c) { c.get_input("n") } }) do |harness|
        harness.run("t", { n: 5 })
        expect([heard.pop, heard.pop]).to eq [5, 5]
        harness.run("t", { n: "bad" })
        expect([heard.pop, heard.pop]).to eq %w[no no]
      end
    end
  end
end
