# frozen_string_literal: true

# Builds the compiled half with cargo and leaves it beside the library, in a folder for this Ruby. Called by `gem install`
# and by `ruby extconf.rb`; the Makefile it writes has nothing left to do.
require "fileutils"
require "rbconfig"

cargo = ENV.fetch("CARGO", "cargo")
rust = system(cargo, "--version", out: File::NULL, err: File::NULL)
abort "tasker-engine is compiled when it is installed, which needs Rust: see https://rustup.rs" unless rust
here = __dir__
target = ENV["CARGO_TARGET_DIR"] || File.join(here, "target")
env = { "CARGO_TARGET_DIR" => target, "RUBY" => RbConfig.ruby }
command = [cargo, "build", "--lib", "--locked", "--release", "--manifest-path", File.join(here, "Cargo.toml")]
built = system(env, *command)
abort "cargo could not build the extension; it needs libclang (on Debian: libclang-dev) and a C compiler" unless built

made = RbConfig::CONFIG["host_os"] =~ /darwin/ ? "libtasker_core_native.dylib" : "libtasker_core_native.so"
minor = RUBY_VERSION[/\d+\.\d+/]
place = File.expand_path("../../lib/tasker_core/#{minor}/tasker_core_native.#{RbConfig::CONFIG["DLEXT"]}", here)
FileUtils.mkdir_p(File.dirname(place))
# Renamed into place: a process that has the old one mapped keeps it.
FileUtils.cp(File.join(target, "release", made), "#{place}.new")
File.rename("#{place}.new", place)
# What `gem install` runs after this file; in a checkout nobody does.
in_checkout = File.exist?(File.join(here, "../../../../Cargo.toml"))
File.write("Makefile", "all install clean:\n\t@true\n") unless in_checkout
# Gigabytes that nothing needs any more.
FileUtils.rm_rf(target) unless in_checkout || ENV["CARGO_TARGET_DIR"]
