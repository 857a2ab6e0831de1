# frozen_string_literal: true

require "spec_helper"
require "open3"
require "rubygems"

RSpec.describe "the gem" do
  root = File.expand_path("..", __dir__)

  # Outside of this checkout, and of whatever the environment adds to Ruby's paths.
  def said(*command, **env)
    clean = { "RUBYLIB" => nil, "RUBYOPT" => nil, **env.transform_keys(&:to_s) }
    out, status = Open3.capture2e(clean, *command, chdir: @folder)
    raise "#{command.join(" ")}: #{out}" unless status.success?

    out
  end

  around do |example|
    Dir.mktmpdir { |folder| (@folder = folder) && example.run }
  end

  it "is built, installed and used outside of the source tree, with the command" do
    said("#{root}/../../scripts/package", "gem", TASKER_DIST: @folder)
    gem = Dir[File.join(@folder, "tasker-engine-*.gem")].fetch(0)
    home = File.join(@folder, "gems")
    said("gem", "install", "--local", "--ignore-dependencies", "--no-document", "-i", home, gem)
    program = <<~RUBY
      require "tasker_core"
      require "tasker_core/testing"
      handler = Class.new(TaskerCore::StepHandler::Base) { def call(_context) = 42 }
      TaskerCore::Testing::Harness.open("name: t\\nsteps: [{name: s, handler: h}]", handlers: { "h" => handler }) do |h|
        puts h.run("t", {}).assert_complete.result("s")
      end
      puts $LOADED_FEATURES.grep(/tasker_core_native/)
    RUBY
    out = said("ruby", "-e", program, GEM_HOME: home)
    expect(out.lines.first).to eq "42\n"
    expect(out.lines.last).to start_with home
    expect(said(File.join(home, "bin", "tasker-ruby"), "version", GEM_HOME: home)).to eq "#{TaskerCore::VERSION}\n"
    # The gem is all there is: no interpreter is named, none of the checkout is on the path.
    tasker = File.join(home, "bin", "tasker")
    env = { GEM_HOME: home, TASKER_RUBY: nil, TASKER_URL: nil }
    expect(said(tasker, "--version", **env)).to eq "tasker #{TaskerCore::VERSION}\n"
    said(tasker, "new", "shop", "--lang", "ruby", **env)
    expect(said(tasker, "run", "order", "-i", "customer=Ada", "--dir", "shop", **env)).to include "complete  order"
  end
end
