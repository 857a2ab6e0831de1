# frozen_string_literal: true

require "tasker_core"

# Handlers of the order workflow: one class a step, plain Ruby inside.
module Orders
  Errors = TaskerCore::Errors

  STOCK = { "TEA-1" => 100, "POT-7" => 12 }.freeze

  class ValidateOrder < TaskerCore::StepHandler::Base
    HANDLER_NAME = "orders.validate_order"

    def call(context)
      items = context.get_input("items") || []
      raise Errors::ValidationError.new("the order has no items", error_code: "EMPTY_ORDER") if items.empty?

      total = items.sum { |item| item["quantity"] * cents(item["price"]) }
      success(result: { order_total: total / 100.0, item_count: items.size, customer: context.get_input("customer") })
    end

    private

    def cents(price) = (price * 100).round(half: :even)
  end

  class ReserveInventory < TaskerCore::StepHandler::Base
    HANDLER_NAME = "orders.reserve_inventory"

    def call(context)
      reserved = context.get_input("items").map do |item|
        if STOCK.fetch(item["sku"], 0) < item["quantity"]
          raise Errors::PermanentError.new("#{item["sku"]} is out of stock", error_code: "OUT_OF_STOCK")
        end

        item.slice("sku", "quantity")
      end
      # The same for every attempt of this step: the warehouse sees one reservation, however often we try.
      success(result: { reservation: "RES-#{context.idempotency_key}", items: reserved })
    end
  end

  class ProcessPayment < TaskerCore::StepHandler::Base
    HANDLER_NAME = "orders.process_payment"

    def call(context)
      payment = { payment: "PAY-#{context.idempotency_key}",
                  amount: context.get_dependency_field("validate_order", "order_total"),
                  currency: context.get_config("currency") }
      success(result: payment, metadata: { provider: "example-pay" })
    end
  end

  class ShipOrder < TaskerCore::StepHandler::Base
    HANDLER_NAME = "orders.ship_order"

    def call(context)
      order = context.get_dependency_result("validate_order")
      payment = context.get_dependency_result("process_payment")
      reservation = context.get_dependency_result("reserve_inventory")
      success(result: { tracking: "TRK-#{context.idempotency_key}", to: order["customer"],
                        parcels: reservation["items"].size, paid: payment["amount"] })
    end
  end
end
