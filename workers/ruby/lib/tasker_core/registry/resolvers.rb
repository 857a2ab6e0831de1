# frozen_string_literal: true

module TaskerCore
  module Registry
    # What turns names into handlers.
    module Resolvers
      autoload :ClassConstantResolver, "tasker_core/registry/resolvers/class_lookup"
      autoload :ExplicitMappingResolver, "tasker_core/registry/resolvers/explicit_mapping"
      autoload :RegistryResolver, "tasker_core/registry/registry_resolver"
    end
  end
end
