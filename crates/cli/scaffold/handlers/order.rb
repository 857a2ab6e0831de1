# frozen_string_literal: true

# Handlers of the order workflow. Their names are what workflows/order.yaml calls `callable`.
require "tasker_core"

module Shop
  STOCK = { "TEA-1" => 100, "POT-7" => 12 }.freeze

  class CheckOrder < TaskerCore::StepHandler::Base
    HANDLER_NAME = "shop.check_order"

    def call(context)
      items = context.get_input("items")
      total = items.sum { |item| item["quantity"] * item["price"] }.round(2)
      success(result: { total:, items: items.size })
    end
  end

  class ReserveGoods < TaskerCore::StepHandler::Base
    HANDLER_NAME = "shop.reserve_goods"

    def call(context)
      missing = context.get_input("items").find { |item| STOCK.fetch(item["sku"], 0) < item["quantity"] }
      # No other attempt can help: the task stops here until someone acts (`tasker retry`, `tasker give-up`).
      if missing
        raise TaskerCore::Errors::PermanentError.new("#{missing["sku"]} is out of stock", error_code: "OUT_OF_STOCK")
      end

      success(result: { reservation: "RES-#{context.idempotency_key}" })
    end
  end

  class ChargeCustomer < TaskerCore::StepHandler::Base
    HANDLER_NAME = "shop.charge_customer"

    def call(context)
      # A customer named "flaky" shows a retry: the first attempt fails, the next one succeeds.
      if context.get_input("customer") == "flaky" && context.retry_count.zero?
        raise TaskerCore::Errors::RetryableError, "the bank did not answer"
      end

      # The same for every attempt of this step: the bank sees one payment, however often it is tried.
      success(result: { payment: "PAY-#{context.idempotency_key}", currency: context.get_config("currency"),
                        amount: context.get_dependency_field("check_order", "total") })
    end
  end

  # A handler may also be a block; its keywords are results of other steps and fields of the input.
  extend TaskerCore::StepHandler::Functional

  step_handler "shop.send_receipt", depends_on: { payment: "charge_customer", goods: "reserve_goods" },
                                    inputs: [:customer] do |_context, payment:, goods:, customer:|
    text = format("%<amount>.2f %<currency>s", amount: payment["amount"], currency: payment["currency"])
    { to: customer, text: "#{text} for #{goods["reservation"]}" }
  end
end
