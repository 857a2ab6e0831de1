"""Handlers of the checkout workflow as plain functions: parameters name what they need."""

from __future__ import annotations

from typing import Any

from tasker_core.errors import PermanentError
from tasker_core.step_handler.functional import depends_on, inputs, step_handler


def cents(amount: float) -> int:
    return round(amount * 100)


@step_handler("validate_cart")
@inputs("cart", "tax_rate", "shipping")
def validate_cart(cart: list[dict[str, Any]], tax_rate: float, shipping: float) -> dict[str, Any]:
    if not cart:
        raise PermanentError("the cart is empty", error_code="EMPTY_CART")
    subtotal = sum(line["quantity"] * cents(line["price"]) for line in cart)
    tax = round(subtotal * tax_rate)
    return {
        "subtotal": subtotal / 100,
        "tax": tax / 100,
        "shipping": cents(shipping) / 100,
        "total": (subtotal + tax + cents(shipping)) / 100,
        "lines": len(cart),
    }


@step_handler("process_payment")
@depends_on(cart="validate_cart")
@inputs("card")
def process_payment(cart: dict[str, Any], card: str | None, context: Any) -> dict[str, Any]:
    if card == "declined":
        raise PermanentError("the card was declined", error_code="CARD_DECLINED")
    return {"payment": f"PAY-{context.idempotency_key}", "charged": cart["total"]}


@step_handler("update_inventory")
@inputs("cart")
def update_inventory(cart: list[dict[str, Any]]) -> dict[str, Any]:
    return {"taken": {line["sku"]: line["quantity"] for line in cart}}


@step_handler("create_order")
@depends_on(cart="validate_cart", payment="process_payment")
@inputs("email")
def create_order(cart: dict[str, Any], payment: dict[str, Any], email: str, context: Any) -> dict[str, Any]:
    return {
        "order": f"ORD-{context.idempotency_key}",
        "total": cart["total"],
        "payment": payment["payment"],
        "email": email,
    }


@step_handler("send_confirmation")
@depends_on(order="create_order")
def send_confirmation(order: dict[str, Any]) -> dict[str, Any]:
    return {
        "sent_to": order["email"],
        "subject": f"{order['order']}: thank you, {order['total']:.2f} paid",
    }
