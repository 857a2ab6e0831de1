"""Handlers of the order workflow. Their names are what workflows/order.yaml calls `callable`."""

from tasker_core import StepContext, StepHandler, StepHandlerResult
from tasker_core.errors import PermanentError, RetryableError
from tasker_core.step_handler.functional import depends_on, inputs, step_handler

STOCK = {"TEA-1": 100, "POT-7": 12}


class CheckOrder(StepHandler):
    handler_name = "shop.check_order"

    def call(self, context: StepContext) -> StepHandlerResult:
        items = context.get_input("items")
        total = round(sum(item["quantity"] * item["price"] for item in items), 2)
        return self.success({"total": total, "items": len(items)})


class ReserveGoods(StepHandler):
    handler_name = "shop.reserve_goods"

    def call(self, context: StepContext) -> StepHandlerResult:
        for item in context.get_input("items"):
            if STOCK.get(item["sku"], 0) < item["quantity"]:
                # No other attempt can help: the task stops here until someone acts (`tasker retry`, `tasker give-up`).
                raise PermanentError(f"{item['sku']} is out of stock", error_code="OUT_OF_STOCK")
        return self.success({"reservation": f"RES-{context.idempotency_key}"})


class ChargeCustomer(StepHandler):
    handler_name = "shop.charge_customer"

    def call(self, context: StepContext) -> StepHandlerResult:
        # A customer named "flaky" shows a retry: the first attempt fails, the next one succeeds.
        if context.get_input("customer") == "flaky" and context.retry_count == 0:
            raise RetryableError("the bank did not answer")
        amount = context.get_dependency_field("check_order", "total")
        # The same for every attempt of this step: the bank sees one payment, however often it is tried.
        payment = f"PAY-{context.idempotency_key}"
        return self.success({"payment": payment, "amount": amount, "currency": context.get_config("currency")})


# A handler may also be a function; its parameters are results of other steps and fields of the input.
@step_handler("shop.send_receipt")
@depends_on(payment="charge_customer", goods="reserve_goods")
@inputs("customer")
def send_receipt(payment, goods, customer):
    text = f"{payment['amount']:.2f} {payment['currency']} for {goods['reservation']}"
    return {"to": customer, "text": text}
