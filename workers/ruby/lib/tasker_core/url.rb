# frozen_string_literal: true

module TaskerCore
  # Where work comes from unless it is said.
  module Url
    module_function

    # @return [String] `TASKER_URL`, or a file in the current folder
    def default
      url = ENV.fetch("TASKER_URL", "")
      url.empty? ? "sqlite://.tasker/tasker.db" : url
    end
  end
end
