"""Every operation and its month, and what is said of each. The queries are of operations that their reader may see."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cache, cached_property
from typing import NamedTuple

from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce

from usage.models import KEPT_OF_A_PRODUCT, Feed, Operation, OperationQuerySet, Product
from usage.wolkvox.catalogue import APIS

from . import feeds, insights
from .comparing import length_of
from .feeds import Health
from .figures import (
    Line,
    day_of,
    first_known,
    gone_of,
    has_ended,
    in_order_of,
    last_complete_day,
    month_before,
    unfinished_of,
)
from .insights import Look, Usual, pace_of, usual_of
from .queries import as_text, feeds_of, time_of, usages_of


@dataclass(frozen=True)
class OperationMonth:
    """An operation on the overview, over its usage products, or its gauges where it uses none.

    `heard` is the last good poll: of the feed read most often, or behind the figures of a month that is over.
    `unlisted` is what may deserve a look beside: licences of whose use nothing is told, or that are named no more.
    `looks` are what deserves one, in order of urgency.
    """

    operation: Operation
    month: date
    rows: Sequence[Line]
    health: Health
    has_ended: bool
    heard: datetime | None
    unlisted: Sequence[Line] = ()
    looks: Sequence[Look] = ()

    @property
    def is_trouble(self) -> bool:
        """Trouble of now says nothing about a month that is over."""
        return not self.has_ended and self.health.is_trouble

    @property
    def weight(self) -> float:
        """How much deserves a look."""
        return max((look.weight for look in self.looks), default=0)

    @cached_property
    def main(self) -> Line | None:
        """What the operation is told by: what deserves a look, else the product used most."""
        return self.looks[0].line if self.looks else main_of(self.rows)

    @property
    def sentence(self) -> str:
        """How it does, in plain words; empty where too little is known."""
        said = insights.sentences(self.looks[:1], self.main, month_before(self.month), self.has_ended)
        return said[0] if said else ""


def main_of(lines: Sequence[Line]) -> Line | None:
    """Of the first API, the product used most."""
    first = [line for line in lines if line.product.api == lines[0].product.api]
    return max(first, key=lambda line: line.items, default=None)


def operation_months(operations: OperationQuerySet, month: date, now: datetime) -> list[OperationMonth]:
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
        {pk: [*its.rows, *its.unlisted] for pk, its in months.items()},
        {pk: last_complete_day(month, now, found[pk], now) for pk in months},
    )
    return [replace(its, looks=looks[pk]) for pk, its in months.items()]


class Listed(NamedTuple):
    """What the overview reads of a product's month: `first` is a gauge's first figure, which `has_moved` if it was ever
    another one; it was heard on the day `heard_on`, and `day` is the last that the figure covers to its end."""

    operation_id: int
    product: Product
    items: Decimal
    first: Decimal
    as_of: datetime
    items_by_day: str
    reckoned_days: str
    has_moved: bool
    is_closed: bool
    heard_on: int
    day: int


class Before(NamedTuple):
    """What the overview reads of the month before."""

    items: Decimal
    usual: Usual
    is_usage: bool


Befores = Mapping[tuple[int, int], Before]
"""By operation and product."""


def listed_of(
    operations: OperationQuerySet, month: date, found: Mapping[int, Operation], now: datetime
) -> tuple[Mapping[int, list[Listed]], Befores]:
    """By operation, in the order of their products, with the month before.

    The lists stay text: whoever reads one keeps what it came to.
    """
    in_order = sorted(Product.objects.all(), key=in_order_of)
    products = {product.id: product for product in in_order}
    place = {product.id: number for number, product in enumerate(in_order)}
    texts = map(as_text, ("as_of", "items_by_day", "reckoned_days"))
    months = month, month_before(month)
    closed = as_closed(operations, month) if any(has_ended(month, its, now) for its in found.values()) else {}
    rows = (
        usages_of(months, operations)
        .annotate(has_moved=Q(highest__gt=F("lowest")))
        .values_list("operation_id", "product_id", "month", "items", "closed_kind", "has_moved", *texts)
    )

    @cache
    def heard(operation: int, text: str) -> tuple[datetime, int, int]:
        as_of, its = time_of(text), found[operation]
        return as_of, day_of(month, as_of, its), last_complete_day(month, as_of, its, now)

    listed, before, length = defaultdict(list), {}, length_of(months[1])
    for operation, product, its_month, items, closed_kind, has_moved, text, by_day, reckoned in sorted(
        rows, key=lambda row: place[row[1]]
    ):
        if its_month != month:
            is_usage = (closed_kind or products[product].kind) == Product.Kind.USAGE
            before[operation, product] = Before(items, usual_of(by_day, reckoned, length), is_usage)
            continue
        its = closed.get((operation, product), products[product])
        as_of, *days = heard(operation, text)
        first = items if its.is_usage else first_known(json.loads(by_day), items)
        listed[operation].append(
            Listed(operation, its, items, first, as_of, by_day, reckoned, has_moved, closed_kind != "", *days)
        )
    for operation in {operation for operation, _ in closed}:
        listed[operation].sort(key=lambda row: in_order_of(row.product))
    return listed, before


def as_closed(operations: OperationQuerySet, month: date) -> Mapping[tuple[int, int], Product]:
    """By operation and product, what a closed month shows of those products that were edited since: few, if any."""
    usages = usages_of([month], operations).exclude(closed_name="").select_related("product")
    nobody = Value(0)
    same = Q(
        closed_name=F("product__name"),
        closed_kind=F("product__kind"),
        closed_unit=F("product__unit"),
        closed_is_counted=F("product__is_counted"),
        licences_then=Coalesce("product__licensed_by", nobody),
    )
    edited = usages.annotate(licences_then=Coalesce("closed_licensed_by", nobody)).filter(~same)
    edited = edited.only("operation", "product", *(f"closed_{name}" for name in KEPT_OF_A_PRODUCT))
    return {(usage.operation_id, usage.product_id): usage.its_product for usage in edited}


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
    heard_last = ((operation, row.product, row.items, row.as_of) for row in listed)
    gone = {} if is_over else gone_of(heard_last, of_feeds)

    def line(row: Listed) -> Line:
        its = line_of(row, gauges.get(row.product.licensed_by_id or 0), before, month)
        return its._replace(gone_since=gone.get((operation.pk, row.product.id)))

    idle = [] if is_over else idle_of(operation, {row.product: row.items for row in listed}, of_feeds, month, now)
    gone_too = [line(row) for row in counted if row not in shown and (operation.pk, row.product.id) in gone]
    return OperationMonth(operation, month, [line(row) for row in shown], health, is_over, heard, [*idle, *gone_too])


def line_of(row: Listed, gauge: Listed | None, before: Befores, month: date) -> Line:
    product = row.product
    past = before.get((row.operation_id, product.id))
    usual = past.usual if past and past.is_usage and product.is_usage else None
    past_gauge = before.get((row.operation_id, gauge.product.id)) if gauge else None
    return Line(
        product=product,
        items=row.items,
        items_by_day=row.items_by_day,
        reckoned_days=row.reckoned_days,
        unfinished=unfinished_of(month, row.heard_on, row.items_by_day.count(",") + 1, is_closed=row.is_closed)
        if product.is_usage
        else None,
        change=None,
        licences=gauge.items if gauge else None,
        licences_change=gauge.items - gauge.first if gauge else Decimal(0),
        licences_before=past_gauge.items if past_gauge else None,
        licences_moved=gauge is not None and gauge.has_moved,
        pace=pace_of(row.items_by_day, row.reckoned_days, row.day, usual, product.unit) if usual else None,
    )


def idle_of(
    operation: Operation, items: Mapping[Product, Decimal], of_feeds: Sequence[Feed], month: date, now: datetime
) -> list[Line]:
    """The licences of whose use the vendor tells nothing while it answers well: month to date, that is none."""
    used = {product.licensed_by_id for product in items}
    told = {APIS[product.api].licensed_by for product in items}
    idle = [
        product
        for product in items
        if product.kind == Product.Kind.LICENCES
        and product.is_counted
        and product.id not in used
        and product.api not in told
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
        Line(product, Decimal(0), nothing, "[]", None, None, items[product], Decimal(0))
        for product in idle
        if product.api in well
    ]
