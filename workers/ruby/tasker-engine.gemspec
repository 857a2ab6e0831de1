# frozen_string_literal: true

require_relative "lib/tasker_core/version"

# Built by `scripts/package gem` (for this platform, compiled) and `scripts/package source-gem` (compiled at installation),
# from a folder that holds what the gem holds.
Gem::Specification.new do |spec|
  compiled = Dir["lib/tasker_core/*/tasker_core_native.#{RbConfig::CONFIG["DLEXT"]}", base: __dir__]
  platform = ENV["TASKER_GEM"] == "platform"
  abort "there is no compiled extension in lib: run `ruby ext/tasker_core/extconf.rb` first" if platform && compiled.empty?

  # Authors and addresses are those of the Cargo workspace, in whose folder this one lies, or which was copied into this one.
  manifest = File.read(%w[. ../..].map { |up| File.expand_path("#{up}/Cargo.toml", __dir__) }.find { |f| File.exist?(f) })
  said = ->(key) { manifest[/^#{key} = \[?"([^"]*)"/, 1] }
  author, email = said["authors"].match(/\A(.*) <(.*)>\z/).captures

  spec.name = "tasker-engine"
  spec.version = TaskerCore::VERSION
  spec.authors = [author]
  spec.email = [email]
  spec.homepage = said["homepage"]
  spec.summary = "Durable workflows: the tasker command, and handlers, workers and clients in Ruby"
  spec.description = "Tasker runs workflows that survive crashes: YAML templates, steps as plain Ruby, every result stored."
  spec.license = "MIT"
  spec.metadata = { "rubygems_mfa_required" => "true", "source_code_uri" => said["repository"] }
  spec.bindir = "exe"
  spec.executables = %w[tasker tasker-ruby]
  # Handlers rely on its extensions of Ruby's own classes; 6.1 is what Debian 12 has.
  spec.add_dependency "activesupport", ">= 6.1", "< 9"
  # Handlers of HTTP services use it; 1.1 is what Debian 12 has.
  spec.add_dependency "faraday", ">= 1.1", "< 3"

  spec.files = Dir["lib/**/*.rb", "exe/*", "LICENSE", "README.md", base: __dir__]
  if platform
    spec.platform = Gem::Platform.local
    spec.files += compiled
    minors = compiled.map { |file| Gem::Version.new("#{file.split("/")[-2]}.0") }.sort
    rubies = [">= #{minors.first}", "< #{minors.last.bump}.dev"]
  else
    spec.extensions = ["ext/tasker_core/extconf.rb"]
    sources = Dir["ext/**/*.{rb,rs,toml}", "crates/**/*", "Cargo.{toml,lock}", base: __dir__]
    spec.files += sources.select { |file| File.file?(File.join(__dir__, file)) }
    rubies = ">= 3.1"
  end
  spec.required_ruby_version = rubies
end
