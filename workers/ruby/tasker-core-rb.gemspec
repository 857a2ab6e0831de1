# frozen_string_literal: true

require_relative "lib/tasker_core/version"

Gem::Specification.new do |spec|
  spec.name = "tasker-core-rb"
  spec.version = TaskerCore::VERSION
  spec.authors = ["Tasker"]
  spec.email = ["tasker@example.invalid"]
  spec.homepage = "https://example.invalid/tasker"
  spec.summary = "Ruby handlers, workers and clients of Tasker, a durable workflow engine"
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"
  spec.files = Dir["lib/**/*.rb", "exe/*"]
  spec.bindir = "exe"
  spec.executables = ["tasker-ruby"]
  # The gem carries what extconf.rb built, for this platform: its sources belong to a Cargo workspace, outside of which
  # they do not build.
  compiled = "lib/tasker_core/tasker_core_native.#{RbConfig::CONFIG["DLEXT"]}"
  abort "build the extension first: ruby ext/tasker_core/extconf.rb" unless File.exist?(compiled)
  spec.files << compiled
  spec.platform = Gem::Platform.local
  spec.metadata = { "rubygems_mfa_required" => "true" }
end
