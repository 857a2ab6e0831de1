# frozen_string_literal: true

module TaskerCore
  module Registry
    # What turns names into handlers.
    module Resolvers
      autoload :BaseResolver, "tasker_core/registry/base_resolver"
      autoload :ClassConstantResolver, "tasker_core/registry/resolvers/class_lookup"
      autoload :ExplicitMappingResolver, "tasker_core/registry/resolvers/explicit_mapping"
      autoload :MethodDispatchWrapper, "tasker_core/compat/method_dispatch_wrapper"
      autoload :RegistryResolver, "tasker_core/registry/registry_resolver"
    end
  end
end
