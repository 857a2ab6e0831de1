# frozen_string_literal: true

require "tasker_core"

module TaskerCore
  # Latency and throughput with Ruby handlers, client and clock; `tasker bench --lang ruby` runs this.
  module Bench
    SINGLE_MAX = 200
    BULK = 100
    PAGE = 1000
    private_constant :SINGLE_MAX, :BULK, :PAGE

    module_function

    def run(url:, workload:, tasks:, slots:, warm_up:, json:)
      template, steps, last, expected = workload(workload)
      worker = Worker::Bootstrap.start!(url:, templates: [template], registry:,
                                        max_concurrent_handlers: slots)
      client = worker.client
      single = [SINGLE_MAX, tasks].min
      times = Array.new(single + warm_up) { |i| one(client, 2 * (i % 1000), last, expected) }.drop(warm_up).sort
      inputs = Array.new(tasks) { |i| 2 * (i % 1000) }
      began = now
      created = inputs.each_slice(BULK).flat_map { |some| create(client, some) }
      settle(client, created)
      seconds = now - began
      created.zip(inputs) { |task, n| check(client, task, n, last, expected) }
      figures = {
        lang: "ruby", workload:, tasks:, steps: tasks * steps, slots:, warm_up:,
        p50_ms: at(times, 0.50), p95_ms: at(times, 0.95), p99_ms: at(times, 0.99),
        steps_per_second: (tasks * steps / seconds).round, seconds: seconds.round(3),
        peak_rss_mb: File.read("/proc/self/status")[/VmHWM:\s+(\d+)/, 1].to_i / 1024.0,
        durability: client.health_check["durability"], checked: single + warm_up + tasks
      }
      puts json ? JSON.generate(figures) : figures.map { |name, value| "#{name.to_s.ljust(18)} #{value}" }
      worker.shutdown!
    end

    def workload(name)
      head = "name: bench\nnamespace_name: bench\nsteps:\n"
      step = ->(of, handler, after) { "  - {name: #{of}, handler: bench.#{handler}, depends_on: [#{after}]}\n" }
      case name
      when "linear-4"
        steps = [%w[square square], %w[add add_10 square], %w[triple triple add], %w[half half triple]]
        [head + steps.map { |s| step.call(s[0], s[1], s[2]) }.join, 4, "half", ->(n) { ((n * n) + 10) * 3 / 2.0 }]
      when "diamond-4"
        steps = [%w[square square], %w[plus plus square], %w[times times square], ["mean", "mean", "plus, times"]]
        [head + steps.map { |s| step.call(s[0], s[1], s[2]) }.join, 4, "mean", ->(n) { ((n * n * 3) + 25) / 2.0 }]
      when /\Afan-out-(\d+)\z/
        branches = Array.new(Regexp.last_match(1).to_i - 2) { |i| "branch_#{i}" }
        template = head + step.call("source", "square", "") +
                   branches.map do |b|
                     step.call(b, "branch", "source")
                   end.join + step.call("join", "join", branches.join(", "))
        [template, branches.size + 2, "join", ->(n) { ((n * n) + 1) * branches.size }]
      else abort "there is no workload `#{name}`; use linear-4, diamond-4 or fan-out-N"
      end
    end

    def registry
      result = ->(context, step) { context.get_dependency_result(step) }
      handlers = {
        "square" => ->(c) { c.get_input("n")**2 }, "add_10" => ->(c) { result.call(c, "square") + 10 },
        "triple" => ->(c) { result.call(c, "add") * 3 }, "half" => ->(c) { result.call(c, "triple") / 2.0 },
        "plus" => ->(c) { result.call(c, "square") + 25 }, "times" => ->(c) { result.call(c, "square") * 2 },
        "mean" => ->(c) { (result.call(c, "plus") + result.call(c, "times")) / 2.0 },
        "branch" => ->(c) { result.call(c, "source") + 1 },
        "join" => ->(c) { c.get_all_dependency_results("branch_").values.sum }
      }
      Registry::HandlerRegistry.new.tap { |all| handlers.each { |name, handler| all.register("bench.#{name}", handler) } }
    end

    def one(client, number, last, expected)
      began = now
      task = create(client, [number]).first
      client.wait(task, timeout: 600)
      took = (now - began) * 1000
      check(client, task, number, last, expected)
      took
    end

    def create(client, inputs)
      client.create_tasks(inputs.map { |n| { name: "bench", namespace: "bench", context: { n: } } })
            .map { |created| created["task_uuid"] }
    end

    # Waits until all have ended, without a call for each: that would measure the calls.
    def settle(client, tasks)
      client.wait(tasks.last, timeout: 600)
      pages = (0...tasks.size).step(PAGE).flat_map { |offset| client.list_tasks(limit: PAGE, offset:)["tasks"] }
      ended = pages.select { |task| task["status"] == "complete" }.map { |task| task["task_uuid"] }
      (tasks - ended).each { |task| client.wait(task, timeout: 600) }
    end

    def check(client, task, number, last, expected)
      found = client.get_step(task, last)["result"]
      abort "task #{task}: #{found} where #{expected.call(number)} was expected" unless found == expected.call(number)
    end

    def at(times, share) = times[[(times.size * share).to_i, times.size - 1].min].round(3)
    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
