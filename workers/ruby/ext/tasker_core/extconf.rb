# frozen_string_literal: true

# Builds the compiled half with cargo, without network, and leaves it beside the library. Called by `gem install` and
# by `ruby extconf.rb`; the Makefile it writes has nothing left to do.
require "fileutils"
require "rbconfig"

here = __dir__
target = ENV["CARGO_TARGET_DIR"] || File.join(here, "target")
profile = ENV.fetch("TASKER_PROFILE", "release")
libclang = Dir["/usr/lib/llvm-*/lib"].max_by { |path| path[/\d+/].to_i }
env = { "CARGO_TARGET_DIR" => target, "RUBY" => RbConfig.ruby }
env["LIBCLANG_PATH"] = libclang if libclang && !ENV["LIBCLANG_PATH"]
command = ["cargo", "rustc", "--quiet", "--lib", "--manifest-path", File.join(here, "Cargo.toml")]
command << "--locked" if File.exist?(File.join(here, "../../../../Cargo.lock"))
command << "--release" if profile == "release"
command.push("--", "-C", "strip=symbols")
abort "cargo could not build the extension" unless system(env, *command)

built = File.join(target, profile == "release" ? "release" : "debug", "libtasker_core_native.so")
place = File.expand_path("../../lib/tasker_core/tasker_core_native.#{RbConfig::CONFIG["DLEXT"]}", here)
# Renamed into place: a process that has the old one mapped keeps it.
FileUtils.cp(built, "#{place}.new")
File.rename("#{place}.new", place)
# What `gem install` runs after this file; in a checkout nobody does.
File.write("Makefile", "all install clean:\n\t@true\n") unless __dir__ == Dir.pwd && File.exist?("../../../../Cargo.toml")
