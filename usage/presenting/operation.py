"""One operation's month: its products day by day, its gauges, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from usage.models import DailyUsage, Operation

from . import feeds, insights
from .comparing import Comparison, length_of
from .feeds import Health
from .figures import Line, ProductMonth, has_ended, last_complete_day, month_before, product_months
from .insights import pace_of, usual_of
from .overview import idle_of, main_of
from .queries import as_text, feeds_of, time_of, usages_of, with_corrections


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
    sentences: Sequence[str]  # as on the overview

    @property
    def are_mixed(self) -> bool:
        """Whether some of its products are shown per licence, and others in all."""
        return len({card.row.is_per_licence for card in self.cards}) > 1

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
    is_over, used = has_ended(month, operation, now), [row for row in rows if row.product.is_usage]
    gone = [row.line for row in rows if row.gone_since and not row.product.is_usage]
    items = {usage.product: usage.items for usage in usages if usage.month == month}
    idle = [] if is_over else idle_of(operation, items, of_feeds, month, now)
    return OperationPage(
        operation=operation,
        comparison=comparison,
        cards=[Card(row, card_days(row, days)) for row in used],
        gauges=[row for row in rows if not row.product.is_usage],
        health=feeds.health_of(operation, of_feeds, now),
        has_ended=is_over,
        sentences=sentences_of(operation, used, [*gone, *idle], comparison, now),
    )


class Known(NamedTuple):
    """What the page reads of a product's day."""

    items: Decimal | None
    month_to_date: Decimal | None
    is_restated: bool
    is_reckoned: bool
    as_of: datetime


def days_of(operation: Operation, month: date, products: Iterable[int | None]) -> dict[tuple[int, date], Known]:
    """Asked for by its products too, so that the index leads to these rows alone. The times come as text, which is
    read once: the products of a feed share them.
    """
    of_month = (month, month.replace(day=length_of(month)))
    rows = DailyUsage.objects.filter(operation=operation, product__in=set(products) - {None}, day__range=of_month)
    *figures, as_of = Known._fields
    found, heard = rows.values_list("product_id", "day", *figures, as_text(as_of)), cache(time_of)
    return {(product, day): Known._make([*known, heard(text)]) for product, day, *known, text in found}


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


# What is said of it


def sentences_of(
    operation: Operation, rows: Sequence[ProductMonth], unlisted: Sequence[Line], held: Comparison, now: datetime
) -> list[str]:
    """What the overview says of an operation, and what else deserves a look; nothing beside any other month."""
    if held.against != month_before(held.month):
        return []
    lines = [line_with_pace(row) for row in rows]
    looks = insights.looks({0: [*lines, *unlisted]}, {0: last_complete_day(held.month, now, operation, now)})[0]
    return insights.sentences(looks, main_of(lines), held.against, has_ended(held.month, operation, now))


def line_with_pace(row: ProductMonth) -> Line:
    """As the overview has it."""
    line, before, pace = row.line, row.before, None
    if before:
        usual = usual_of(json.dumps(before.items_by_day), json.dumps(before.reckoned_days), length_of(before.month))
        day = last_complete_day(row.usage.month, row.usage.as_of, row.operation, row.now)
        pace = pace_of(line.items_by_day, line.reckoned_days, day, usual, row.product.unit)
    return line._replace(pace=pace, licences_before=row.same_licences_before)
