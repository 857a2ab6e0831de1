# frozen_string_literal: true

# Before anything can raise: a `require` must not be the place where an interrupt strikes.
require "json"
require "tasker_core/errors"

module TaskerCore
  # The compiled half; converts and forwards, decides nothing.
  module Native
  end
end

# A gem for a platform holds one for each Ruby it supports; one that was compiled at its installation, the one for this Ruby.
require "tasker_core/#{RUBY_VERSION[/\d+\.\d+/]}/tasker_core_native"
