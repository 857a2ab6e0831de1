"""Adds up a CSV file of ``id,category,price,stock``, plain fields without quotes; a cursor is a row number.

The analyzer remembers where each part begins in the file, so that no worker reads the parts before its own.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

from tasker_core import Batchable, StepContext, StepHandlerResult
from tasker_core.errors import NotFoundError, ValidationError


class Analyze(Batchable):
    handler_name = "reports.analyze"

    def call(self, context: StepContext) -> StepHandlerResult:
        path, size = context.get_input("file"), context.get_input("batch_size")
        offsets, rows = [], 0
        try:
            with open(path, "rb") as file:
                offset = len(file.readline())
                for line in file:
                    if rows % size == 0:
                        offsets.append(offset)
                    offset += len(line)
                    rows += 1
        except FileNotFoundError:
            raise NotFoundError(f"there is no file {path}", error_code="FILE_NOT_FOUND") from None
        if rows == 0:
            return self.no_batches_outcome("the file has no rows")
        cursors = self.create_cursor_ranges(rows, size)
        for cursor, start in zip(cursors, offsets):
            cursor.metadata["offset"] = start
        return self.batch_analyzer_success(self.create_batch_outcome(rows, cursors))


class AddUp(Batchable):
    handler_name = "reports.add_up"

    def call(self, context: StepContext) -> StepHandlerResult:
        nothing = self.handle_no_op_worker(context)
        if nothing is not None:
            return nothing
        part = self.get_batch_context(context)
        stock, value, categories = 0, 0, Counter()
        with open(context.get_input("file"), "rb") as file:
            file.seek(part.cursor_config.metadata["offset"])
            rows = islice(file, part.end_cursor - part.start_cursor)
            for number, row in enumerate(rows, part.start_cursor + 1):
                category, price, count = product(number, row.decode())
                stock += count
                value += count * price
                categories[category] += 1
        count = part.end_cursor - part.start_cursor
        outcome = self.create_worker_outcome(count, last_cursor=part.end_cursor, results=[[stock, value, categories]])
        return self.batch_worker_success(outcome)


def product(number: int, row: str) -> tuple[str, int, int]:
    try:
        _, category, price, stock = row.split(",")
        return category, int(price), int(stock)
    except ValueError:
        raise ValidationError(f"row {number} is no product", error_code="BAD_ROW") from None


class Aggregate(Batchable):
    handler_name = "reports.aggregate"

    def call(self, context: StepContext) -> StepHandlerResult:
        scenario = self.detect_aggregation_scenario(context, "analyze", "add_up_")
        zero = {"total_processed": 0, "stock": 0, "value": 0, "categories": {}}
        return self.aggregate_batch_worker_results(scenario, zero, self.add)

    def add(self, results: dict[str, Any]) -> dict[str, Any]:
        sums = self.aggregate_worker_results(results)
        categories = Counter()
        for _, _, counted in sums.results:
            categories.update(counted)
        return {
            "total_processed": sums.total_processed,
            "stock": sum(stock for stock, _, _ in sums.results),
            "value": sum(value for _, value, _ in sums.results),
            "categories": categories,
        }
