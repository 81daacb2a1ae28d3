"""What the pages read, as rows that templates show as they are.

Every query goes through a queryset of operations that its reader may see.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast

from usage.models import Correction, DailyUsage, Feed, MonthlyUsage, Operation, OperationQuerySet, Product
from usage.wolkvox.catalogue import APIS

from . import feeds, insights
from .comparing import Comparison
from .feeds import Health
from .figures import (
    ORDER,
    Line,
    ProductMonth,
    first_known,
    has_ended,
    last_complete_day,
    length_of,
    month_before,
    product_months,
)
from .insights import Look, Usual, pace_of, usual_of

# What there is


def months_of(operations: OperationQuerySet, product: Product | None = None) -> list[date]:
    """The months with figures. From one to the next by the index: a DISTINCT would read every row."""
    rows = MonthlyUsage.objects.filter(operation__in=operations).order_by("month")
    if product:
        rows = rows.filter(product=product)
    later = rows.filter(month__gt=RawSQL("known.month", ()))
    try:
        first, following = (months.values("month")[:1].query.sql_with_params() for months in (rows, later))
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        cursor.execute(MONTHS.format(first=first[0], following=following[0]), [*first[1], *following[1]])
        return [date.fromisoformat(str(month)) for (month,) in cursor.fetchall()]


MONTHS = """
    WITH RECURSIVE known(month) AS (
        SELECT ({first}) UNION ALL SELECT ({following}) FROM known WHERE known.month IS NOT NULL
    )
    SELECT month FROM known WHERE month IS NOT NULL
"""


def operation_with_months(operations: OperationQuerySet, slug: str) -> tuple[Operation, list[date]] | None:
    """One operation and the months that it has figures of, in one query."""
    rows = operations.filter(slug=slug).defer("token_encrypted").annotate(known=F("months__month"))
    found = list(rows.order_by("known").distinct())
    return (found[0], [row.known for row in found if row.known]) if found else None  # type: ignore[attr-defined]


def usages_of(months: Iterable[date], operations: OperationQuerySet) -> QuerySet[MonthlyUsage]:
    return MonthlyUsage.objects.filter(operation__in=operations, month__in=months).order_by()


def feeds_of(operations: OperationQuerySet) -> list[Feed]:
    """Those that are polled or were, with what their state is told from."""
    heard = Q(is_enabled=True) | Q(last_good_poll_at__isnull=False)
    found = Feed.objects.filter(heard, operation__in=operations).order_by("operation", "interval", "id")
    return list(found.only("operation", "api", "interval", *feeds.STATED))


# Overview


@dataclass(frozen=True)
class OperationMonth:
    """An operation on the overview, over its usage products, or its gauges where it uses none.

    `heard` is the last good poll: of the feed read most often, or behind the figures of a month that is over.
    `idle` are the licences of whose use nothing is told. `looks` are what deserves one, in order of urgency.
    """

    operation: Operation
    month: date
    rows: Sequence[Line]
    health: Health
    has_ended: bool
    heard: datetime | None
    idle: Sequence[Line] = ()
    looks: Sequence[Look] = ()

    @property
    def is_trouble(self) -> bool:
        """Trouble of now says nothing about a month that is over."""
        return not self.has_ended and self.health.is_trouble

    @property
    def weight(self) -> float:
        """How much deserves a look."""
        return max((look.weight for look in self.looks), default=0)

    @property
    def main(self) -> Line | None:
        """What the operation is told by: what deserves a look, else of its first API the product used most."""
        if self.looks:
            return self.looks[0].line
        first = [line for line in self.rows if line.product.api == self.rows[0].product.api]
        return max(first, key=lambda line: line.items, default=None)

    @property
    def sentence(self) -> str:
        """How it does, in plain words; empty where too little is known."""
        before = month_before(self.month)
        if self.looks:
            return insights.sentence(self.looks[0], before, self.has_ended)
        return insights.sentence_of_pace(self.main, before, self.has_ended) if self.main else ""


def overview(operations: OperationQuerySet, month: date, now: datetime) -> list[OperationMonth]:
    """Every operation and its month: four queries, whatever the number of operations."""
    found = {operation.pk: operation for operation in operations.only("name", "slug", "time_zone", "is_active")}
    listed, before = listed_of(operations, month, found, now)
    of_feeds = defaultdict(list)
    if not all(has_ended(month, operation, now) for operation in found.values()):
        for feed in feeds_of(operations):
            of_feeds[feed.operation_id].append(feed)
    months = {
        pk: operation_month(operation, listed[pk], before, of_feeds[pk], month=month, now=now)
        for pk, operation in found.items()
        if operation.is_active or any(row.product.is_counted for row in listed[pk])
    }
    looks = insights.looks(
        {pk: [*its.rows, *its.idle] for pk, its in months.items()},
        {pk: last_complete_day(month, now, found[pk], now) for pk in months},
    )
    return [replace(its, looks=looks[pk]) for pk, its in months.items()]


class Listed(NamedTuple):
    """What the overview reads of a product's month: `first` is a gauge's first figure, and `day` the last that the
    figure covers to its end."""

    operation_id: int
    product: Product
    items: Decimal
    first: Decimal
    as_of: datetime
    items_by_day: str
    reckoned_days: str
    day: int


class Before(NamedTuple):
    """What the overview reads of the month before."""

    items: Decimal
    usual: Usual


Befores = Mapping[tuple[int, int], Before]
"""By operation and product."""


def listed_of(
    operations: OperationQuerySet, month: date, found: Mapping[int, Operation], now: datetime
) -> tuple[Mapping[int, list[Listed]], Befores]:
    """By operation, in the order of their products, with the month before.

    The polls' times come as text: thousands of rows share a few. The lists stay text too: whoever reads one keeps what
    it came to.
    """
    in_order = sorted(Product.objects.all(), key=lambda product: (ORDER[product.api], product.name, product.id))
    products = {product.id: product for product in in_order}
    place = {product.id: number for number, product in enumerate(in_order)}
    texts = [Cast(name, TextField()) for name in ("as_of", "items_by_day", "reckoned_days")]
    months = month, month_before(month)
    rows = usages_of(months, operations).values_list("operation_id", "product_id", "month", "items", *texts)

    @cache
    def heard(operation: int, text: str) -> tuple[datetime, int]:
        as_of = datetime.fromisoformat(text).replace(tzinfo=UTC)  # as both databases keep it
        return as_of, last_complete_day(month, as_of, found[operation], now)

    listed, before, length = defaultdict(list), {}, length_of(months[1])
    for operation, product, its_month, items, text, by_day, reckoned in sorted(rows, key=lambda row: place[row[1]]):
        if its_month != month:
            before[operation, product] = Before(items, usual_of(by_day, reckoned, length))
            continue
        its, (as_of, day) = products[product], heard(operation, text)
        first = items if its.is_usage else first_known(json.loads(by_day), items)
        listed[operation].append(Listed(operation, its, items, first, as_of, by_day, reckoned, day))
    return listed, before


def operation_month(
    operation: Operation,
    listed: Sequence[Listed],
    before: Befores,
    of_feeds: Sequence[Feed],
    *,
    month: date,
    now: datetime,
) -> OperationMonth:
    is_over = has_ended(month, operation, now)
    health = feeds.health_of(operation, of_feeds, now)
    counted = [row for row in listed if row.product.is_counted]
    shown = [row for row in counted if row.product.is_usage] or counted
    if is_over:
        heard = max((row.as_of for row in shown), default=None)
    else:
        apis = {row.product.api for row in shown}
        polled = [(feed.interval, feed.last_good_poll_at) for feed in of_feeds if feed.api in apis]
        heard = min(polled)[1] if polled else health.heard
    gauges = {row.product.id: row for row in listed if not row.product.is_usage}
    lines = [line_of(row, gauges.get(row.product.licensed_by_id or 0), before, is_over=is_over) for row in shown]
    idle = [] if is_over else idle_of(operation, listed, of_feeds, month, now)
    return OperationMonth(operation, month, lines, health, is_over, heard, idle)


def line_of(row: Listed, gauge: Listed | None, before: Befores, *, is_over: bool) -> Line:
    product = row.product
    past = before.get((row.operation_id, product.id)) if product.is_usage else None
    past_gauge = before.get((row.operation_id, gauge.product.id)) if gauge else None
    return Line(
        product=product,
        items=row.items,
        items_by_day=row.items_by_day,
        reckoned_days=row.reckoned_days,
        unfinished=row.day + 1 if product.is_usage and not is_over else None,
        change=None,
        licences=gauge.items if gauge else None,
        licences_change=gauge.items - gauge.first if gauge else Decimal(0),
        licences_before=past_gauge.items if past_gauge else None,
        pace=pace_of(row.items_by_day, row.reckoned_days, row.day, past.usual, product.unit) if past else None,
    )


def idle_of(
    operation: Operation, listed: Sequence[Listed], of_feeds: Sequence[Feed], month: date, now: datetime
) -> list[Line]:
    """The licences of whose use the vendor tells nothing while it answers well: month to date, that is none."""
    used = {row.product.licensed_by_id for row in listed}
    told = {APIS[row.product.api].licensed_by for row in listed}
    idle = [
        row
        for row in listed
        if row.product.kind == Product.Kind.LICENCES and row.product.id not in used and row.product.api not in told
    ]
    if not idle:
        return []
    well = {
        APIS[feed.api].licensed_by
        for feed in of_feeds
        if feed.counts == Feed.Counts.MONTH and feeds.state_of(feed, operation, now).state == feeds.State.GOOD
    }
    nothing = json.dumps(["0"] * last_complete_day(month, now, operation, now))
    return [
        Line(row.product, Decimal(0), nothing, "[]", None, None, row.items, Decimal(0))
        for row in idle
        if row.product.api in well
    ]


# One operation


class Day(NamedTuple):
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
    comparison: Comparison
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


def operation_page(
    operation: Operation, month: date, now: datetime, comparison: Comparison | None = None
) -> OperationPage:
    """One operation's month, beside the month before or another one: three queries, whatever the number of products."""
    comparison = comparison or Comparison(month, month_before(month))
    itself = Operation.objects.filter(pk=operation.pk)
    usages, corrections = with_corrections(usages_of((month, comparison.against), itself))
    of_feeds = feeds_of(itself)
    known = {operation.pk: operation}
    rows = product_months(usages, month, known, of_feeds, now, corrections=corrections, comparison=comparison)
    days = days_of(operation, month, {row.product.pk for row in rows} | {row.product.licensed_by_id for row in rows})
    return OperationPage(
        operation=operation,
        comparison=comparison,
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


class Known(NamedTuple):
    """What the page reads of a product's day."""

    items: Decimal | None
    month_to_date: Decimal | None
    as_of: datetime
    is_restated: bool
    is_reckoned: bool


def days_of(operation: Operation, month: date, products: Iterable[int | None]) -> dict[tuple[int, date], Known]:
    """Asked for by its products too, so that the index leads to these rows alone."""
    of_month = (month, month.replace(day=length_of(month)))
    rows = DailyUsage.objects.filter(operation=operation, product__in=set(products) - {None}, day__range=of_month)
    found = rows.values_list("product_id", "day", *Known._fields)
    return {(product, day): Known(*known) for product, day, *known in found}


def card_days(row: ProductMonth, known: dict[tuple[int, date], Known]) -> list[Day]:
    """Every day so far, known or not; today only once there is news of it."""
    its, gauge = row.product.pk, row.product.licensed_by_id or 0
    so_far = [row.usage.month.replace(day=number) for number in range(1, row.days_so_far + 1)]
    if not row.has_ended and (its, so_far[-1]) not in known:
        so_far.pop()
    return [_day(row, day, known.get((its, day)), known.get((gauge, day))) for day in so_far]


def _day(row: ProductMonth, day: date, known: Known | None, gauge: Known | None) -> Day:
    return Day(
        day=day,
        items=known.items if known else None,
        month_to_date=known.month_to_date if known else None,
        licences=gauge.items if gauge else None,
        as_of=known.as_of if known else None,
        is_restated=known.is_restated if known else False,
        is_reckoned=known.is_reckoned if known else False,
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


def product_page(
    product: Product, operations: OperationQuerySet, month: date, now: datetime, comparison: Comparison | None = None
) -> list[ProductMonth]:
    """One product's month in each operation, the largest first, in all or per licence: three queries."""
    comparison = comparison or Comparison(month, month_before(month))
    found = {operation.pk: operation for operation in operations.defer("token_encrypted")}
    both = {product.pk, product.licensed_by_id}
    usages = usages_of((month, comparison.against), operations).filter(product__in=both - {None})
    usages = usages.select_related("product")
    of_feeds = [feed for feed in feeds_of(operations) if feed.api == product.api]
    rows = product_months(usages, month, found, of_feeds, now, comparison=comparison)
    mine = [row for row in rows if row.product.pk == product.pk]

    def most(row: ProductMonth) -> Decimal:
        return (row.per_licence or Decimal(0)) if comparison.per_licence else row.usage.items

    return sorted(mine, key=lambda row: (-most(row), row.operation.name))


def products_with_figures(operations: OperationQuerySet, month: date | None = None) -> QuerySet[Product]:
    """The products of a month, or of any."""
    rows = MonthlyUsage.objects.filter(operation__in=operations)
    if month:
        rows = rows.filter(month=month)
    return Product.objects.filter(pk__in=rows.values("product"), is_counted=True)
