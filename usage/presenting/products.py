"""The products with figures, and one product's month in each operation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db.models import Max

from usage.models import Operation, OperationQuerySet, Product

from .comparing import Comparison
from .figures import ORDER, OfApi, ProductMonth, month_before, product_months
from .queries import counted, feeds_of, usages_of, with_licences


@dataclass(frozen=True)
class ProductTotal:
    """A product's month over operations; `most` is where it counts most."""

    product: Product
    items: Decimal
    operations: int
    most: Operation
    most_items: Decimal


@dataclass(frozen=True)
class ApiTotals:
    api: str
    totals: Sequence[ProductTotal]


def api_totals(operations: OperationQuerySet, month: date) -> list[ApiTotals]:
    """The products with figures in a month, by API: one query. Sums are exact."""
    by_product = defaultdict(list)
    usages = usages_of([month], operations).filter(counted()).defer("items_by_day", "to_date_by_day")
    for usage in usages.select_related("product", "operation").defer("operation__token_encrypted"):
        by_product[usage.product_id].append(usage)
    by_api = defaultdict(list)
    for rows in by_product.values():
        most = max(rows, key=lambda row: row.items)
        items = sum((row.items for row in rows), Decimal(0))
        its = most.its_product
        by_api[its.api].append(ProductTotal(its, items, len(rows), most.operation, most.items))
    return [
        ApiTotals(api, sorted(by_api[api], key=lambda total: (total.product.name, total.product.pk)))
        for api in sorted(by_api, key=ORDER.__getitem__)
    ]


def product_page(
    product: Product, operations: OperationQuerySet, month: date, now: datetime, comparison: Comparison | None = None
) -> list[ProductMonth]:
    """One product's month in each operation, the largest first, in all or per licence: four queries."""
    comparison = comparison or Comparison(month, month_before(month))
    found = {operation.pk: operation for operation in operations.defer("token_encrypted")}
    usages = with_licences(usages_of((month, comparison.against), operations), product.pk).select_related("product")
    of_feeds = [feed for feed in feeds_of(operations) if feed.api == product.api]
    rows = product_months(
        usages, month, found, of_feeds, now, comparison=comparison, told_last=told_last(product.api, operations, month)
    )
    mine = [row for row in rows if row.product.pk == product.pk]

    def most(row: ProductMonth) -> Decimal:
        return (row.per_licence or Decimal(0)) if comparison.per_licence else row.usage.items

    return sorted(mine, key=lambda row: (-most(row), row.operation.name))


def told_last(api: str, operations: OperationQuerySet, month: date) -> dict[OfApi, datetime]:
    """When any product of an API was last named in a month, by operation."""
    named = usages_of([month], operations).filter(product__api=api).values_list("operation").annotate(Max("as_of"))
    return {(operation, api): at for operation, at in named}
