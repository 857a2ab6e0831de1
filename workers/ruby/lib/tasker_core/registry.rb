# frozen_string_literal: true

module TaskerCore
  # Which code answers to which name.
  module Registry
    autoload :BaseResolver, "tasker_core/registry/base_resolver"
    autoload :HandlerDefinition, "tasker_core/registry/handler_definition"
    autoload :HandlerRegistry, "tasker_core/registry/handler_registry"
    autoload :MethodDispatchWrapper, "tasker_core/registry/method_dispatch_wrapper"
    autoload :ResolverChain, "tasker_core/registry/resolver_chain"
    autoload :Resolvers, "tasker_core/registry/resolvers"
  end
end
