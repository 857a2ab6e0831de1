# frozen_string_literal: true

require "open3"
require "rbconfig"

# What only a process of its own can show: forks, signals, the end.
RSpec.describe "a Ruby process with a worker" do
  library = File.expand_path("../lib", __dir__)
  start = <<~RUBY
    require "tasker_core"
    require "timeout"
    TEMPLATE = "name: t\\nsteps:\\n  - {name: s, handler: h}\\n"
    REGISTRY = TaskerCore::Registry::HandlerRegistry.new
    REGISTRY.register("h", ->(context) { context.get_input("n") })
    def start(url = "sqlite://t.db", **options)
      TaskerCore::Worker::Bootstrap.start!(url: url, templates: [TEMPLATE], registry: REGISTRY, **options)
    end
    def run(worker)
      client = worker.client
      task = client.create_task(name: "t", context: { n: 7 })
      client.wait(task["task_uuid"], timeout: 20)["status"]
    end
  RUBY

  define_method(:ruby) do |code, before: start|
    Dir.mktmpdir do |folder|
      Open3.capture3(RbConfig.ruby, "-I", library, "-e", before + code, chdir: folder)
    end
  end

  it "says nothing when the library is required" do
    out, err, status = ruby('require "tasker_core"', before: "")
    expect([out, err, status.exitstatus]).to eq ["", "", 0]
  end

  it "writes log lines without fields as they are" do
    _, err, = ruby('w = start; TaskerCore::Logger.warn("plain"); TaskerCore::Logger.warn("rich", n: 1); w.shutdown!')
    plain, rich = err.lines(chomp: true)
    expect([plain[/WARN.*/], rich[/n\W+1/].nil?]).to eq ["WARN plain", false]
  end

  it "ends with code 0 although a worker runs" do
    out, err, status = ruby("start; puts :end")
    expect([out, err, status.exitstatus]).to eq ["end\n", "", 0]
  end

  it "gives a forked child clear errors and leaves the parent alone" do
    out, err, status = ruby(<<~'RUBY')
      worker = start
      client = TaskerCore::Client.new(url: worker.url)
      client.health_check
      pid = fork do
        [-> { worker.native.poll(0) }, -> { start }, -> { client.health_check }].each do |attempt|
          attempt.call
        rescue TaskerCore::ClientError, TaskerCore::Errors::NativeError => e
          warn e.code
        end
        warn run(start("sqlite://other.db"))
      end
      Process.wait(pid)
      puts $?.exitstatus, run(worker)
    RUBY
    expect(err.split).to eq %w[forked forked forked complete]
    expect([out.split, status.exitstatus]).to eq [%w[0 complete], 0]
  end

  it "goes on with a client that was used before a fork, in both processes" do
    out, err, status = ruby(<<~'RUBY')
      start.shutdown!
      client = TaskerCore::Client.new(url: "sqlite://t.db")
      client.create_task(name: "t")
      pid = fork do
        client.create_task(name: "t")
        TaskerCore::Client.new(url: "sqlite://t.db").create_task(name: "t")
        warn client.list_tasks["total"]
        exit! 0
      end
      Process.wait(pid)
      client.create_task(name: "t")
      puts $?.exitstatus, client.list_tasks["total"]
    RUBY
    expect([out.split, err.split, status.exitstatus]).to eq [%w[0 4], %w[3], 0]
  end

  it "hears Ctrl-C while a client waits for a server" do
    out, = ruby(<<~'RUBY', before: "")
      require "tasker_core"
      require "socket"
      mute = TCPServer.new("127.0.0.1", 0)
      Thread.new do
        @heard = mute.accept
        Process.kill("INT", Process.pid)
      end
      begin
        TaskerCore::Client.new(url: "tasker://127.0.0.1:#{mute.addr[1]}").health_check
      rescue Exception => e
        puts e.class
      end
    RUBY
    expect(out).to eq "Interrupt\n"
  end

  it "hears Ctrl-C, Thread#kill and Timeout while it polls" do
    out, err, = ruby(<<~'RUBY')
      worker = start("sqlite://t.db", poll: false)
      begin
        Timeout.timeout(0.1) { worker.native.poll(60_000) }
      rescue Timeout::Error
        puts :timeout
      end
      thread = Thread.new { worker.native.poll(60_000) }
      Thread.pass until worker.native.waiting.positive?
      thread.kill.join(5)
      puts thread.alive? ? :alive : :killed
      Thread.new do
        Thread.pass until worker.native.waiting.positive?
        Process.kill("INT", Process.pid)
      end
      begin
        worker.native.poll(60_000)
      rescue Interrupt
        puts :interrupted
      end
    RUBY
    expect(err).to eq ""
    expect(out.split).to eq %w[timeout killed interrupted]
  end

  it "hears Ctrl-C while a client waits" do
    out, = ruby(<<~'RUBY')
      worker = start
      worker.shutdown!
      client = TaskerCore::Client.new(url: "sqlite://t.db")
      task = client.create_task(name: "t")
      begin
        Thread.new { Process.kill("INT", Process.pid) }
        client.wait(task["task_uuid"], timeout: 3600)
      rescue Interrupt
        puts :interrupted
      end
    RUBY
    expect(out).to eq "interrupted\n"
  end

  it "goes on when a handler asks the process to end, and fails the step for good" do
    out, err, = ruby(<<~'RUBY')
      REGISTRY.register("h", ->(context) { context.get_input("n") ? 7 : exit(3) })
      worker = start
      client = worker.client
      task = client.create_task(name: "t")
      client.wait(task["task_uuid"], timeout: 20)
      step = client.get_step(task["task_uuid"], "s")
      puts step["attempts"], step["error"]["message"], step["error"]["backtrace"].size.positive?, run(worker)
    RUBY
    expect(err).to eq ""
    expect(out.lines.map(&:chomp))
      .to eq ["1", "the handler asked its process to end: #<SystemExit: exit>", "true", "complete"]
  end

  # In a process of its own, whose heap is small: a collection at every allocation takes minutes on that of a whole suite.
  it "passes steps under GC.stress" do
    out, err, = ruby(<<~'RUBY')
      steps = (1..5).map { |n| "  - {name: s#{n}, handler: h}\n" }.join
      REGISTRY.register("h", ->(c) { { "n" => c.get_input("n"), "seen" => c.get_dependency_result("nothing") } })
      worker = TaskerCore::Worker::Bootstrap.start!(url: "sqlite://t.db", templates: ["name: t\nsteps:\n#{steps}"],
                                                    registry: REGISTRY, max_concurrent_handlers: 2)
      client = worker.client
      created = client.create_task(name: "t", context: { n: 1 })
      # Collects young objects: what the native half holds is young.
      GC.stress = 1
      task = client.wait(created["task_uuid"], timeout: 600)
      GC.stress = false
      puts task["status"]
    RUBY
    expect([out, err]).to eq ["complete\n", ""]
  end

  it "hands its steps back at a second signal" do
    out, err, = ruby(<<~'RUBY')
      began, told = IO.pipe
      pid = fork do
        REGISTRY.register("h", ->(_) { told.write("x") && sleep })
        worker = start
        # Once it is in `run`, and hears signals.
        Thread.new do
          sleep 0.01 until Thread.main.backtrace.to_s.include?("in `sleep'")
          worker.client.create_task(name: "t")
        end
        exit worker.run
      end
      began.read(1)
      2.times do
        Process.kill("TERM", pid)
        sleep 0.3
      end
      Process.wait(pid)
      client = TaskerCore::Client.new(url: "sqlite://t.db")
      step = client.list_task_steps(client.list_tasks.tasks.first.task_uuid).first
      puts $?.exitstatus, step["attempts"], step["history"].map { |attempt| attempt["outcome"] }.inspect
    RUBY
    expect(out.lines.map(&:chomp)).to eq ["143", "0", '["released"]']
    expect(err).to match(/a second signal ends at once/)
  end

  it "is stopped by a signal handler of the program" do
    out, err, = ruby(<<~'RUBY')
      worker = start
      trap("TERM") { worker.shutdown! }
      Process.kill("TERM", Process.pid)
      Timeout.timeout(10) { sleep 0.01 while worker.running? }
      puts worker.running?, worker.shutdown!
    RUBY
    expect([out, err]).to eq ["false\ntrue\n", ""]
  end
end
