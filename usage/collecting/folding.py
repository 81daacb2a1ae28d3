"""Snapshots -> daily and monthly usage: a fold in the order in which they were first seen.

A poll folds its new snapshots onto the rows that stand, `rebuild` folds all of them from nothing: both by `Fold`, so
both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import TypeVar

from usage.models import PLACES, DailyUsage, Feed, MonthlyUsage, Snapshot

from . import months, storing

NOTHING, ONE, LEAST = Decimal(0), Decimal(1), Decimal(1).scaleb(-PLACES)

MANY = 2_000
"""Rows of an answer from which on nothing is spread over earlier days."""

Key = tuple[int, date]
"""A product's id and a month (or a day, of daily rows)."""

Gaps = Mapping[datetime, datetime]
"""When a gap of a feed began, by when it ended."""

Row = TypeVar("Row", DailyUsage, MonthlyUsage)


@dataclass
class Fold:
    """A feed's rows as they stand after the snapshots so far. `gaps` holds those that a snapshot may have ended."""

    feed: Feed
    gaps: Gaps = field(default_factory=dict)
    days: dict[Key, DailyUsage] = field(default_factory=dict)
    rows: dict[Key, MonthlyUsage] = field(default_factory=dict)

    def add(self, snapshot: Snapshot) -> list[DailyUsage]:
        """Fold a snapshot into its day and its month, made here if need be. Returns the daily rows that it changed."""
        product = snapshot.product
        month = self.rows.get((product.pk, snapshot.month))
        if month is None:
            month = MonthlyUsage(operation_id=self.feed.operation_id, product=product, month=snapshot.month)
            self.rows[product.pk, snapshot.month] = month
        day = self.days.get((product.pk, snapshot.day))
        changed = []
        if day is None:
            day = self._new_day(month, snapshot.day)
            if product.is_usage and not snapshot.counts_day:
                changed = self._spread(snapshot, day, month)
        day.as_of = snapshot.last_seen
        day.highest = snapshot.items if day.highest is None else max(day.highest, snapshot.items)
        day.lowest = snapshot.items if day.lowest is None else min(day.lowest, snapshot.items)
        if product.is_usage:
            fold_usage(day, snapshot, month)
        else:
            day.items = snapshot.items
        fold_month(month, day)
        return [*changed, day, *self._following(month, day, counts_day=snapshot.counts_day)]

    def _new_day(self, month: MonthlyUsage, day: date) -> DailyUsage:
        row = DailyUsage(operation_id=self.feed.operation_id, product=month.product, day=day)
        self.days[month.product_id, day] = row
        return row

    def _spread(self, snapshot: Snapshot, day: DailyUsage, month: MonthlyUsage) -> list[DailyUsage]:
        """Spread over its days, by time, what the month gained in a stretch over midnight that `snapshot` ended.

        That is a gap, or the days on which the vendor told nothing of the product. The rest is left for `day`; all of
        it is where an answer has so many rows that their days would be millions. Returns the daily rows before it
        that this changed or made.
        """
        zone, until = self.feed.operation.zone, snapshot.first_seen
        last = last_known(month, snapshot.day)
        known = self.days.get((snapshot.product_id, last)) if last else None
        is_unheard = until in self.gaps
        if last and known:
            is_unheard = is_unheard or (snapshot.day - last).days > 1
            begins, since, total = last, known.as_of, known.month_to_date or NOTHING
        else:
            since, total = max(self.gaps.get(until, until), months.begins_at(month.month, zone)), NOTHING
            begins = since.astimezone(zone).date()
        if not is_unheard or begins >= snapshot.day:
            return []
        gained = max(snapshot.items - total, NOTHING)
        day.is_reckoned = snapshot.items != total
        if snapshot.first_poll.rows > MANY:
            return []
        changed, before = [], total
        for number in range((snapshot.day - begins).days):
            its_day = begins + timedelta(days=number)
            end = months.begins_at(its_day + timedelta(days=1), zone)
            so_far = total + part_of(gained, min(max(end, since), until) - since, until - since)
            row = self.days.get((snapshot.product_id, its_day))
            if row is None:
                row = self._new_day(month, its_day)
                row.as_of = until
            row.items = (row.items or NOTHING) + so_far - before
            row.month_to_date = before = so_far
            row.is_reckoned = row.is_reckoned or day.is_reckoned
            fold_month(month, row)
            changed.append(row)
        return changed

    def _following(self, month: MonthlyUsage, changed: DailyUsage, *, counts_day: bool) -> list[DailyUsage]:
        """The later days that follow a day that changed before them.

        Where rows count their own day, all later sums do; else only what the next day used, since its sum was told.
        """
        later = []
        total = changed.month_to_date or NOTHING
        for number in range(changed.day.day + 1, len(month.to_date_by_day) + 1):
            row = self.days.get((month.product_id, month.month.replace(day=number)))
            if row is None or row.items is None or row.month_to_date is None:
                continue  # nothing was told of that day
            if counts_day:
                total += row.items
                is_same, row.month_to_date = row.month_to_date == total, total
            else:
                items = row.month_to_date - total
                is_same, row.items = row.items == items, items
            if not is_same:
                fold_month(month, row)
                later.append(row)
            if is_same or not counts_day:
                break
        return later


def last_known(month: MonthlyUsage, before: date) -> date | None:
    """The last day before this one of which the month has a figure."""
    for number in range(min(before.day - 1, len(month.items_by_day)), 0, -1):
        if month.items_by_day[number - 1] is not None:
            return month.month.replace(day=number)
    return None


def part_of(items: Decimal, part: timedelta, whole: timedelta) -> Decimal:
    """Rounded down to what the product is counted in, so that the parts of a stretch add up."""
    step = ONE if items == items.to_integral_value() else LEAST
    least = timedelta(microseconds=1)
    return (items * (part // least) / max(whole // least, 1)).quantize(step, ROUND_DOWN)


def fold_usage(day: DailyUsage, snapshot: Snapshot, month: MonthlyUsage) -> None:
    """What the day used is what the month gained since the day before."""
    sums = month.to_date_by_day[: snapshot.day.day - 1]
    before = next((Decimal(text) for text in reversed(sums) if text is not None), NOTHING)
    if snapshot.counts_day:
        is_fallen = day.items is not None and snapshot.items < day.items
        day.items, day.month_to_date = snapshot.items, before + snapshot.items
    else:
        is_fallen = snapshot.items < max(before, day.month_to_date or NOTHING)
        day.items, day.month_to_date = snapshot.items - before, snapshot.items
    day.is_restated = day.is_restated or is_fallen


def fold_month(month: MonthlyUsage, day: DailyUsage) -> None:
    """All but what a month's usage comes to, which `sum_up` says once all days are in."""
    for by_day, figure in ((month.items_by_day, day.items), (month.to_date_by_day, day.month_to_date)):
        by_day += [None] * (day.day.day - len(by_day))  # noqa: PLW2901  in place
        by_day[day.day.day - 1] = None if figure is None else f"{figure.normalize():f}"
    month.as_of = day.as_of if month.as_of is None else max(month.as_of, day.as_of)  # type: ignore[redundant-expr]
    month.is_restated = month.is_restated or day.is_restated
    if day.is_reckoned and day.day.day not in month.reckoned_days:
        month.reckoned_days = sorted([*month.reckoned_days, day.day.day])
    if not month.product.is_usage:
        month.items = Decimal(month.items_by_day[-1])
        month.highest = max(day.highest, month.highest or day.highest)
        month.lowest = min(day.lowest, day.lowest if month.lowest is None else month.lowest)


def sum_up(months: Iterable[MonthlyUsage]) -> None:
    for month in months:
        if month.product.is_usage:
            month.items = Decimal(month.to_date_by_day[-1])
            whole = items_of_whole_days(month)
            month.highest, month.lowest = max(whole, default=None), min(whole, default=None)


def items_of_whole_days(month: MonthlyUsage) -> list[Decimal]:
    """What the days used that are known, not reckoned, and over: the last one shown is, once it is the month's last."""
    days = dict(enumerate(month.items_by_day, start=1))
    if month.month + timedelta(days=len(days)) != months.next_month(month.month):
        del days[len(days)]
    return [Decimal(text) for day, text in days.items() if text is not None and day not in month.reckoned_days]


def write(rows: Iterable[Row], *, date_field: str) -> None:
    """Insert or update by operation, product and date."""
    unique = {(row.product_id, getattr(row, date_field)): row for row in rows}
    storing.upsert(list(unique.values()), key=("operation", "product", date_field))
