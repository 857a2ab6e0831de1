"""Handlers of the order workflow: one class a step, plain Python inside."""

from __future__ import annotations

from tasker_core import StepContext, StepHandler, StepHandlerResult
from tasker_core.errors import PermanentError, ValidationError

STOCK = {"TEA-1": 100, "POT-7": 12}


def cents(price: float) -> int:
    return round(price * 100)


class ValidateOrder(StepHandler):
    handler_name = "orders.validate_order"

    def call(self, context: StepContext) -> StepHandlerResult:
        items = context.get_input("items") or []
        if not items:
            raise ValidationError("the order has no items", error_code="EMPTY_ORDER")
        total = sum(item["quantity"] * cents(item["price"]) for item in items) / 100
        return self.success(
            {
                "order_total": total,
                "item_count": len(items),
                "customer": context.get_input("customer"),
            }
        )


class ReserveInventory(StepHandler):
    handler_name = "orders.reserve_inventory"

    def call(self, context: StepContext) -> StepHandlerResult:
        reserved = []
        for item in context.get_input("items"):
            if STOCK.get(item["sku"], 0) < item["quantity"]:
                raise PermanentError(f"{item['sku']} is out of stock", error_code="OUT_OF_STOCK")
            reserved.append({"sku": item["sku"], "quantity": item["quantity"]})
        # The same for every attempt of this step: the warehouse sees one reservation, however often we try.
        return self.success({"reservation": f"RES-{context.idempotency_key}", "items": reserved})


class ProcessPayment(StepHandler):
    handler_name = "orders.process_payment"

    def call(self, context: StepContext) -> StepHandlerResult:
        total = context.get_dependency_field("validate_order", "order_total")
        return self.success(
            {
                "payment": f"PAY-{context.idempotency_key}",
                "amount": total,
                "currency": context.get_config("currency"),
            },
            metadata={"provider": "example-pay"},
        )


class ShipOrder(StepHandler):
    handler_name = "orders.ship_order"

    def call(self, context: StepContext) -> StepHandlerResult:
        order = context.get_dependency_result("validate_order")
        payment = context.get_dependency_result("process_payment")
        reservation = context.get_dependency_result("reserve_inventory")
        return self.success(
            {
                "tracking": f"TRK-{context.idempotency_key}",
                "to": order["customer"],
                "parcels": len(reservation["items"]),
                "paid": payment["amount"],
            }
        )
