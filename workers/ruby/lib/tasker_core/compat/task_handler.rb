# frozen_string_literal: true

module TaskerCore
  # Creates tasks of one template.
  module TaskHandler
    # @example
    #   class Orders < TaskerCore::TaskHandler::Base
    #     TEMPLATE = "order"
    #     NAMESPACE = "shop"
    #   end
    #   Orders.new.create({ items: [] })
    class Base
      # @param client [Client, nil] one of the default URL when absent
      def initialize(client: nil)
        @client = client || Client.new
      end

      # Creates a task; options are those of `Client#create_task`.
      def create(context = {}, **options)
        @client.create_task(name: self.class::TEMPLATE, namespace: self.class::NAMESPACE, context:, **options)
      end
    end
  end
end
