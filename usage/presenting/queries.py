"""What the pages read, as rows that templates show as they are.

Every query goes through a queryset of operations that its reader may see.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db.models import F, Q, QuerySet

from usage.models import Correction, DailyUsage, Feed, MonthlyUsage, Operation, OperationQuerySet, Product

from . import feeds
from .feeds import Health
from .figures import ORDER, ProductMonth, has_ended, length_of, month_before, product_months

# What there is


def months_of(operations: OperationQuerySet, product: Product | None = None) -> list[date]:
    """The months with figures."""
    rows = MonthlyUsage.objects.filter(operation__in=operations)
    if product:
        rows = rows.filter(product=product)
    return list(rows.order_by("month").values_list("month", flat=True).distinct())


def operation_with_months(operations: OperationQuerySet, slug: str) -> tuple[Operation, list[date]] | None:
    """One operation and the months that it has figures of, in one query."""
    rows = operations.filter(slug=slug).defer("token_encrypted").annotate(known=F("months__month"))
    found = list(rows.order_by("known").distinct())
    return (found[0], [row.known for row in found if row.known]) if found else None  # type: ignore[attr-defined]


def usages_of(months: Iterable[date], operations: OperationQuerySet) -> QuerySet[MonthlyUsage]:
    return MonthlyUsage.objects.filter(operation__in=operations, month__in=months).order_by()


def feeds_of(operations: OperationQuerySet) -> list[Feed]:
    """Those that are polled or were."""
    heard = Q(is_enabled=True) | Q(last_good_poll_at__isnull=False)
    return list(Feed.objects.filter(heard, operation__in=operations).order_by("operation", "interval", "id"))


# Overview


@dataclass(frozen=True)
class OperationMonth:
    """An operation on the overview, over its usage products, or its gauges where it uses none."""

    operation: Operation
    rows: Sequence[ProductMonth]
    health: Health
    has_ended: bool

    @property
    def is_trouble(self) -> bool:
        """Trouble of now says nothing about a month that is over."""
        return not self.has_ended and self.health.is_trouble

    @property
    def heard(self) -> datetime | None:
        """The last good poll: of the feed read most often, or behind the figures of a month that is over."""
        if self.has_ended:
            return max((row.heard for row in self.rows), default=None)
        heard = [(row.feed.interval, row.feed.last_good_poll_at) for row in self.rows if row.feed]
        return min(heard)[1] if heard else self.health.heard


@dataclass(frozen=True)
class Overview:
    operations: Sequence[OperationMonth]

    @property
    def troubled(self) -> list[OperationMonth]:
        return sorted((row for row in self.operations if row.is_trouble), key=lambda row: row.health.rank)

    @property
    def is_well(self) -> bool:
        """Nothing is in trouble, of a month that runs."""
        return not self.troubled and any(row.rows and not row.has_ended for row in self.operations)


def overview(operations: OperationQuerySet, month: date, now: datetime) -> Overview:
    """Every operation and its month: four queries, whatever the number of operations."""
    found = {operation.pk: operation for operation in operations.defer("token_encrypted")}
    products = Product.objects.in_bulk()
    usages = list(usages_of((month, month_before(month)), operations))
    for usage in usages:
        usage.product = products[usage.product_id]
    of_feeds = feeds_of(operations)
    by_operation, feeds_by_operation = defaultdict(list), defaultdict(list)
    for row in product_months(usages, month, found, of_feeds, now):
        by_operation[row.operation.pk].append(row)
    for feed in of_feeds:
        feeds_by_operation[feed.operation_id].append(feed)
    return Overview(
        [
            OperationMonth(
                operation=operation,
                rows=[row for row in by_operation[pk] if row.product.is_usage] or by_operation[pk],
                health=feeds.health_of(operation, feeds_by_operation[pk], now),
                has_ended=has_ended(month, operation, now),
            )
            for pk, operation in found.items()
            if operation.is_active or by_operation[pk]
        ]
    )


# One operation


@dataclass(frozen=True)
class Day:
    """A day of a usage product; without `as_of` nothing is known of it. For `unheard` seconds it had no good poll."""

    day: date
    items: Decimal | None = None
    month_to_date: Decimal | None = None
    licences: Decimal | None = None
    as_of: datetime | None = None
    is_restated: bool = False
    is_reckoned: bool = False
    is_unfinished: bool = False
    unheard: int = 0


@dataclass(frozen=True)
class Card:
    """A usage product's month, day by day."""

    row: ProductMonth
    days: Sequence[Day]


@dataclass(frozen=True)
class OperationPage:
    operation: Operation
    cards: Sequence[Card]
    gauges: Sequence[ProductMonth]
    health: Health
    has_ended: bool

    @property
    def main(self) -> ProductMonth | None:
        """The product whose key figures head the page: of the first API, the one used most."""
        rows = [card.row for card in self.cards]
        first = [row for row in rows if row.product.api == rows[0].product.api]
        return max(first, key=lambda row: row.usage.items, default=None)


def operation_page(operation: Operation, month: date, now: datetime) -> OperationPage:
    """One operation's month: three queries, whatever the number of products."""
    itself = Operation.objects.filter(pk=operation.pk)
    usages, corrections = with_corrections(usages_of((month, month_before(month)), itself))
    of_feeds = feeds_of(itself)
    rows = product_months(usages, month, {operation.pk: operation}, of_feeds, now, corrections=corrections)
    days: defaultdict[int, dict[date, DailyUsage]] = defaultdict(dict)
    for day in DailyUsage.objects.filter(
        operation=operation, day__range=(month, month.replace(day=length_of(month)))
    ).order_by("day"):
        days[day.product_id][day.day] = day
    return OperationPage(
        operation=operation,
        cards=[Card(row, card_days(row, days)) for row in rows if row.product.is_usage],
        gauges=[row for row in rows if not row.product.is_usage],
        health=feeds.health_of(operation, of_feeds, now),
        has_ended=has_ended(month, operation, now),
    )


def with_corrections(usages: QuerySet[MonthlyUsage]) -> tuple[list[MonthlyUsage], dict[int, list[Correction]]]:
    """The rows with their products and certificates, and the corrections by the row's id, in one query.

    The join repeats a row that has several corrections: they are few, and a prefetch would be a query on every page.
    """
    joined = usages.select_related("product", "certificate").annotate(
        corrected_items=F("corrections__items"), corrected_at=F("corrections__seen_at")
    )
    found, corrections = {}, defaultdict(list)
    for usage in joined.order_by("corrections__seen_at", "corrections__id"):
        found[usage.pk] = usage
        if usage.corrected_at:
            corrections[usage.pk].append(Correction(items=usage.corrected_items, seen_at=usage.corrected_at))
    return list(found.values()), corrections


def card_days(row: ProductMonth, days: dict[int, dict[date, DailyUsage]]) -> list[Day]:
    """Every day so far, known or not; today only once there is news of it."""
    its, licences = days[row.product.pk], days[row.product.licensed_by_id or 0]
    so_far = [row.usage.month.replace(day=number) for number in range(1, row.days_so_far + 1)]
    if not row.has_ended and so_far[-1] not in its:
        so_far.pop()
    return [_day(row, day, its.get(day), licences.get(day)) for day in so_far]


def _day(row: ProductMonth, day: date, known: DailyUsage | None, gauge: DailyUsage | None) -> Day:
    return Day(
        day=day,
        items=known.items if known else None,
        month_to_date=known.month_to_date if known else None,
        licences=gauge.items if gauge else None,
        as_of=known.as_of if known else None,
        is_restated=bool(known and known.is_restated),
        is_reckoned=bool(known and known.is_reckoned),
        is_unfinished=day.day == row.unfinished,
        unheard=row.unheard.get(day.day, 0),
    )


# Products


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


def products(operations: OperationQuerySet, month: date) -> list[ApiTotals]:
    """The products with figures in a month, by API: one query. Sums are exact."""
    by_product = defaultdict(list)
    usages = usages_of([month], operations).filter(product__is_counted=True).defer("items_by_day", "to_date_by_day")
    for usage in usages.select_related("product", "operation").defer("operation__token_encrypted"):
        by_product[usage.product_id].append(usage)
    by_api = defaultdict(list)
    for rows in by_product.values():
        most = max(rows, key=lambda row: row.items)
        items = sum((row.items for row in rows), Decimal(0))
        by_api[most.product.api].append(ProductTotal(most.product, items, len(rows), most.operation, most.items))
    return [
        ApiTotals(api, sorted(by_api[api], key=lambda total: (total.product.name, total.product.pk)))
        for api in sorted(by_api, key=ORDER.__getitem__)
    ]


def product_page(product: Product, operations: OperationQuerySet, month: date, now: datetime) -> list[ProductMonth]:
    """One product's month in each operation, the largest first: three queries."""
    found = {operation.pk: operation for operation in operations.defer("token_encrypted")}
    both = {product.pk, product.licensed_by_id}
    usages = usages_of((month, month_before(month)), operations).filter(product__in=both - {None})
    usages = usages.select_related("product")
    of_feeds = [feed for feed in feeds_of(operations) if feed.api == product.api]
    rows = product_months(usages, month, found, of_feeds, now)
    mine = [row for row in rows if row.product.pk == product.pk]
    return sorted(mine, key=lambda row: (-row.usage.items, row.operation.name))


def products_with_figures(operations: OperationQuerySet, month: date | None = None) -> QuerySet[Product]:
    """The products of a month, or of any."""
    rows = MonthlyUsage.objects.filter(operation__in=operations)
    if month:
        rows = rows.filter(month=month)
    return Product.objects.filter(pk__in=rows.values("product"), is_counted=True)
