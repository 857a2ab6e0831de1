# frozen_string_literal: true

require "json"
require "timeout"
require_relative "tasker_core/version"
require_relative "tasker_core/compat/core_ext"

# Tasker for Ruby: handlers, workers and clients of a durable workflow engine.
#
# Requiring this file does little; each name is loaded when it is first used.
module TaskerCore
  autoload :BatchProcessing, "tasker_core/batch_processing"
  autoload :Client, "tasker_core/client"
  autoload :ClientError, "tasker_core/client"
  autoload :Current, "tasker_core/current"
  autoload :DomainEvents, "tasker_core/domain_events"
  autoload :Errors, "tasker_core/errors"
  autoload :FFI, "tasker_core/ffi"
  autoload :Handlers, "tasker_core/compat/handlers"
  autoload :HandlerDiscovery, "tasker_core/handler_discovery"
  autoload :Logger, "tasker_core/logger"
  autoload :Models, "tasker_core/models"
  autoload :Native, "tasker_core/native"
  autoload :Observability, "tasker_core/observability"
  autoload :Registry, "tasker_core/registry"
  autoload :Serialization, "tasker_core/serialization"
  autoload :StepHandler, "tasker_core/step_handler"
  autoload :Subscriber, "tasker_core/compat/subscriber"
  autoload :TaskHandler, "tasker_core/compat/task_handler"
  autoload :TemplateDiscovery, "tasker_core/template_discovery"
  autoload :TestEnvironment, "tasker_core/test_environment"
  autoload :Testing, "tasker_core/testing"
  autoload :Tracing, "tasker_core/tracing"
  autoload :Types, "tasker_core/types"
  autoload :Url, "tasker_core/url"
  autoload :Worker, "tasker_core/worker"

  # @return [Hash] the versions of the library and of its compiled half
  def self.version_info
    { version: VERSION, native: FFI.get_version, rust: FFI.get_rust_version, ruby: RUBY_VERSION }
  end
end

# Files that programs require by the paths they had in the published library.
$LOAD_PATH << File.expand_path("tasker_core/compat/paths", __dir__)

# Handlers name its errors without having asked for it.
Object.autoload(:Faraday, "faraday") unless Object.const_defined?(:Faraday)
