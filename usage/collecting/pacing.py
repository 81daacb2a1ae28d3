"""When a feed is polled: on its grid, after a failure, and out of turn."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q

from usage.models import Feed
from usage.tokens import TokenUnreadable
from usage.wolkvox.errors import (
    NoData,
    NotReached,
    QuotaExceeded,
    RateLimited,
    RequestRefused,
    ServerFailed,
    TimedOut,
    TokenRefused,
    TooManyAtOnce,
    UnderMaintenance,
    VendorError,
)

from . import months

TICK = timedelta(seconds=30)
"""How often `dispatch` looks for what is due."""

AHEAD, WAIT = timedelta(seconds=2), timedelta(seconds=10)
"""`dispatch` looks a little ahead, since its ticks aren't sharp, and a round waits a little for the feed after the one
that it has just polled: a feed that is missed by a hair would be late by a whole tick."""

LEADS, LATE = range(60, 86), timedelta(seconds=45)
"""Seconds by which the grid runs ahead of midnight, and how late a feed may run on it."""

PACE = timedelta(minutes=5)
"""The vendor allows a call every 5 minutes per API (vendor-api.md)."""

SOON, HOUR, MOST = timedelta(minutes=1), timedelta(hours=1), timedelta(minutes=30)

AT_A_TICK = timedelta(seconds=15)
"""A call that never left costs the vendor nothing: it is tried again at the next tick of `dispatch`, or the one after
it."""

WAITS_FOR_AN_ADMIN = (TokenRefused, RequestRefused)
BACKS_OFF = (
    TimedOut,
    NotReached,
    ServerFailed,
    UnderMaintenance,
    RateLimited,
    TooManyAtOnce,
    QuotaExceeded,
    NoData,
)


def time_has_come(now: datetime) -> Q:
    """Feeds whose time has come, and those that were polled well after now: our clock was set back."""
    return Q(next_due_at__lte=now) | Q(last_poll_at__gt=now + SOON)


def due(feeds: Iterable[Feed], now: datetime) -> list[Feed]:
    """Those of `time_has_come`."""
    return [
        feed
        for feed in feeds
        if (feed.next_due_at and feed.next_due_at <= now) or (feed.last_poll_at and feed.last_poll_at > now + SOON)
    ]


def next_on_grid(feed: Feed, after: datetime, pace: timedelta | None = None) -> datetime:
    """The feed's next time after a call that began at `after`, on its grid or as late as that call was.

    Never sooner than its interval; one of hours may come up to a minute sooner. What runs later than a tick explains
    leaves out a time and is back on the grid, but never the last one of a day. A longer `pace` than its own is the
    grid's then.
    """
    soonest, pace = after + feed.pace, pace or feed.pace
    if feed.pace > HOUR:
        return on_grid(feed, soonest - SOON, pace)
    at = on_grid(feed, soonest - LATE, pace)
    left = next_midnight(feed, at) - at
    if soonest - at > TICK and pace <= left < 2 * HOUR:
        at = on_grid(feed, soonest, pace)
    return max(at, soonest)


def on_grid(feed: Feed, earliest: datetime, pace: timedelta) -> datetime:
    """The first time from `earliest` on, on the feed's grid as it is for that pace: it ends shortly before midnight."""
    lead = timedelta(seconds=LEADS[feed.operation_id % len(LEADS)])
    midnight = next_midnight(feed, earliest)
    if earliest > midnight - lead:
        midnight = next_midnight(feed, midnight)
    return midnight - lead - (midnight - lead - earliest) // pace * pace


def smoothed(took: int, call: timedelta) -> int:
    """How long a feed's calls take, in milliseconds, after one more: that one counts for a quarter.

    A call ends within a minute; a clock that was set during it may say anything.
    """
    last = min(max(call, timedelta()), SOON) // timedelta(milliseconds=1)
    return (3 * took + last) // 4 if took else last


def next_midnight(feed: Feed, at: datetime) -> datetime:
    zone = feed.operation.zone
    return months.begins_at(at.astimezone(zone).date() + timedelta(days=1), zone)


def due_after(error: Exception, feed: Feed, started_at: datetime, ended_at: datetime) -> datetime:
    """When a feed is tried again after a failure: on its grid, or after a wait that counts from the call's start."""
    if isinstance(error, WAITS_FOR_AN_ADMIN):
        return started_at + HOUR
    if not isinstance(error, BACKS_OFF) and isinstance(error, VendorError | TokenUnreadable):
        return next_on_grid(feed, started_at)  # where a token can't be read, its key may be back at the next poll
    wait: timedelta = AT_A_TICK if is_unsent(error) else min(SOON * 2 ** min(feed.failures, 10), MOST)
    retry_after = error.retry_after if isinstance(error, VendorError) else None
    return max(started_at + wait, ended_at + (retry_after or timedelta()))


def free_at(feed: Feed, now: datetime) -> datetime:
    """From when on a feed may be called out of turn: `now`, unless the vendor's pace or its Retry-After says later.

    What failed may be tried again at once, and so may what has a new token.
    """
    if feed.failing_outcome == RateLimited.outcome:
        return max(now, feed.next_due_at or now)
    if feed.failing_since or feed.last_poll_at is None:
        return now
    return max(now, feed.last_poll_at + PACE)


def is_unsent(error: Exception) -> bool:
    """No connection came about: the vendor heard nothing, and the fault may be any network's on the way."""
    return isinstance(error, NotReached | TimedOut) and not error.is_under_way
