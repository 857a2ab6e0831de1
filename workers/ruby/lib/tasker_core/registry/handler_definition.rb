# frozen_string_literal: true

module TaskerCore
  module Registry
    # Which code a template asks for.
    HandlerDefinition = Struct.new(:callable, :method, :resolver, :initialization, keyword_init: true)
  end
end
