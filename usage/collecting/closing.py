"""Closing a month: its figures are sealed, and a certificate says what each of them stands on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from math import ceil

from django.db import OperationalError, transaction
from django.db.models import Max, Min

from usage.models import (
    DIGITS,
    GOOD,
    KEPT_OF_A_PRODUCT,
    PLACES,
    Certificate,
    DailyUsage,
    Feed,
    MonthlyUsage,
    Operation,
    Poll,
    Snapshot,
)

from . import folding, months, rebuilding, recording
from .claims import feeds_as_they_stand

logger = logging.getLogger(__name__)

GRACE = timedelta(hours=24)
"""How long after its end a month stays closing when no poll of the next month comes."""

LATEST = timedelta(hours=24)
"""How far back from the last good poll the busiest stretch is looked for."""

MOST = Decimal(10) ** (DIGITS - PLACES) - 1
"""No figure of the vendor's can be larger: its answer would be refused."""


class NotClosed(Exception):
    """Some months that should be can't be closed, and the log says why; the others are."""


@dataclass(frozen=True)
class _Pace:
    """How quickly a product was used: so many items in so many seconds."""

    name: Certificate.Pace
    items: Decimal
    seconds: int


def close_months(now: datetime) -> int:
    """Move every month that has ended to closing, and to closed where its figures are final.

    A feed's month closes once the feed has been read in a later month, by a call that began there, or GRACE after its
    end, if it was tried since. Where the vendor's clock is behind ours, a month ends by the vendor's. Returns how many
    feeds' months were closed. Raises NotClosed, after all that can be were.
    """
    unfinished = (
        MonthlyUsage.objects.exclude(state=MonthlyUsage.State.CLOSED)
        .filter(month__lt=months.first_of((now + months.BOUNDARY).date()))
        .order_by("operation", "product__api", "month")
        .values_list("operation", "product__api", "month")
        .distinct()
    )
    closed, failed = 0, []
    for operation_id, api, month in list(unfinished):
        try:
            closed += end_month(operation_id, api, month, now)
        except OperationalError:
            raise  # the database is away, for all of them
        except Exception:
            failed.append(f"{month:%Y-%m} of {api} of operation {operation_id}")
            logger.exception("%s can't be closed", failed[-1])
    if failed:
        raise NotClosed(f"can't be closed, see the log: {', '.join(failed)}")
    return closed


def end_month(operation_id: int, api: str, month: date, now: datetime) -> bool:
    """Move a feed's month to closing, or to closed: says whether it was closed."""
    with transaction.atomic():
        # Locked with its operation, as a poll does it: settling writes to both.
        [feed] = feeds_as_they_stand("operation_id = %s AND api = %s", operation_id, api, is_locked=True)
        end = months.begins_at(months.next_month(month), feed.operation.zone)
        there = now + min(timedelta(seconds=feed.operation.clock_skew), timedelta())
        if there < end:
            return False
        of_feed = MonthlyUsage.objects.filter(operation=operation_id, product__api=api)
        is_over = there >= end + GRACE and not _is_untried(feed, since=end)
        if not is_over and not of_feed.filter(month__gt=month, as_of__gte=end).exists():
            of_feed.filter(month=month, state=MonthlyUsage.State.OPEN).update(state=MonthlyUsage.State.CLOSING)
            return False
        if feed.held_since and feed.held_since < end + GRACE:
            recording.settle(feed)
            feed.save(update_fields=["last_good_poll_at", "heard_interval"])
        gaps = months.gaps_of(feed, month, heard_last=feed.last_good_poll_at)
        closed_at = max(now, feed.last_good_poll_at or now)  # what was heard stands, by whichever machine's clock
        rows = list(of_feed.filter(month=month).exclude(state=MonthlyUsage.State.CLOSED).select_related("product"))
        if not rows:
            return False  # closed by somebody else since it was listed
        begun = feed.snapshots.filter(month=months.next_month(month), first_seen__gt=max(row.as_of for row in rows))
        begun_at = begun.aggregate(at=Min("first_seen"))["at"]
        for row in rows:
            _seal(row, feed.operation, gaps, closed_at)
            _certify(row, feed, end, begun_at)
        return True


def _is_untried(feed: Feed, since: datetime) -> bool:
    """Whether a feed that is polled has not been since then: our clock may have jumped, which a call will show."""
    is_polled = feed.is_enabled and feed.operation.is_active
    return is_polled and feed.last_poll_at is not None and feed.last_poll_at < since


def _seal(row: MonthlyUsage, operation: Operation, gaps: list[list[int]], closed_at: datetime) -> None:
    product = row.product
    row.state, row.closed_at = MonthlyUsage.State.CLOSED, closed_at
    row.gaps, row.gap_seconds = gaps, months.seconds_of(gaps)
    for name in KEPT_OF_A_PRODUCT:
        setattr(row, f"closed_{name}", getattr(product, name))
    row.closed_zone = operation.time_zone
    row.save()


def _certify(row: MonthlyUsage, feed: Feed, end: datetime, begun_at: datetime | None) -> None:
    """`begun_at` is when the new month was first told of."""
    heard = row.as_of
    if (feed.operation.reset_after or 0) > 0:
        end += timedelta(seconds=feed.operation.reset_before or 0)  # the old month is known to go on after our midnight
    boundary = end if heard < end and not (begun_at and begun_at < end) else begun_at or heard
    seconds = max(0, ceil((boundary - heard).total_seconds()))
    at_midnights = _unheard_at_midnights(row, feed) if row.product.is_usage else 0
    paces = _paces(row, feed, at_midnights) if row.product.is_usage else []
    quickest = max(paces, key=lambda pace: pace.items / pace.seconds, default=None)
    poll = _poll_behind(row, feed)
    Certificate.objects.create(
        usage=row,
        poll=poll,
        last_good_poll_at=heard,
        seconds_unheard=seconds,
        seconds_at_midnights=at_midnights,
        most_unseen=_at_most(quickest.items * (seconds + at_midnights) / quickest.seconds, row.items)
        if quickest
        else None,
        pace=quickest.name if quickest else Certificate.Pace.UNKNOWN,
        pace_items=quickest.items if quickest else None,
        pace_seconds=quickest.seconds if quickest else None,
        answer_sha256=poll.answer.sha256 if poll and poll.answer else "",
    )


def _poll_behind(row: MonthlyUsage, feed: Feed) -> Poll | None:
    """The last good poll behind a figure. A new figure names its poll, whose clock may have been set back meanwhile."""
    polls = feed.polls.filter(outcome=GOOD, is_held=False).select_related("answer")
    new = feed.snapshots.filter(product=row.product_id, month=row.month, first_seen=row.as_of)
    return (
        polls.filter(pk__in=new.values("first_poll")).first()
        or polls.filter(started_at__lte=row.as_of).order_by("-started_at", "-pk").first()
    )


def _unheard_at_midnights(row: MonthlyUsage, feed: Feed) -> int:
    """Of a product whose days are counted each from nothing, the seconds at the end of its days, but for the last one,
    of which nothing was told any more: what was used in them is in no figure. Of a day without a row those of gaps,
    unless the vendor names all days of the month, and left it out for want of use.
    """
    counted = feed.snapshots.filter(product=row.product_id, month=row.month, counts_day=True)
    last = counted.aggregate(day=Max("day"))["day"]
    if last is None:
        return 0
    names_all = row.product_id in rebuilding.named_day_by_day(counted)
    zone, begin = feed.operation.zone, months.begins_at(row.month, feed.operation.zone)
    days = DailyUsage.objects.filter(operation=feed.operation_id, product=row.product_id)
    heard = dict(days.filter(day__gte=row.month, day__lt=last).values_list("day", "as_of"))
    seconds = 0.0
    for number in range((last - row.month).days):
        day = row.month + timedelta(days=number)
        began, ended = ((months.begins_at(its, zone) - begin).total_seconds() for its in (day, day + timedelta(days=1)))
        if day in heard:
            seconds += max(0, ended - (heard[day] - begin).total_seconds())
        elif not names_all:
            seconds += sum(max(0, min(until, ended) - max(since, began)) for since, until in row.gaps)
    return ceil(seconds)


def _paces(row: MonthlyUsage, feed: Feed, at_midnights: int) -> list[_Pace]:
    """The month's mean over what was heard of it, and that of each stretch lately in which the figure grew."""
    begin = months.begins_at(row.month, feed.operation.zone)
    heard = round((row.as_of - begin).total_seconds()) - at_midnights
    paces = [_Pace(Certificate.Pace.MEAN, row.items, max(1, heard))]
    shown = list(
        Snapshot.objects.filter(feed=feed, product=row.product_id, month=row.month, last_seen__gt=row.as_of - LATEST)
        .order_by("first_seen", "pk")
        .values_list("day", "items", "counts_day", "first_seen", "last_seen")
    )
    for (day, before, _, _, left), (next_day, after, counts_day, came, _) in pairwise(shown):
        gained = after if counts_day and next_day != day else after - before
        if gained > 0 and came > left:
            paces.append(_Pace(Certificate.Pace.BUSIEST, gained, max(1, round((came - left).total_seconds()))))
    return paces


def _at_most(items: Decimal, like: Decimal) -> Decimal:
    """Rounded up to what the product is counted in, and no more than a figure can be."""
    step = folding.ONE if like == like.to_integral_value() else folding.LEAST
    return min(items, MOST).quantize(step, ROUND_CEILING)
