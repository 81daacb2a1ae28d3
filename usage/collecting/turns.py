"""The turn of a month, or of a day where a feed counts the day: which of the two an undated figure is of.

The vendor's zone is not known for sure, so within RESET of our midnight the clock can't tell, and the figures must:
a count that began anew is small, and one that went on is not. What they can't tell either is held, until a later
answer or the end of that time shows where the count fell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from itertools import pairwise

from django.db.models import QuerySet

from usage.models import DailyUsage, Feed, MonthlyUsage, Operation, Product

from . import months
from .rows import DailyRow, Figure, MonthlyRow

RESET = timedelta(hours=6, minutes=30)
"""How far from our midnight the vendor may begin a month: six hours, its clock's error and the length of a call."""

SELDOM = timedelta(hours=6)
"""From polls further apart than this, days can't be told to begin anew or to go on."""

PEAK = 10
"""By how much use may run ahead of the mean pace so far: a busy hour, a campaign."""

DOUBT = 3
"""A fall to more than this many times what can have been used since is no new count. What grew by more, and by more
than a tenth of itself, may be one."""

LEAST_DOUBT = 10

Figures = Mapping[int, Decimal]
"""What an answer told of usage products, by product."""


class Side(Enum):
    OLD = auto()
    NEW = auto()
    UNSURE = auto()


@dataclass(frozen=True)
class Turn:
    """A boundary that is near: the first day of what begins there, and on which side of it an answer's figures are."""

    begins: date
    side: Side

    def day(self, today: date) -> date:
        return max(today, self.begins) if self.side is Side.NEW else min(today, self.begins - timedelta(days=1))


def near(feed: Feed, clock: datetime) -> date | None:
    """The first day of the month (or day) whose boundary is so near that the clock can't tell the side."""
    old, new = ((clock + by).astimezone(feed.operation.zone).date() for by in (-RESET, RESET))
    if feed.counts == Feed.Counts.MONTH:
        old, new = months.first_of(old), months.first_of(new)
    return new if old != new else None


@dataclass(frozen=True)
class Told:
    """What the last answer about a month (or day) told of usage products, and when it was heard."""

    figures: Figures
    heard: datetime


def told_about(feed: Feed, begins: date) -> tuple[Told | None, Told | None]:
    """What was told last of the month (or day) before `begins`, and of the one that begins; None where nothing was."""
    of_feed = {
        "operation": feed.operation_id,
        "product__api": feed.api,
        "product__kind": Product.Kind.USAGE,
        "product__is_counted": True,
    }
    day = begins - timedelta(days=1)
    rows: list[tuple[date, int, Decimal | None, datetime]]
    if feed.counts == Feed.Counts.DAY:
        days = DailyUsage.objects.filter(**of_feed, day__in=(day, begins))
        rows = list(days.values_list("day", "product", "items", "as_of"))
    else:
        day = months.first_of(day)
        its_months = MonthlyUsage.objects.filter(**of_feed, month__in=(day, begins))
        rows = list(its_months.values_list("month", "product", "items", "as_of"))
    return _last_of(rows, day), _last_of(rows, begins)


def _last_of(rows: Sequence[tuple[date, int, Decimal | None, datetime]], since: date) -> Told | None:
    """A product that the last answer was silent about tells nothing: the vendor may have given it another name."""
    heard = max((as_of for day, _, _, as_of in rows if day == since), default=None)
    if heard is None:
        return None
    return Told({row[1]: row[2] or Decimal(0) for row in rows if (row[0], row[3]) == (since, heard)}, heard)


def turn_of(feed: Feed, figures: Figures, clock: datetime) -> Turn | None:
    """What undated figures at `clock` are of; None where the clock alone tells.

    Where nothing was told of either side, what was learned of the vendor's midnight tells.
    """
    begins = near(feed, clock)
    if begins is None or not figures:
        return None
    before, begun = told_about(feed, begins)
    if before is None:
        side = Side.NEW if begun else side_learned(feed, begins, clock)
        return None if side is Side.UNSURE else Turn(begins, side)
    old = begins - timedelta(days=1)
    since = months.begins_at(old if feed.counts == Feed.Counts.DAY else months.first_of(old), feed.operation.zone)
    span = before.heard - since
    if begun and begun.heard > before.heard:
        is_back = is_back_at(before.figures, begun.figures, figures, span=span, unheard=clock - begun.heard)
        return Turn(begins, Side.OLD if is_back else Side.NEW)
    side = side_of(before.figures, figures, span=span, unheard=clock - before.heard)
    # What stands as before may have fallen and grown again meanwhile: only a deep fall ends the holding.
    return Turn(begins, Side.UNSURE if feed.held_since and side is Side.OLD else side)


def is_back_at(before: Figures, begun: Figures, now: Figures, *, span: timedelta, unheard: timedelta) -> bool:
    """Whether the old count stands again where it stood: what `begun` told, `unheard` ago, was a slip of the vendor's.

    A new count that came up to it would have passed through what lies between.
    """
    told = sum(before.values())
    since_then = most_used(told, span=span, unheard=unheard)
    stands = {product: now.get(product, Decimal(0)) for product in before}
    gained = sum(items - begun.get(product, Decimal(0)) for product, items in stands.items())
    return (
        all(stands[product] >= items for product, items in before.items())
        and sum(stands.values()) - told <= since_then + LEAST_DOUBT
        and gained > DOUBT * since_then + LEAST_DOUBT
    )


def side_of(before: Figures, now: Figures, *, span: timedelta, unheard: timedelta) -> Side:
    """On which side of a boundary `now` is: `unheard` ago, the count stood at `before`, `span` after its start.

    A product that is told of no more counts as nothing.
    """
    told = sum(before.values())
    telling = sum(now.get(product, Decimal(0)) for product, items in before.items() if items)
    if not told:
        return Side.UNSURE if any(now.values()) else Side.OLD
    since_then = most_used(told, span=span, unheard=unheard)
    if telling >= told:
        is_likely = float(telling - told) <= DOUBT * since_then + float(told) / 10
        return Side.OLD if told > since_then and is_likely else Side.UNSURE
    if telling <= since_then:
        return Side.NEW
    if telling > told / 2 and telling > DOUBT * since_then + LEAST_DOUBT:
        return Side.OLD
    return Side.UNSURE


def most_used(told: Decimal | int, *, span: timedelta, unheard: timedelta) -> float:
    """The most that a count can have gained in `unheard`, if it came to `told` in `span`: its peak and some chance."""
    pace = float(told) / max(span, timedelta(hours=1)).total_seconds()
    expected = PEAK * pace * max(unheard, timedelta()).total_seconds()
    return expected + 4 * math.sqrt(expected)


def fall_in(told: Sequence[Figures]) -> int | None:
    """How many of the answers came before the count fell deepest; None where it never fell."""
    kept = [_kept(before, now) for before, now in pairwise(told)]
    deepest = min(kept, default=1.0)
    return kept.index(deepest) + 1 if deepest < 1 else None


def _kept(before: Figures, now: Figures) -> float:
    """The part of what was told before that is still there."""
    told = sum(before.values())
    stayed = sum(min(items, now.get(product, Decimal(0))) for product, items in before.items())
    return float(stayed / told) if told else 1.0


# What is learned of the vendor


def side_learned(feed: Feed, begins: date, at: datetime) -> Side:
    """On which side an answer of that time is by what is known of the vendor's midnight."""
    since = (at - months.begins_at(begins, feed.operation.zone)).total_seconds()
    after, before = feed.operation.reset_after, feed.operation.reset_before
    if after is not None and since <= after:
        return Side.OLD
    return Side.NEW if before is not None and since >= before else Side.UNSURE


def learn_reset(feed: Feed, begins: date, *, heard_at: datetime, told_at: datetime) -> None:
    """Narrow down when the vendor begins its months: after `heard_at`, by the old one's last poll, before `told_at`.

    What contradicts all that was seen before replaces it: the time zone was changed, or the vendor's was.
    """
    boundary = months.begins_at(begins, feed.operation.zone)
    after, before = (round((at - boundary).total_seconds()) for at in (heard_at, told_at))
    if before <= after or after > RESET.total_seconds() or before < -RESET.total_seconds():
        return
    known = feed.operation
    if known.reset_after is not None and known.reset_before is not None:
        narrowed = max(after, known.reset_after), min(before, known.reset_before)
        if narrowed == (known.reset_after, known.reset_before):
            return
        after, before = narrowed if narrowed[0] < narrowed[1] else (after, before)
    known.reset_after, known.reset_before = after, before
    Operation.objects.filter(pk=known.pk).update(reset_after=after, reset_before=before)


def watch(
    feed: Feed,
    figures: Sequence[Figure],
    now: datetime,
    rows: Mapping[tuple[int, date], MonthlyRow],
    days: Mapping[tuple[int, date], DailyRow],
) -> None:
    """Notice a feed that counts the other thing than it is set to, before its figures are folded onto the rows.

    One set to the month begins anew each day; one set to the day goes on over midnight. Once may be chance.
    """
    usage = [figure for figure in figures if figure.product.is_usage]
    if feed.pace > SELDOM or len({figure.day for figure in usage}) != 1:
        return
    day, month = usage[0].day, usage[0].month
    told = {figure.product.id: figure.items for figure in usage}
    is_first = not any((product, day) in days for product in told)
    count = feed.contrary_midnights

    def yesterday() -> QuerySet[DailyUsage]:
        return DailyUsage.objects.filter(
            operation=feed.operation_id, product__api=feed.api, day=day - timedelta(days=1), day__gte=month
        )

    if feed.counts == Feed.Counts.MONTH:
        before = {product: row.items for product in told if (row := rows.get((product, month)))}
        begins = months.begins_at(month, feed.operation.zone)
        if any(figure.counts_day for figure in usage) or not before or feed.last_good_poll_at is None:
            return
        if sum(told.values()) < sum(before.values()):
            heard = feed.last_good_poll_at
            if side_of(before, told, span=heard - begins, unheard=now - heard) is Side.NEW:
                count = count + 1 if yesterday().filter(is_restated=True).exists() else 1
        elif count and is_first and not yesterday().filter(is_restated=True).exists():
            count = 0
    elif is_first and now < months.begins_at(day, feed.operation.zone) + RESET + max(feed.pace, timedelta(hours=1)):
        before = {product: items or Decimal(0) for product, items in yesterday().values_list("product", "items")}
        if total := sum(before[product] for product in before.keys() & told):
            count = count + 1 if sum(told.values()) >= total else 0
    if count != feed.contrary_midnights:
        feed.contrary_midnights = count
        Feed.objects.filter(pk=feed.pk).update(contrary_midnights=count)
