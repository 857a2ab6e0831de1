# frozen_string_literal: true

module TaskerCore
  module Registry
    # A handler whose `call` is another of its methods.
    class MethodDispatchWrapper
      attr_reader :handler, :method_name

      def initialize(handler, method_name)
        @handler = handler
        @method_name = method_name.to_sym
        raise Errors::ResolutionError, self.class.missing(handler, method_name) unless handler.respond_to?(@method_name)
      end

      def call(*arguments) = @handler.public_send(@method_name, *arguments)

      # What is wrong, and which methods the handler has.
      def self.missing(handler, method_name)
        owner = handler.is_a?(Module) ? handler : handler.class
        own = owner.public_instance_methods - StepHandler::Base.public_instance_methods - Object.instance_methods
        "handler #{owner.name} has no method `#{method_name}`; it has #{(own | [:call]).sort.join(", ")}"
      end
    end
  end
end
