# frozen_string_literal: true

require "tasker_core"

# Handlers of the checkout workflow as blocks: keywords name what they need.
module Checkout
  extend TaskerCore::StepHandler::Functional
  Errors = TaskerCore::Errors

  def self.cents(amount) = (amount * 100).round(half: :even)

  step_handler "validate_cart", inputs: %i[cart tax_rate shipping] do |_context, cart:, tax_rate:, shipping:|
    raise Errors::PermanentError.new("the cart is empty", error_code: "EMPTY_CART") if cart.nil? || cart.empty?

    subtotal = cart.sum { |line| line["quantity"] * cents(line["price"]) }
    tax = (subtotal * tax_rate).round(half: :even)
    { subtotal: subtotal / 100.0, tax: tax / 100.0, shipping: cents(shipping) / 100.0,
      total: (subtotal + tax + cents(shipping)) / 100.0, lines: cart.size }
  end

  step_handler "process_payment", depends_on: { cart: "validate_cart" }, inputs: [:card] do |context, cart:, card:|
    raise Errors::PermanentError.new("the card was declined", error_code: "CARD_DECLINED") if card == "declined"

    { payment: "PAY-#{context.idempotency_key}", charged: cart["total"] }
  end

  step_handler "update_inventory", inputs: [:cart] do |_context, cart:|
    { taken: cart.to_h { |line| line.values_at("sku", "quantity") } }
  end

  step_handler "create_order", depends_on: { cart: "validate_cart", payment: "process_payment" },
                               inputs: [:email] do |context, cart:, payment:, email:|
    { order: "ORD-#{context.idempotency_key}", total: cart["total"], payment: payment["payment"], email: }
  end

  step_handler "send_confirmation", depends_on: { order: "create_order" } do |_context, order:|
    { sent_to: order["email"],
      subject: format("%<order>s: thank you, %<total>.2f paid", order: order["order"], total: order["total"]) }
  end
end
