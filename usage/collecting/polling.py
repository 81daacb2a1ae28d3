"""Which feeds are due, the claim on a token, the call, and what becomes of it.

A token is in use by one call at a time, whoever runs. Whoever wants to call writes its claim into the operation's
row with one conditional UPDATE, renews it before every call, and shows that it still holds it in the transaction
that records. A claim that nobody gave back stands until the vendor must have let go of the call. While a claim
stands, what was heard under it waits for a database that is away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from time import monotonic
from typing import Any, TypeVar
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import F, Min, Q, QuerySet
from django.utils import timezone

from usage import disk
from usage.models import FAULT, SUPERSEDED, TOKEN_UNREADABLE, Feed, Operation, Poll
from usage.tokens import TokenUnreadable
from usage.wolkvox import answers, token_info
from usage.wolkvox.answers import Reading
from usage.wolkvox.client import BillingClient, Reply
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

from . import quota, recording
from .insisting import insist

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLAIM_LASTS = timedelta(seconds=90)
"""A request leaves within 20 s of the claim's renewal or not at all, and the vendor may work on it for 60 s. A call of
ours ends at 60 s, and a write may wait 20 s on SQLite. The rest is for the vendor to notice."""

THE_VENDOR = "the vendor"
"""Who holds the claim after a call whose answer didn't come whole."""

LEADS = range(45, 76)
"""Seconds by which the grid runs ahead of an interval's boundary; a tick of `dispatch` may take 30 of them."""

PACE = timedelta(minutes=5)
"""The vendor allows a call every 5 minutes per API (vendor-api.md)."""

SOON, SELDOM, MOST = timedelta(minutes=1), timedelta(hours=1), timedelta(minutes=30)

AT_A_TICK = timedelta(seconds=15)
"""A call that never left costs the vendor nothing: it is tried again at the next tick of `dispatch`, or the one after
it."""

NOTED_SKEW = timedelta(seconds=5)
"""A smaller change of the vendor's clock against ours is no news: its `Date` has whole seconds."""

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
CONCERNS_ALL_FEEDS = (
    TokenRefused,
    TokenUnreadable,
    QuotaExceeded,
    UnderMaintenance,
    TooManyAtOnce,
    RateLimited,
    NotReached,
    TimedOut,
)


class TokenInUse(Exception):
    """Somebody else holds the claim; what was to be polled stays due."""


class ClaimLost(Exception):
    """The claim ran out and went to somebody else: nothing may be sent or recorded under it."""


class Superseded(Exception):
    """The operation has another token or server than the call was made with: its answer may be another customer's."""


class Claim:
    """The right to call with an operation's token."""

    def __init__(self, operation_id: int) -> None:
        self.operation_id = operation_id
        self.holder = str(uuid4())
        self.stands_until = 0.0  # on the monotonic clock

    def take(self, now: datetime) -> None:
        """Raises TokenInUse."""
        free = Q(claimed_by="") | Q(claimed_at__lte=now - CLAIM_LASTS)
        if not self._take(Operation.objects.filter(free, is_active=True), now):
            raise TokenInUse

    def renew(self, now: datetime, **columns: Any) -> None:
        """Write the claim anew, and more columns of the row with it. Raises ClaimLost."""
        if not self._take(Operation.objects.filter(claimed_by=self.holder), now, **columns):
            raise ClaimLost

    def spend(self, operation: Operation, now: datetime, **columns: Any) -> None:
        """Renew it for a call, which is counted with the same UPDATE: no crash can lose one. Raises ClaimLost."""
        self.renew(now, **quota.one_more(operation, now), **columns)

    def hold(self, feed: Feed) -> Feed:
        """The feed and its operation as they are now, locked to the transaction's end, so that the claim can't go.

        The operation is locked first, as an admin's change does it. Raises ClaimLost.
        """
        feeds = Feed.objects.select_for_update(of=("operation", "self"), no_key=True).select_related("operation")
        try:
            return feeds.get(pk=feed.pk, operation__claimed_by=self.holder)
        except Feed.DoesNotExist:
            raise ClaimLost from None

    def give_back(self) -> None:
        self.insist(lambda: self._write(Operation.objects.filter(claimed_by=self.holder), "", None))

    def leave_to_vendor(self, since: datetime) -> None:
        """The vendor may still be at work on a call of that time: nobody calls until it must have let go."""
        self.insist(lambda: self._write(Operation.objects.filter(claimed_by=self.holder), THE_VENDOR, since))

    def insist(self, write: Callable[[], T]) -> T:
        """Do a write that a database which is away must not undo, as long as the claim stands."""
        return insist(write, until=self.stands_until)

    def _take(self, operations: QuerySet[Operation], now: datetime, **columns: Any) -> bool:
        began = monotonic()
        is_held = self._write(operations, self.holder, now, **columns)
        self.stands_until = began + CLAIM_LASTS.total_seconds()
        return is_held

    def _write(self, operations: QuerySet[Operation], holder: str, at: datetime | None, **columns: Any) -> bool:
        return operations.filter(pk=self.operation_id).update(claimed_by=holder, claimed_at=at, **columns) == 1


@contextmanager
def claimed(operation_id: int, now: datetime) -> Iterator[Claim]:
    claim = Claim(operation_id)
    claim.take(now)
    try:
        yield claim
    except Exception:
        claim.give_back()
        raise
    claim.give_back()


# Which


def time_has_come(now: datetime) -> Q:
    """Feeds whose time has come, and those that were polled well after now: our clock was set back."""
    return Q(next_due_at__lte=now) | Q(last_poll_at__gt=now + SOON)


def due_operations(now: datetime) -> list[int]:
    """The ids of the operations that have a feed to poll, those first that have waited longest."""
    feeds = Feed.objects.filter(time_has_come(now), is_enabled=True, operation__is_active=True)
    waiting = feeds.values("operation").annotate(since=Min("next_due_at")).order_by("since", "operation")
    return list(waiting.values_list("operation", flat=True))


def due(feeds: Iterable[Feed], now: datetime) -> list[Feed]:
    """Those of `time_has_come`."""
    return [
        feed
        for feed in feeds
        if (feed.next_due_at and feed.next_due_at <= now) or (feed.last_poll_at and feed.last_poll_at > now + SOON)
    ]


# A round


def poll_operation(
    operation_id: int,
    *,
    client: BillingClient,
    apis: list[str] | None = None,
    is_due: bool = True,
    at_pace: bool = False,
    clock: Callable[[], datetime] = timezone.now,
) -> list[Poll]:
    """Poll an operation's enabled feeds, one after another: those due, or all; those of `apis`, or of any.

    With `at_pace`, only those that the vendor lets be called again; in any case only those that the day's calls
    suffice for. A failure that concerns the token or the server ends the round. A round of what is due asks the
    vendor for its limit too, now and then. Raises TokenInUse and ClaimLost.
    """
    polls = []
    with claimed(operation_id, clock()) as claim:
        enabled = Feed.objects.filter(operation=operation_id, operation__is_active=True, is_enabled=True)
        enabled = enabled.select_related("operation")
        failing_last = F("failing_since").asc(nulls_first=True)
        schedule = {feed.pk: feed for feed in enabled.order_by(failing_last, "interval", "pk")}
        chosen = [feed for feed in schedule.values() if apis is None or feed.api in apis]
        if is_due:
            enabled, chosen = enabled.filter(time_has_come(clock())), due(chosen, clock())
        for number, listed in enumerate(chosen):
            feed = enabled.filter(pk=listed.pk).first() if number else listed
            if feed is None or (at_pace and free_at(feed, now := clock()) > now):
                continue  # switched off meanwhile, or called too short a while ago
            if waits_for_quota(feed, schedule.values(), clock(), out_of_turn=not is_due):
                continue
            poll, ends_round = poll_feed(feed, claim, client=client, clock=clock)
            schedule[feed.pk] = poll.feed
            polls.append(poll)
            if ends_round:
                break
        if is_due and polls and polls[-1].is_good:
            ask_limit(polls[-1].feed.operation, claim, client=client, clock=clock)
    return polls


def poll_feed(feed: Feed, claim: Claim, *, client: BillingClient, clock: Callable[[], datetime]) -> tuple[Poll, bool]:
    """One call, recorded. Says too whether the other feeds had better wait.

    Raises ClaimLost, and django.db.DatabaseError where nothing can be recorded; whatever else goes wrong is a poll
    that failed.
    """
    disk.require_room()
    began = monotonic()  # a process that is paused from here on sends nothing when it wakes up late
    claim.spend(feed.operation, clock())
    started_at = clock()
    try:
        reply = client.fetch(feed.api, server=feed.operation.server, token=feed.operation.token, began=began)
        readings = answers.parse(reply.body, feed.about)
        return claim.insist(lambda: keep(feed, claim, reply, readings, started_at)), False
    except ClaimLost:
        raise
    except Exception as error:
        if not isinstance(error, VendorError | TokenUnreadable | Superseded):
            logger.exception("%s: a fault of ours", feed)
        failure = error
    poll, ends_round = claim.insist(lambda: keep_failure(feed, claim, failure, started_at, clock()))
    if isinstance(failure, VendorError) and failure.is_under_way:
        claim.leave_to_vendor(started_at)
        return poll, True
    return poll, ends_round


@transaction.atomic
def keep(feed: Feed, claim: Claim, reply: Reply, readings: Sequence[Reading], started_at: datetime) -> Poll:
    """Record a good answer. Raises what `as_it_stands` raises."""
    feed = as_it_stands(feed, claim)
    poll = recording.record(feed, reply, readings)
    succeed(feed, started_at)
    note_skew(feed.operation, reply)
    return poll


def keep_failure(feed: Feed, claim: Claim, error: Exception, started_at: datetime, now: datetime) -> tuple[Poll, bool]:
    """Record a poll that told nothing. Raises ClaimLost."""
    try:
        with transaction.atomic():
            return fail(as_it_stands(feed, claim), error, started_at, now)
    except Superseded:
        return note_failure(feed, started_at, now, SUPERSEDED), True


def as_it_stands(feed: Feed, claim: Claim) -> Feed:
    """The feed and its operation as they are now, locked to the transaction's end against an admin and a closing.

    Raises ClaimLost, and Superseded where the answer is to a question that nobody asks any more.
    """
    stands = claim.hold(feed)
    asked, meant = feed.operation, stands.operation
    if (asked.token_fingerprint, asked.server) != (meant.token_fingerprint, meant.server):
        raise Superseded
    return stands


def succeed(feed: Feed, started_at: datetime) -> None:
    feed.last_poll_at = started_at
    feed.next_due_at, feed.waits_for_quota = next_on_grid(feed, started_at), False
    feed.failing_since, feed.failing_outcome, feed.failing_message, feed.failures = None, "", "", 0
    _save(feed)


def fail(feed: Feed, error: Exception, started_at: datetime, ended_at: datetime) -> tuple[Poll, bool]:
    """Record a poll that told nothing. No figure changes. Says too whether the other feeds had better wait."""
    outcome = outcome_of(error)
    feed.last_poll_at = started_at
    feed.next_due_at = due_after(error, feed, started_at, ended_at)
    feed.waits_for_quota = False
    feed.failing_since = feed.failing_since or started_at
    feed.failing_outcome = outcome
    feed.failing_message = error.message if isinstance(error, VendorError) else ""
    if is_unsent(error):
        Operation.objects.filter(pk=feed.operation_id, calls__gt=0).update(calls=F("calls") - 1)
    else:
        feed.failures += 1
    _save(feed)
    concerns_others = isinstance(error, CONCERNS_ALL_FEEDS) and not others_are_heard(feed)
    if concerns_others:
        hold_back_others(feed)
    if isinstance(error, QuotaExceeded):
        quota.doubt_limit(feed.operation, ended_at)
    poll = note_failure(feed, started_at, ended_at, outcome, error if isinstance(error, VendorError) else None)
    return poll, concerns_others


def is_unsent(error: Exception) -> bool:
    """No connection came about: the vendor heard nothing, and the fault may be any network's on the way."""
    return isinstance(error, NotReached | TimedOut) and not error.is_under_way


def outcome_of(error: Exception) -> str:
    if isinstance(error, VendorError):
        return error.outcome
    return TOKEN_UNREADABLE if isinstance(error, TokenUnreadable) else FAULT


def note_failure(
    feed: Feed, started_at: datetime, ended_at: datetime, outcome: str, error: VendorError | None = None
) -> Poll:
    logger.warning("%s on server %s: %s", feed, feed.operation.server, outcome)
    return Poll.objects.create(
        feed=feed,
        started_at=started_at,
        ended_at=max(started_at, ended_at),
        outcome=outcome,
        http_status=error.http_status if error else None,
        code=error.code if error else "",
        message=error.message if error else "",
        excerpt=error.excerpt if error else "",
    )


def _save(feed: Feed) -> None:
    feed.save(
        update_fields=[
            "last_poll_at",
            "last_good_poll_at",
            "next_due_at",
            "waits_for_quota",
            "failing_since",
            "failing_outcome",
            "failing_message",
            "failures",
        ]
    )


# When


def next_on_grid(feed: Feed, after: datetime) -> datetime:
    """The feed's next time on a grid that ends shortly before each boundary of its interval, local midnight among them.

    At least an interval after `after`, but for what a late tick of `dispatch` took.
    """
    return on_grid(feed, after + feed.pace - SOON, feed.pace)


def on_grid(feed: Feed, earliest: datetime, pace: timedelta) -> datetime:
    """The first time from `earliest` on, on the feed's grid as it is for that pace."""
    zone = feed.operation.zone
    lead = timedelta(seconds=LEADS[feed.operation_id % len(LEADS)])
    midnight = datetime.combine(earliest.astimezone(zone).date(), time.min, tzinfo=zone)
    steps = -((midnight - earliest - lead) // pace)
    return midnight + steps * pace - lead


def waits_for_quota(feed: Feed, schedule: Collection[Feed], now: datetime, *, out_of_turn: bool) -> bool:
    """Whether the day's calls don't suffice for one of this feed now. One that is polled in turn is due later then."""
    if feed.operation.call_limit is None:
        return False
    left = quota.Quota(feed.operation, now)
    if left.covers(schedule):
        return False
    if out_of_turn:
        return not left.spares(feed, schedule)
    pace = left.pace_of(feed, schedule)
    if pace is None:
        due_at = on_grid(feed, left.midnight, feed.pace)
    else:
        due_at = on_grid(feed, feed.last_poll_at + feed.pace - SOON, pace) if feed.last_poll_at else now
    if due_at <= now:
        return False
    feed.next_due_at, feed.waits_for_quota = due_at, True
    feed.save(update_fields=["next_due_at", "waits_for_quota"])
    return True


def due_after(error: Exception, feed: Feed, started_at: datetime, ended_at: datetime) -> datetime:
    """When a feed is tried again after a failure: on its grid, or after a wait that counts from the call's start."""
    if isinstance(error, WAITS_FOR_AN_ADMIN):
        return started_at + SELDOM
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


def bring_forward(operation: Operation, now: datetime, **which: object) -> None:
    """Make an operation's enabled feeds due as soon as the vendor's pace allows: all of them, or some."""
    feeds = operation.feeds.select_for_update().filter(is_enabled=True, **which)
    with transaction.atomic():
        for feed in feeds:
            feed.next_due_at = free_at(feed, now)
            feed.save(update_fields=["next_due_at"])


def note_skew(operation: Operation, reply: Reply) -> None:
    """Remember how far the vendor's clock is ahead of ours: by how much its `Date` lies outside the call."""
    if reply.vendor_clock is None:
        return
    earliest, latest = reply.started_at - timedelta(seconds=1), reply.ended_at
    outside = reply.vendor_clock - min(max(reply.vendor_clock, earliest), latest)
    if abs(outside - timedelta(seconds=operation.clock_skew)) >= NOTED_SKEW:
        Operation.objects.filter(pk=operation.pk).update(clock_skew=outside.total_seconds())


def others_are_heard(feed: Feed) -> bool:
    """Another feed of the operation was good since this one last could be: the fault is this API's alone."""
    if feed.failing_since is None:
        return False
    since = feed.failing_since - feed.pace
    others = Feed.objects.filter(operation=feed.operation_id, is_enabled=True).exclude(pk=feed.pk)
    return others.filter(last_good_poll_at__gte=since).exists()


def hold_back_others(feed: Feed) -> None:
    """The operation's other feeds wait as long: the same token, the same server, the same answer."""
    others = Feed.objects.filter(operation=feed.operation_id, next_due_at__lt=feed.next_due_at)
    others.update(next_due_at=feed.next_due_at)


# The limit


def ask_limit(operation: Operation, claim: Claim, *, client: BillingClient, clock: Callable[[], datetime]) -> None:
    """Ask the vendor how many calls a day it allows, where that is due and no feed will be in the next minutes.

    That it doesn't tell is no poll that failed: it is logged, and what was known stays. Raises ClaimLost.
    """
    now = clock()
    if not quota.limit_is_due(operation, now):
        return
    if operation.feeds.filter(is_enabled=True, next_due_at__lt=now + 2 * CLAIM_LASTS).exists():
        return
    began = monotonic()
    claim.spend(operation, now, limit_due_at=now + quota.ASK_AGAIN)
    try:
        reply = client.fetch_token_info(server=operation.server, token=operation.token, began=began)
        told = token_info.parse(reply.body)
    except (VendorError, TokenUnreadable) as error:
        logger.warning("%s: its limit of calls was not told: %s", operation, outcome_of(error))
        if isinstance(error, VendorError) and error.is_under_way:
            claim.leave_to_vendor(now)
        return
    quota.note_limit(operation, claim.holder, now, told)


def vendor() -> BillingClient:
    """A client for the vendor that the settings name."""
    return BillingClient(settings.WOLKVOX_URL)
