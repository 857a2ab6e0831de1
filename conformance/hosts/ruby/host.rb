# frozen_string_literal: true

# The Ruby host: one interpreter handler, run by a plain worker.
$LOAD_PATH.unshift(File.expand_path("../../../workers/ruby/lib", __dir__))
require "json"
require "optparse"
require "yaml"
require "tasker_core"

# Not included: a library that is loaded later and opens a class of the same name would open the gem's.
%i[StepHandler Errors DomainEvents Registry Worker].each { |name| Object.const_set(name, TaskerCore.const_get(name)) }

RAISES = {
  "permanent" => Errors::PermanentError, "retryable" => Errors::RetryableError, "validation" => Errors::ValidationError,
  "timeout" => Errors::TimeoutError, "network" => Errors::NetworkError, "rate_limit" => Errors::RateLimitError,
  "not_found" => Errors::NotFoundError, "wrong_value" => ArgumentError, "wrong_type" => TypeError,
  "missing_key" => KeyError, "connection" => Errno::ECONNREFUSED, "os" => Errno::EIO,
  "unknown" => Class.new(StandardError) { def self.name = "UnheardOf" }
}.freeze

TROUBLE = YAML.safe_load(File.read(File.expand_path("../../classification.yaml", __dir__)))

HEARD = Hash.new { |all, key| all[key] = [] }
AFTER = Hash.new { |all, key| all[key] = [] }
NEWS = Mutex.new
ARRIVED = ConditionVariable.new

def remember(where, task, name, payload)
  NEWS.synchronize do
    where[[task, name]] << payload
    ARRIVED.broadcast
  end
end

# Payloads of a task's events of a name, once there are at least so many.
def heard(where, task, name, count)
  deadline = Time.now + 20
  NEWS.synchronize do
    ARRIVED.wait(NEWS, 1) while where[[task, name]].size < count && Time.now < deadline
    where[[task, name]].dup
  end
end

# Remembers what it hears.
class Listener < DomainEvents::BaseSubscriber
  subscribes_to "*"

  def handle(event) = remember(HEARD, event.metadata["task_uuid"], event.event_name, event.payload)
end

# Wraps the result; holds it back, stops or fails when it says so.
class Wrap < DomainEvents::BasePublisher
  def publisher_name = "conformance.wrap"
  def should_publish?(step_result, *) = step_result.result != "quiet"

  def transform_payload(step_result, _declaration, step_context)
    raise ArgumentError, "cannot wrap that" if step_result.result == "broken"

    { wrapped: step_result.result, step: step_context.step_name }
  end

  def additional_metadata(*) = { added: "by the publisher" }
  def before_publish(_name, payload, _metadata) = payload[:wrapped] != "stop"
  def after_publish(name, payload, metadata) = remember(AFTER, metadata["task_uuid"], name, payload)
end

def get(value, path)
  path.inject(value) do |found, key|
    case found
    when Hash then found[key]
    when Array then key.is_a?(Integer) ? found[key] : nil
    end
  end
end

# Runs the program of its step.
class Program < StepHandler::Base
  HANDLER_NAME = "conformance.program"

  %i[call validate process refund].each do |name|
    define_method(name) { |context| begin_with(context, name.to_s) }
  end

  private

  def begin_with(context, method)
    @context = context
    @method = method
    @variables = {}
    run(context.step_config["program"])
  end

  def run(statements)
    statements.each do |statement|
      case statement.keys.first
      when "set" then statement["set"].each { |name, expression| @variables[name] = value(expression) }
      when "if"
        done = run(statement[value(statement["if"]) ? "then" : "else"] || [])
        return done unless done.nil?
      when "for"
        (value(statement["from"])...value(statement["to"])).each do |i|
          @variables[statement["for"]] = i
          done = run(statement["do"])
          return done unless done.nil?
        end
      when "trouble" then return trouble(statement["trouble"])
      when "until_cancelled" then sleep(0.001) until @context.cancelled?
      else return finish(statement)
      end
    end
    nil
  end

  def finish(statement)
    if statement.key?("return") then success(result: value(statement["return"]), metadata: value(statement["metadata"]))
    elsif statement.key?("fail") then failure(**named(statement["fail"]))
    elsif statement.key?("checkpoint") then checkpoint_yield(**named(statement["checkpoint"]))
    else
      said = named(statement["raise"])
      kind = RAISES.fetch(said.delete(:kind))
      message = said.delete(:message)
      # The system's own errors put words of theirs before the message.
      raise(kind.allocate.tap { |e| e.define_singleton_method(:message) { message } }) if kind <= SystemCallError

      raise said.empty? ? kind.new(message) : kind.new(message, **said)
    end
  end

  # Raises the kind of trouble, or returns what makes it.
  def trouble(kind) = instance_eval(TROUBLE.find { |row| row["kind"] == kind }["ruby"], "trouble", 1)

  def named(expressions) = expressions.to_h { |key, expression| [key.to_sym, value(expression)] }

  def value(expression)
    return expression.map { |item| value(item) } if expression.is_a?(Array)
    return expression unless expression.is_a?(Hash)

    key = expression.keys.first.to_s
    return expression.transform_values { |item| value(item) } unless expression.size == 1 && key.start_with?("$")

    key == "$raw" ? expression[key] : operation(key, value(expression[key]))
  end

  def operation(name, given)
    case name
    when "$input" then @context.get_input(given)
    when "$dep" then get(@context.get_dependency_result(given[0]), given[1..])
    when "$deps" then @context.get_all_dependency_results(given)
    when "$config" then @context.get_config(given)
    when "$inputs" then get(@context.step_inputs, given)
    when "$checkpoint" then (@context.checkpoint || {})[given]
    when "$attempt" then @context.retry_count
    when "$step" then @context.step_name
    when "$method" then @method
    when "$var" then @variables.fetch(given)
    when "$event" then @context.task_sequence_step.to_h
    when "$file" then (sleep(0.002) until File.exist?(given)) || true
    when "$touch" then File.write(given, "").zero?
    when "$heard" then heard(HEARD, @context.task_uuid, *given)
    when "$after" then heard(AFTER, @context.task_uuid, *given)
    when "$add" then given[0] + given[1]
    when "$sub" then given[0] - given[1]
    when "$mul" then given[0] * given[1]
    when "$div" then given[0].fdiv(given[1])
    when "$mod" then given[0] % given[1]
    when "$eq" then given[0] == given[1]
    when "$lt" then given[0] < given[1]
    when "$ge" then given[0] >= given[1]
    when "$and" then given.all?
    when "$not" then !truthy(given)
    when "$len" then given.size
    when "$sum" then given.sum
    when "$round" then given[0].round(given[1])
    when "$keys" then given.keys.sort
    when "$get" then get(given[0], given[1..])
    when "$values" then given.keys.sort.map { |key| given[key] }
    else raise ArgumentError, "unknown operation #{name}"
    end
  end

  # Empty things and zero count as false, as in the other hosts.
  def truthy(given) = ![nil, false, 0, "", [], {}].include?(given)
end

# Makes the request of its step and gives what came of it.
class Service < StepHandler::Api
  HANDLER_NAME = "conformance.api"

  def base_url = config["base_url"]

  def call(_context)
    options = config.key?("body") ? { data: config["body"] } : {}
    response = public_send(config["method"].downcase, config["path"], **options)
    response.ok? ? api_success(response) : api_failure(response)
  end
end

# Which SDK members exist: `Module::Class#method`, `Module.method`, `Module::Constant`.
def member?(name)
  owner, sign, member = name.match(/\A([\w:]+?)(?:([#.])([\w?!]+))?\z/).captures
  found = TaskerCore.const_get(owner)
  case sign
  when nil then true
  when "#" then found.method_defined?(member) || found.private_method_defined?(member)
  else found.respond_to?(member)
  end
rescue NameError
  false
end

given = {}
OptionParser.new do |options|
  options.on("--url URL") { |url| given[:url] = url }
  options.on("--templates DIR") { |folder| given[:templates] = [folder] }
  options.on("--members") { given[:members] = true }
end.parse!
if given.delete(:members)
  puts JSON.generate($stdin.read.split("\n").to_h { |name| [name, member?(name)] })
  exit
end
registry = Registry::HandlerRegistry.new
registry.register(Program)
registry.register(Service)
DomainEvents::SubscriberRegistry.instance.register(Listener).start
DomainEvents::PublisherRegistry.instance.register(Wrap)
worker = Worker::Bootstrap.start!(**given, registry:, max_concurrent_handlers: 16)
warn "ready"
exit worker.run
