"""Snapshots -> daily and monthly usage: a fold in the order in which they were first seen.

A poll folds its new snapshots onto the rows that stand, `rebuild` folds all of them from nothing: both by `Fold`, so
both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from operator import attrgetter
from zoneinfo import ZoneInfo

from usage.models import PLACES, Feed

from . import months, storing
from .rows import DailyRow, MonthlyRow, ProductRow, SnapshotRow

NOTHING, ONE, LEAST = Decimal(0), Decimal(1), Decimal(1).scaleb(-PLACES)

MANY = 2_000
"""Rows of an answer from which on nothing is spread over earlier days."""

Key = tuple[int, date]
"""A product's id and a month (or a day, of daily rows)."""

Gaps = Mapping[datetime, datetime]
"""When a gap of a feed began, by when it ended."""


@dataclass
class Fold:
    """A feed's rows as they stand after the snapshots so far, and which of them those changed.

    `zone` is the operation's, or what it was when the month closed. `gaps` holds those that a snapshot may have ended,
    `long_polls` the ids of polls whose answers had too MANY rows.
    """

    feed: Feed
    zone: ZoneInfo
    products: Mapping[int, ProductRow]
    gaps: Gaps
    long_polls: Collection[int]
    days: dict[Key, DailyRow] = field(default_factory=dict)
    rows: dict[Key, MonthlyRow] = field(default_factory=dict)
    changed_days: dict[Key, DailyRow] = field(default_factory=dict)
    changed_rows: dict[Key, MonthlyRow] = field(default_factory=dict)

    def add(self, snapshots: Iterable[SnapshotRow]) -> None:
        """Fold the new snapshots of one poll: those of a product's month day by day, as each day's use and sum follow
        from the day before.
        """
        told: dict[Key, list[SnapshotRow]] = {}
        for snapshot in snapshots:
            told.setdefault((snapshot.product_id, snapshot.month), []).append(snapshot)
        for key, its_snapshots in told.items():
            month = self.rows.get(key) or self._new_month(its_snapshots[0])
            self.changed_rows[key] = month
            its_snapshots.sort(key=attrgetter("day"))
            ends = [snapshot.day.day for snapshot in its_snapshots[1:]]
            for snapshot, end in zip(its_snapshots, [*ends, None], strict=True):
                day = self._add(snapshot, month)
                self._follow(month, day, end, counts_day=snapshot.counts_day)

    def sum_up(self) -> None:
        """Say what the usage of the changed months comes to, once all their days are in."""
        for month in self.changed_rows.values():
            if self.products[month.product_id].is_usage:
                sum_up(month)

    def _new_month(self, snapshot: SnapshotRow) -> MonthlyRow:
        month = MonthlyRow(self.feed.operation_id, snapshot.product_id, snapshot.month, snapshot.last_seen)
        self.rows[snapshot.product_id, snapshot.month] = month
        return month

    def _add(self, snapshot: SnapshotRow, month: MonthlyRow) -> DailyRow:
        """Fold a snapshot into its day, made here if need be."""
        key, is_usage = (snapshot.product_id, snapshot.day), self.products[snapshot.product_id].is_usage
        day = self.days.get(key)
        if day is None:
            day = self.days[key] = DailyRow(self.feed.operation_id, *key, snapshot.last_seen)
            if is_usage and snapshot.counts_day:
                self._cut(snapshot, month)
            elif is_usage:
                self._spread(snapshot, day, month)
        day.as_of = snapshot.last_seen
        day.highest = snapshot.items if day.highest is None else max(day.highest, snapshot.items)
        day.lowest = snapshot.items if day.lowest is None else min(day.lowest, snapshot.items)
        if is_usage:
            fold_usage(day, snapshot, month)
        else:
            fold_gauge(day, snapshot, month)
        self._fold_month(month, day)
        return day

    def _fold_month(self, month: MonthlyRow, day: DailyRow) -> None:
        self.changed_days[day.product_id, day.day] = day
        fold_month(month, day)

    def _spread(self, snapshot: SnapshotRow, day: DailyRow, month: MonthlyRow) -> None:
        """Spread over its days, by time, what the month gained in a stretch over midnight that `snapshot` ended.

        That is a gap, or what the vendor told nothing of the product in. The rest is left for `day`; all of it is where
        an answer has so many rows that their days would be millions.
        """
        zone, until = self.zone, snapshot.first_seen
        last = last_known(month, snapshot.day)
        known = self.days.get((snapshot.product_id, last)) if last else None
        is_unheard = until in self.gaps
        if last and known:
            is_unheard = is_unheard or snapshot.ends_silence or (snapshot.day - last).days > 1
            begins, since, total = last, known.as_of, known.month_to_date or NOTHING
        else:
            since, total = max(self.gaps.get(until, until), months.begins_at(month.month, zone)), NOTHING
            begins = since.astimezone(zone).date()
        if not is_unheard or begins >= snapshot.day or since >= until:
            return
        gained = max(snapshot.items - total, NOTHING)
        day.is_reckoned = snapshot.items != total
        if snapshot.first_poll_id in self.long_polls:
            return
        before = total
        for number in range((snapshot.day - begins).days):
            its_day = begins + timedelta(days=number)
            end = months.begins_at(its_day + timedelta(days=1), zone)
            so_far = total + part_of(gained, min(max(end, since), until) - since, until - since)
            key = (snapshot.product_id, its_day)
            row = self.days.get(key)
            if row is None:
                row = self.days[key] = DailyRow(self.feed.operation_id, *key, until)
            row.items = (row.items or NOTHING) + so_far - before
            row.month_to_date = before = so_far
            row.is_reckoned = row.is_reckoned or day.is_reckoned
            self._fold_month(month, row)

    def _cut(self, snapshot: SnapshotRow, month: MonthlyRow) -> None:
        """Mark the day in which the gap or silence began that `snapshot` ended on a later one: where days are counted
        each from nothing, what was used between its last poll and midnight is told no more, unless that answer still
        names it.
        """
        last = last_known(month, snapshot.day)
        if last is None or not (snapshot.ends_silence or snapshot.first_seen in self.gaps):
            return
        day = self.days[snapshot.product_id, last]
        if day.as_of < min(snapshot.first_seen, months.begins_at(last + timedelta(days=1), self.zone)):
            day.is_reckoned = True
            self._fold_month(month, day)

    def _follow(self, month: MonthlyRow, changed: DailyRow, end: int | None, *, counts_day: bool) -> None:
        """Bring the later days before `end`, or to the month's, in step with a day that changed before them.

        Where rows count their own day, all later sums follow; else only what the next day used, since its sum was told.
        """
        total = changed.month_to_date
        if total is None:
            return  # a gauge has no sums
        for number in range(changed.day.day + 1, end or len(month.to_date_by_day) + 1):
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
                self._fold_month(month, row)
            if is_same or not counts_day:
                break


def last_known(month: MonthlyRow, before: date) -> date | None:
    """The last day before this one of which the month has a figure."""
    for number in range(min(before.day - 1, len(month.items_by_day)), 0, -1):
        if month.items_by_day[number - 1] is not None:
            return month.month.replace(day=number)
    return None


def part_of(items: Decimal, part: timedelta, whole: timedelta) -> Decimal:
    """Rounded down to what the product is counted in, so that the parts of a stretch add up."""
    step = ONE if items == items.to_integral_value() else LEAST
    least = timedelta(microseconds=1)
    return (items * (part // least) / (whole // least)).quantize(step, ROUND_DOWN)


def fold_usage(day: DailyRow, snapshot: SnapshotRow, month: MonthlyRow) -> None:
    """What the day used is what the month gained since the day before."""
    before = last_sum(month.to_date_by_day[: snapshot.day.day - 1])
    if snapshot.counts_day:
        is_fallen = day.items is not None and snapshot.items < day.items
        day.items, day.month_to_date = snapshot.items, before + snapshot.items
    else:
        is_fallen = snapshot.items < max(before, day.month_to_date or NOTHING)
        day.items, day.month_to_date = snapshot.items - before, snapshot.items
    day.is_restated = day.is_restated or is_fallen


def fold_gauge(day: DailyRow, snapshot: SnapshotRow, month: MonthlyRow) -> None:
    day.items = snapshot.items
    if snapshot.day.day >= len(month.items_by_day):
        month.items = snapshot.items
    month.highest = snapshot.items if month.highest is None else max(month.highest, snapshot.items)
    month.lowest = snapshot.items if month.lowest is None else min(month.lowest, snapshot.items)


def fold_month(month: MonthlyRow, day: DailyRow) -> None:
    """All but what a month comes to."""
    month.items_by_day = with_figure(month.items_by_day, day.day.day, day.items)
    month.to_date_by_day = with_figure(month.to_date_by_day, day.day.day, day.month_to_date)
    month.as_of = max(month.as_of, day.as_of)
    month.is_restated = month.is_restated or day.is_restated
    if day.is_reckoned and day.day.day not in month.reckoned_days:
        month.reckoned_days = sorted([*month.reckoned_days, day.day.day])


def with_figure(by_day: Sequence[str | None], number: int, figure: Decimal | None) -> list[str | None]:
    """A month's list with the figure of a day in its place."""
    longer = [*by_day, *[None] * (number - len(by_day))]
    longer[number - 1] = None if figure is None else f"{figure.normalize():f}"
    return longer


def last_sum(to_date_by_day: Sequence[str | None]) -> Decimal:
    return next((Decimal(text) for text in reversed(to_date_by_day) if text is not None), NOTHING)


def sum_up(month: MonthlyRow) -> None:
    """What a month's usage comes to."""
    whole = items_of_whole_days(month)
    month.items = last_sum(month.to_date_by_day)
    month.highest, month.lowest = max(whole, default=None), min(whole, default=None)


def items_of_whole_days(month: MonthlyRow) -> list[Decimal]:
    """What the days used that are known, not reckoned, and over: the last one shown is, once it is the month's last."""
    shown = len(month.items_by_day)
    is_over = (month.month + timedelta(days=shown)).day == 1
    days = enumerate(month.items_by_day[: shown if is_over else -1], start=1)
    return [Decimal(text) for day, text in days if text is not None and day not in month.reckoned_days]


def write(days: Iterable[DailyRow], rows: Iterable[MonthlyRow]) -> None:
    """Insert or update by operation, product and date."""
    storing.upsert(list(days), key=("operation_id", "product_id", "day"))
    storing.upsert(list(rows), key=("operation_id", "product_id", "month"))
