"""Handlers of the data pipeline; sums of money are made in whole cents."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tasker_core.errors import ValidationError
from tasker_core.step_handler.functional import depends_on, step_handler


def cents(amount: float) -> int:
    return round(amount * 100)


@step_handler("pipeline.extract")
def extract(context: Any) -> dict[str, Any]:
    source = context.get_config("source")
    records = context.get_input(source)
    if not records:
        raise ValidationError(f"the source {source} has no records", error_code="EMPTY_SOURCE")
    return {"records": records, "count": len(records)}


@step_handler("pipeline.transform_sales")
@depends_on(extracted="extract_sales")
def transform_sales(extracted: dict[str, Any]) -> dict[str, Any]:
    revenue: Counter[str] = Counter()
    for sale in extracted["records"]:
        revenue[sale["product"]] += sale["quantity"] * cents(sale["price"])
    return {
        "revenue": sum(revenue.values()) / 100,
        "units": sum(sale["quantity"] for sale in extracted["records"]),
        "by_product": {product: amount / 100 for product, amount in revenue.items()},
    }


@step_handler("pipeline.transform_inventory")
@depends_on(extracted="extract_inventory")
def transform_inventory(extracted: dict[str, Any]) -> dict[str, Any]:
    records = extracted["records"]
    low = [item["product"] for item in records if item["stock"] <= item["reorder_at"]]
    return {"stock": sum(item["stock"] for item in records), "low": low}


@step_handler("pipeline.transform_customers")
@depends_on(extracted="extract_customers")
def transform_customers(extracted: dict[str, Any]) -> dict[str, Any]:
    countries = Counter(customer["country"] for customer in extracted["records"])
    return {"customers": extracted["count"], "by_country": countries}


@step_handler("pipeline.aggregate")
@depends_on(sales="transform_sales", inventory="transform_inventory", customers="transform_customers")
def aggregate(sales: dict[str, Any], inventory: dict[str, Any], customers: dict[str, Any]) -> dict[str, Any]:
    by_revenue = sorted(sales["by_product"].items(), key=lambda item: (-item[1], item[0]))
    return {
        "revenue": sales["revenue"],
        "revenue_per_customer": round(cents(sales["revenue"]) / customers["customers"]) / 100,
        "units": sales["units"],
        "best_seller": by_revenue[0][0],
        "reorder": [product for product in inventory["low"] if product in sales["by_product"]],
        "countries": len(customers["by_country"]),
    }


@step_handler("pipeline.load")
@depends_on(figures="aggregate")
def load(figures: dict[str, Any], context: Any) -> dict[str, Any]:
    # A warehouse that knows the key writes the row once, however often we try.
    key = f"ROW-{context.idempotency_key}"
    return {"table": context.get_config("table"), "key": key, "columns": sorted(figures)}


@step_handler("pipeline.insights")
@depends_on(figures="aggregate")
def insights(figures: dict[str, Any]) -> list[str]:
    found = [f"{figures['best_seller']} sells best", f"a customer spends {figures['revenue_per_customer']:.2f}"]
    return found + [f"{product} sells and runs low" for product in figures["reorder"]]
