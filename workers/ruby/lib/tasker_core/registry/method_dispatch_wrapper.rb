# frozen_string_literal: true

module TaskerCore
  module Registry
    # A handler whose `call` is another of its methods.
    class MethodDispatchWrapper
      # @return the handler itself
      attr_reader :handler
      # @return [Symbol] the method that stands for `call`
      attr_reader :target_method

      # @raise [Errors::ResolutionError] the handler has no such method
      def initialize(handler, target_method)
        @handler = handler
        @target_method = target_method.to_sym
        missing! unless handler.respond_to?(@target_method)
      end

      alias method_name target_method
      alias unwrap handler

      # Runs the method.
      def call(...) = @handler.public_send(@target_method, ...)

      def handler_class = @handler.class

      # Whether the handler is of a class.
      def wraps?(klass) = @handler.is_a?(klass)

      # The rest is the handler's.
      def respond_to_missing?(name, private = false) = @handler.respond_to?(name, private)

      def method_missing(name, ...) = @handler.respond_to?(name) ? @handler.public_send(name, ...) : super

      # What is wrong, and which methods the handler has.
      def self.missing(handler, method_name)
        owner = handler.is_a?(Module) ? handler : handler.class
        own = owner.public_instance_methods - StepHandler::Base.public_instance_methods - Object.instance_methods
        "handler #{owner.name} has no method `#{method_name}`; it has #{(own | [:call]).sort.join(", ")}"
      end

      private

      def missing! = raise(Errors::ResolutionError, self.class.missing(@handler, @target_method))
    end
  end
end
