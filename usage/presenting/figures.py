"""A month, and a product's month in an operation: the arithmetic that pages show. Nothing here asks the database.

Days are numbers of their month, from 1. Figures stay decimals.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property, lru_cache
from math import ceil
from typing import NamedTuple
from zoneinfo import ZoneInfo

from usage.models import Certificate, Correction, Feed, MonthlyUsage, Operation, Product
from usage.wolkvox.catalogue import APIS

from . import comparing
from .comparing import Amounts, Comparison, Days, Shown, length_of, per_licence

ORDER = {name: number for number, name in enumerate(sorted(APIS, key=lambda name: APIS[name].licensed_by is None))}
"""The catalogue's order, but first what is held against licences."""


def in_order_of(product: Product) -> tuple[int, str, int]:
    return ORDER[product.api], product.name, product.pk


# Months


@dataclass(frozen=True)
class Months:
    """The month that a page shows, among those with figures: the latest first."""

    chosen: date
    known: Sequence[date]
    default: date

    @property
    def is_default(self) -> bool:
        return self.chosen == self.default

    @property
    def before(self) -> date:
        """The month that the chosen one is held against, known or not."""
        return month_before(self.chosen)

    @property
    def others(self) -> list[date]:
        """Those that the chosen one can be held against: the latest first."""
        return sorted({*self.known, self.before} - {self.chosen}, reverse=True)

    @property
    def previous(self) -> date | None:
        return max((month for month in self.known if month < self.chosen), default=None)

    @property
    def next(self) -> date | None:
        return min((month for month in self.known if month > self.chosen), default=None)


def choose_month(asked: date | None, known: Iterable[date], today: date) -> Months:
    """The month asked for, which must be known, else today's, else the latest with figures."""
    known = sorted(known, reverse=True)
    current = today.replace(day=1)
    default = current if current in known or not known else known[0]
    return Months(asked or default, known, default)


def month_after(month: date) -> date:
    return month + timedelta(days=length_of(month))


@lru_cache
def month_before(month: date) -> date:
    return (month - timedelta(days=1)).replace(day=1)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a day begins in a zone. In UTC, so that a difference of two is the time that passed."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def days_since(month: date, at: datetime, zone: ZoneInfo) -> float:
    """An instant's place in its month, in days of the zone: 9.5 is noon of the 10th, however long that day is."""
    day = at.astimezone(zone).date()
    begin, end = midnight(day, zone), midnight(day + timedelta(days=1), zone)
    return (day - month).days + (at - begin) / (end - begin)


# A product's month in an operation


class Change(NamedTuple):
    """The month to date at the end of a day, and at the end of the same day a month before."""

    day: int
    now: Decimal
    then: Decimal
    is_whole: bool

    @property
    def percent(self) -> int | None:
        """Whole percent; None where there was nothing to compare with, or less than that by a figure that fell."""
        if self.then <= 0:
            return None
        return int(((self.now - self.then) * 100 / self.then).quantize(Decimal(1), ROUND_HALF_UP))


class Pace(NamedTuple):
    """What some days of a month used, and what is usual for them. `is_enough` says that it may be put into words."""

    now: float
    then: float
    is_enough: bool

    @property
    def moved(self) -> float:
        return self.now - self.then

    @property
    def percent(self) -> int | None:
        """Whole percent; None where nothing is usual."""
        return round(self.moved / self.then * 100) if self.then > 0 else None


OfApi = tuple[int, str]
"""An operation's id and an API."""


@dataclass(frozen=True)
class Licences:
    """A month's licences: the last figure, the first known, each day's, and between which of them all others lie."""

    last: Decimal
    first: Decimal
    by_day: Amounts
    lowest: Decimal
    highest: Decimal

    @property
    def change(self) -> Decimal:
        return self.last - self.first

    @property
    def have_moved(self) -> bool:
        """Whether they were ever another figure."""
        return self.lowest != self.highest

    @property
    def are_between(self) -> bool:
        """Whether they were fewer or more meanwhile than at first and at last."""
        return self.lowest < min(self.first, self.last) or self.highest > max(self.first, self.last)


class Line(NamedTuple):
    """A product's month in an operation, as a line of a long table shows it: against the same days, or its pace.

    Its lists are the JSON of `usage`. The vendor named it until `gone_since` only, unless that is None.
    """

    product: Product
    items: Decimal
    items_by_day: str
    reckoned_days: str
    unfinished: int | None
    change: Change | None
    licences: Decimal | None
    licences_change: Decimal
    licences_before: Decimal | None = None
    licences_moved: bool = False
    pace: Pace | None = None
    gone_since: date | None = None


@dataclass(frozen=True)
class ProductMonth:
    """A product's month in an operation, beside the month that it is held against and the licences.

    `licences_before` are those that the other month was held against, `same_licences_before` the figure that the
    licences of this month had in it.
    """

    operation: Operation
    product: Product
    comparison: Comparison
    usage: MonthlyUsage
    before: MonthlyUsage | None
    licences: Licences | None
    licences_before: Licences | None
    feed: Feed | None
    now: datetime
    corrections: Sequence[Correction] = ()
    gone_since: date | None = None
    same_licences_before: Decimal | None = None

    @cached_property
    def has_ended(self) -> bool:
        return has_ended(self.usage.month, self.operation, self.now)

    @cached_property
    def heard(self) -> datetime:
        """The last good poll behind the figure."""
        return self.usage.as_of

    @cached_property
    def unfinished(self) -> int | None:
        if not self.product.is_usage:
            return None
        month, days = self.usage.month, len(self.usage.items_by_day)
        heard_on = day_of(month, self.usage.as_of, self.operation)
        return unfinished_of(month, heard_on, days, is_closed=self.usage.is_closed)

    @cached_property
    def change(self) -> Change | None:
        """Over the complete days that are compared; None where what either month had used by then was not told."""
        if self.before is None:
            return None
        complete = (
            last_complete_day(its.month, its.as_of, self.operation, self.now) for its in (self.usage, self.before)
        )
        stretches = self.comparison.stretches(*complete)
        if stretches is None:
            return None
        these, those = stretches
        now, then = self._used(self.usage, self.licences, these), self._used(self.before, self.licences_before, those)
        if now is None or then is None:
            return None
        is_whole = these.number == self.comparison.length and those.number == self.comparison.length_against
        return Change(these.number, now, then, is_whole)

    @property
    def line(self) -> Line:
        licences = self.licences
        return Line(
            product=self.product,
            items=self.usage.items,
            items_by_day=json.dumps(self.usage.items_by_day),
            reckoned_days=json.dumps(self.usage.reckoned_days),
            unfinished=self.unfinished,
            change=self.change,
            licences=licences.last if licences else None,
            licences_change=licences.change if licences else Decimal(0),
            licences_moved=licences is not None and licences.have_moved,
            gone_since=self.gone_since,
        )

    def _used(self, usage: MonthlyUsage, licences: Licences | None, days: Days) -> Decimal | None:
        """What was used in a stretch of a month, as it is shown."""
        begin, end = told_at(usage, days.first - 1), told_at(usage, days.last)
        used = None if begin is None or end is None else end - begin
        if not self.is_per_licence:
            return used
        known = [last for last in (licences.by_day[: days.last] if licences else ()) if last is not None]
        return per_licence(used, known[-1] if known else None)

    @property
    def is_per_licence(self) -> bool:
        """Whether its days are shown per licence: where that is asked for, and any licences are known."""
        return self.comparison.per_licence and self.licences is not None

    @cached_property
    def shown(self) -> Shown:
        return self._shown(self.usage, self.licences, first=self.comparison.first, length=self.comparison.length)

    @cached_property
    def beside(self) -> Shown | None:
        """The other month's days, in the places of those that they stand beside."""
        if self.before is None:
            return None
        held = self.comparison
        its = self._shown(self.before, self.licences_before, first=held.first_against, length=held.length_against)
        return Shown(held.beside(its.in_day), held.beside(its.to_date))

    @property
    def to_date(self) -> Amounts:
        """The month to date by the end of each day, whatever else is compared."""
        return self._shown(self.usage, self.licences, first=1, length=self.comparison.length).to_date

    @property
    def whole_against(self) -> Decimal | None:
        """What all of the other month came to, as it is shown; None where it is unknown or still runs."""
        if self.is_per_licence:
            return self.per_licence_before
        is_over = self.before and has_ended(self.before.month, self.operation, self.now)
        return self.before.items if self.before and is_over else None

    def _shown(self, usage: MonthlyUsage, licences: Licences | None, *, first: int, length: int) -> Shown:
        by_day = (licences.by_day if licences else ()) if self.is_per_licence else None
        return comparing.shown(
            amounts(usage.items_by_day), amounts(usage.to_date_by_day), by_day, first=first, length=length
        )

    @property
    def per_licence(self) -> Decimal | None:
        return per_licence(self.usage.items, self.licences.last if self.licences else None)

    @property
    def per_licence_before(self) -> Decimal | None:
        """Of the other month, where it is over."""
        if self.before is None or self.licences_before is None:
            return None
        is_over = has_ended(self.before.month, self.operation, self.now)
        return per_licence(self.before.items, self.licences_before.last) if is_over else None

    @property
    def counts_each_day(self) -> bool:
        """Whether its days are counted each from nothing: what is used in a gap over midnight is in no figure then."""
        if certificate := self.certificate:
            return certificate.seconds_at_midnights > 0
        return self.product.is_usage and self.feed is not None and self.feed.counts == Feed.Counts.DAY

    @property
    def certificate(self) -> Certificate | None:
        """As the operation's page fetched it with the month."""
        return getattr(self.usage, "certificate", None)

    @property
    def days_so_far(self) -> int:
        """How many days of the month have begun; where the vendor has begun one before us, as many as it tells of."""
        today, month = self.now.astimezone(self.operation.zone).date(), self.usage.month
        begun = min((today - month).days + 1, length_of(month))
        return max(begun, len(self.usage.items_by_day))

    @property
    def missing(self) -> list[int]:
        """The days before today of which nothing is known, but for those of a gap."""
        return self._unknown(self.usage.to_date_by_day if self.product.is_usage else self.usage.items_by_day)

    @property
    def unknown_days(self) -> list[int]:
        """The days before today whose own use is not known: the missing ones, and those after one."""
        return self._unknown(self.usage.items_by_day)

    def _unknown(self, by_day: Sequence[str | None]) -> list[int]:
        days = self.days_so_far if self.has_ended else self.days_so_far - 1
        unknown = [day for day in range(1, days + 1) if at(by_day, day) is None]
        return [day for day in unknown if not any(began <= day - 1 and day <= ended for began, ended in self.bands)]

    @cached_property
    def gaps(self) -> list[tuple[datetime, datetime]]:
        """The month's stretches without a good poll, the one that still runs among them."""
        begin = midnight(self.usage.month, self.operation.zone)
        return [
            (begin + timedelta(seconds=began), begin + timedelta(seconds=ended))
            for began, ended in [*self.usage.gaps, *self._running]
        ]

    @cached_property
    def _running(self) -> list[tuple[int, int]]:
        return running_gap(self.usage, self.feed, self.operation, self.now)

    @property
    def gap_seconds(self) -> int:
        """What the gaps come to."""
        return self.usage.gap_seconds + seconds_of(self._running)

    @cached_property
    def bands(self) -> list[tuple[float, float]]:
        """Where the gaps lie, in days since the month began."""
        month, zone = self.usage.month, self.operation.zone
        return [(days_since(month, began, zone), days_since(month, ended, zone)) for began, ended in self.gaps]

    @cached_property
    def unheard(self) -> dict[int, int]:
        """Seconds that lie in gaps, by the day; days without any are left out."""
        seconds: dict[int, int] = {}
        for (began, ended), (first, last) in zip(self.gaps, self.bands, strict=True):
            for number in range(int(first) + 1, ceil(last) + 1):
                day = self.usage.month + timedelta(days=number - 1)
                begin, end = (midnight(day + timedelta(days=n), self.operation.zone) for n in (0, 1))
                seconds[number] = seconds.get(number, 0) + round((min(ended, end) - max(began, begin)).total_seconds())
        return seconds


def running_gap(usage: MonthlyUsage, feed: Feed | None, operation: Operation, now: datetime) -> list[tuple[int, int]]:
    """The gap that still runs: what lies in the month of the stretch since its feed's last good poll, if that is one.

    As `usage.gaps` are: from and to, in seconds since the month began. A closed month has none.
    """
    heard = feed.last_good_poll_at if feed else None
    if feed is None or heard is None or usage.is_closed:
        return []
    until = feed.held_since or now  # what is held was heard
    if until - heard <= feed.gap_limit:
        return []
    begin, end = (midnight(month, operation.zone) for month in (usage.month, month_after(usage.month)))
    began, ended = (round((at - begin).total_seconds()) for at in (max(heard, begin), min(until, end)))
    return [(began, ended)] if began < ended else []


def seconds_of(gaps: Iterable[tuple[int, int]]) -> int:
    return sum(ended - began for began, ended in gaps)


def has_ended(month: date, operation: Operation, now: datetime) -> bool:
    """Whether the month is over in the operation's zone."""
    return now.astimezone(operation.zone).date() > month.replace(day=length_of(month))


def last_complete_day(month: date, as_of: datetime, operation: Operation, now: datetime) -> int:
    """The last day that a month's figure covers to its end: 0 on the first day."""
    if has_ended(month, operation, now):
        return length_of(month)
    return max(0, day_of(month, as_of, operation) - 1)


def day_of(month: date, as_of: datetime, operation: Operation) -> int:
    """As a day of the month, which may be below 1 or above its length."""
    return (as_of.astimezone(operation.zone).date() - month).days + 1


def unfinished_of(month: date, heard_on: int, days: int, *, is_closed: bool) -> int | None:
    """The day that a count was last heard in the middle of, or the last of `days` that the vendor tells of, if it began
    one before us. Of a closed month, not its last one.
    """
    day = max(1, heard_on, days)
    return None if is_closed and day >= length_of(month) else day


def told_at(usage: MonthlyUsage, day: int) -> Decimal | None:
    """What the month had used by the end of a day, where that was told."""
    if day == 0:
        return Decimal(0)
    return None if is_reckoned(day, usage.reckoned_days) else at(usage.to_date_by_day, day)


def is_reckoned(day: int, reckoned_days: Sequence[int]) -> bool:
    """Whether what the month had used by the end of a day was not told: it lies between two reckoned days."""
    return day in reckoned_days and day + 1 in reckoned_days


def at(by_day: Sequence[str | None], day: int) -> Decimal | None:
    text = by_day[day - 1] if day <= len(by_day) else None
    return None if text is None else Decimal(text)


def amounts(by_day: Sequence[str | None]) -> Amounts:
    return [None if text is None else Decimal(text) for text in by_day]


def licences_of(gauge: MonthlyUsage | None) -> Licences | None:
    if gauge is None:
        return None
    lowest, highest = (gauge.items if end is None else end for end in (gauge.lowest, gauge.highest))
    first = first_known(gauge.items_by_day, gauge.items)
    return Licences(gauge.items, first, amounts(gauge.items_by_day), lowest, highest)


def first_known(by_day: Sequence[str | None], default: Decimal) -> Decimal:
    return next((Decimal(items) for items in by_day if items is not None), default)


def product_months(
    usages: Iterable[MonthlyUsage],
    month: date,
    operations: dict[int, Operation],
    of_feeds: Iterable[Feed],
    now: datetime,
    *,
    corrections: Mapping[int, Sequence[Correction]] | None = None,
    comparison: Comparison | None = None,
    told_last: Mapping[OfApi, datetime] | None = None,
) -> list[ProductMonth]:
    """The rows of `month`, put beside those of the month before or of another one; each of `usages` with its product.

    `corrections` are by the id of the monthly row. Where `usages` lack products, `told_last` says when any was named.
    """
    found = {(row.operation_id, row.product_id, row.month): row for row in usages}
    feed_of = {(feed.operation_id, feed.api): feed for feed in of_feeds}
    comparison = comparison or Comparison(month, month_before(month))
    against = comparison.against
    of_month = [usage for usage in found.values() if usage.month == month]
    heard = (
        (operations[its.operation_id], its.product, its.items, its.as_of)
        for its in of_month
        if not has_ended(month, operations[its.operation_id], now)
    )
    gone = gone_of(heard, feed_of.values(), told_last)
    rows = []
    for usage in of_month:
        operation_id, product_id = usage.operation_id, usage.product_id
        if not usage.its_product.is_counted:
            continue
        before = found.get((operation_id, product_id, against))
        if before and before.its_product.is_usage != usage.its_product.is_usage:
            before = None  # it closed as the other thing, which is nothing to hold this against
        gauge, gauge_before = (its.its_product.licensed_by_id or 0 if its else 0 for its in (usage, before))
        same_before = found.get((operation_id, gauge, against))
        rows.append(
            ProductMonth(
                operation=operations[operation_id],
                product=usage.its_product,
                comparison=comparison,
                usage=usage,
                before=before,
                licences=licences_of(found.get((operation_id, gauge, month))),
                licences_before=licences_of(found.get((operation_id, gauge_before, against))),
                feed=feed_of.get((operation_id, usage.product.api)),
                now=now,
                corrections=(corrections or {}).get(usage.pk, ()),
                gone_since=gone.get((operation_id, product_id)),
                same_licences_before=same_before.items if same_before else None,
            )
        )
    return sorted(rows, key=lambda row: in_order_of(row.product))


def gone_of(
    heard: Iterable[tuple[Operation, Product, Decimal, datetime]],
    of_feeds: Iterable[Feed],
    told_last: Mapping[OfApi, datetime] | None = None,
) -> dict[tuple[int, int], date]:
    """By operation and product, of one month: until which day the vendor named those that it names no more, while it
    names others of their API. `heard` has the figure of each product that was named, and when it last was; of all
    products, unless `told_last` has when any of them was.

    It may have renamed them, and then their use counts twice: of the month to date nothing used can vanish. Of a day it
    can, so feeds that count the day are left out.
    """
    counting = {(feed.operation_id, feed.api) for feed in of_feeds if feed.counts == Feed.Counts.MONTH}
    rows = [row for row in heard if (row[0].pk, row[1].api) in counting]
    latest = dict(told_last or {})
    for operation, product, _items, at in rows:
        key = operation.pk, product.api
        latest[key] = max(at, latest.get(key, at))
    return {
        (operation.pk, product.pk): at.astimezone(operation.zone).date()
        for operation, product, items, at in rows
        if items and at < latest[operation.pk, product.api]
    }
