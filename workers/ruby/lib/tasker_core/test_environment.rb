# frozen_string_literal: true

module TaskerCore
  # What differs under `TASKER_ENV=test`.
  module TestEnvironment
    module_function

    def test? = ENV["TASKER_ENV"] == "test"

    # Loads the testing harness in the test environment; whether it did.
    def load_if_test!
      return false unless test?

      require "tasker_core/testing"
      true
    end

    # Whether the testing harness is loaded.
    def loaded? = !TaskerCore.autoload?(:Testing) && TaskerCore.const_defined?(:Testing)

    # @return [Array<String>] names of the handlers that are registered
    def handler_names = Registry::HandlerRegistry.instance.registered_handlers

    # @return [Array<String>] classes of the subscribers that are registered
    def subscriber_names = DomainEvents::SubscriberRegistry.instance.subscribers.map { |s| s.class.name }

    def subscriber_count = DomainEvents::SubscriberRegistry.instance.count

    # @return [Hash] what there is
    def info
      { environment: ENV.fetch("TASKER_ENV", nil), test: test?, loaded: loaded?, handler_names:, subscriber_names: }
    end
  end
end
