# frozen_string_literal: true

ENV["TASKER_ENV"] = "test"
$LOAD_PATH.unshift(File.expand_path("../lib", __dir__))
require "tmpdir"
require "tasker_core"

# A store, a registry, and workers started on them.
class Bench
  attr_reader :url, :registry, :client

  def initialize(folder)
    @url = "sqlite://#{folder}/t.db"
    @registry = TaskerCore::Registry::HandlerRegistry.new
    @client = TaskerCore::Client.new(url: @url)
    @workers = []
  end

  # Registers a handler whose +call+ is the block; it runs in the handler.
  def handler(name, base = TaskerCore::StepHandler::Base, &)
    @registry.register_handler(name, Class.new(base) { define_method(:call) { |context| instance_exec(context, &) } })
  end

  def start(template, **settings)
    TaskerCore::Worker::Bootstrap.start!(url: @url, templates: [template], registry: @registry, **settings)
                                 .tap { |worker| @workers << worker }
  end

  # Runs one task of a template named +t+ to its rest; gives it with its steps by name.
  def run(template, context = {}, **settings)
    start(template, **settings)
    task(context)
  end

  def task(context = {})
    created = @client.create_task(name: "t", context:)
    task = @client.wait(created["task_uuid"], timeout: 30)
    task.merge("by_name" => @client.list_task_steps(task["task_uuid"]).to_h { |s| [s["name"], s] })
  end

  # Whatever a test did, the store must be in order.
  def findings = @client.doctor["findings"].select { |f| f["violations"].positive? }

  def close
    @workers.each { |worker| worker.stop(timeout: 0) }
    @client.close
  end

  # A template of one step.
  def self.one_step(handler = "h", **keys)
    "name: t\nsteps:\n  - name: s\n    handler: #{handler}\n#{keys.map { |k, v| "    #{k}: #{v}\n" }.join}"
  end
end

RSpec.shared_context "with a bench" do
  attr_reader :bench

  around do |example|
    Dir.mktmpdir do |folder|
      @bench = Bench.new(folder)
      example.run
      @bench.close
    end
  end

  after { expect(bench.findings).to be_empty }

  def one_step(...) = Bench.one_step(...)
end

RSpec.configure(&:disable_monkey_patching!)
