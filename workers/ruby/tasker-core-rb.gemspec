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
  spec.files = Dir["lib/**/*.rb", "ext/**/*.{rs,rb,toml}", "exe/*"]
  spec.bindir = "exe"
  spec.executables = ["tasker-ruby"]
  spec.extensions = ["ext/tasker_core/extconf.rb"]
  spec.metadata = { "rubygems_mfa_required" => "true" }
end
