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
from .quota import importance

TICK = timedelta(seconds=30)
"""How often `dispatch` looks for what is due."""

AHEAD, WAIT = timedelta(seconds=2), timedelta(seconds=10)
"""`dispatch` looks a little ahead, since its ticks aren't sharp, and a round waits a little for the feed after the one
that it has just polled: a feed that is missed by a hair would be late by a whole tick."""

LEADS = range(60, 86)
"""Seconds by which the grid runs ahead of midnight, at the least."""

LATE = timedelta(seconds=90)
"""How late a feed may run on its grid by day: a tick, and some calls of others that happen to be slow."""

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


def lead_of(feed: Feed, feeds: Iterable[Feed] = ()) -> timedelta:
    """By how much a feed's grid runs ahead of midnight, where its operation polls those `feeds`.

    A token makes one call at a time. What calls of more important feeds need before midnight, and an eighth more since
    some are slow, is left to them: a feed that would not fit behind them gets a slot of its own before theirs.
    """
    before = sum(other.took for other in feeds if importance(other) < importance(feed))
    usual = timedelta(seconds=LEADS[feed.operation_id % len(LEADS)])
    return max(usual, timedelta(seconds=LEADS.start, milliseconds=before * 9 / 8))


def next_on_grid(feed: Feed, after: datetime, pace: timedelta | None = None, lead: timedelta | None = None) -> datetime:
    """The feed's next time after a call that began at `after`, on its grid or as late as that call was.

    Never sooner than its interval; one of hours may come up to a minute sooner. What runs too late leaves out a time
    and is back on the grid; in the last two hours of a day that is sooner too late. The day's last time is never left
    out, as it may be the month's: after a call that lay off the grid it comes sooner than the interval, though not than
    the vendor's pace. A longer `pace` than its own is the grid's then, and so is a longer `lead` than its operation's.
    """
    pace, lead = pace or feed.pace, lead or lead_of(feed)
    late_at_the_end = min(lead - TICK, SOON)  # half a minute before midnight, by then
    if feed.pace > HOUR:
        soonest, late = after + feed.pace - SOON, late_at_the_end
    else:
        soonest, late = after + feed.pace, max(LATE, feed.pace / 12)
    at = on_grid(feed, soonest - late, pace, lead)
    left = next_midnight(feed, at) - at
    if soonest - at > late_at_the_end and pace <= left < 2 * HOUR:
        at = on_grid(feed, soonest, pace, lead)
    at, midnight = max(at, soonest), next_midnight(feed, after + PACE + lead)
    return midnight - lead if at >= midnight else at


def on_grid(feed: Feed, earliest: datetime, pace: timedelta, lead: timedelta | None = None) -> datetime:
    """The first time from `earliest` on, on the feed's grid as it is for that pace: it ends shortly before midnight."""
    lead = lead or lead_of(feed)
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
    """When a feed is tried again after a failure: on its grid, or after a wait that counts from the call's start.

    A wait leads over no midnight: the last time of a day may be the month's. What the vendor asks for is kept to.
    """
    wait = wait_after(error, feed.failures)
    if wait is None:
        # Where a token can't be read, its key may be back at the next poll. The usual lead will do: what tells nothing
        # comes last in its round, and is back in a slot of its own with the next good poll.
        return next_on_grid(feed, started_at)
    retry_after = error.retry_after if isinstance(error, VendorError) else None
    at = max(started_at + wait, ended_at + (retry_after or timedelta()))
    last = next_midnight(feed, ended_at) - lead_of(feed)
    return min(at, last) if not retry_after and last >= ended_at + SOON else at


def wait_after(error: Exception, failures: int) -> timedelta | None:
    """How long what failed so often before waits at the least; None where its grid will do."""
    if isinstance(error, WAITS_FOR_AN_ADMIN):
        return HOUR
    if is_unsent(error):
        return AT_A_TICK
    if isinstance(error, BACKS_OFF) or not isinstance(error, VendorError | TokenUnreadable):
        return min(SOON * (1 << min(failures, 10)), MOST)
    return None


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
