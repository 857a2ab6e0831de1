# frozen_string_literal: true

module TaskerCore
  module Registry
    module Resolvers
      # As the wrapper of the registry; a method that is not there is an ArgumentError.
      class MethodDispatchWrapper < Registry::MethodDispatchWrapper
        # For the chain, where it is an error of resolution.
        def self.of(handler, method_name)
          new(handler, method_name)
        rescue ArgumentError => e
          raise Errors::ResolutionError, e.message
        end

        private

        def missing! = raise(ArgumentError, self.class.missing(@handler, @target_method))
      end
    end
  end
end
