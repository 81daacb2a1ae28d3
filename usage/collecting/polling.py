"""A round of polls: which feeds are due, the call, and what becomes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from time import monotonic, sleep

from django.conf import settings
from django.db import transaction
from django.db.models import F, Min
from django.utils import timezone

from usage import disk
from usage.models import FAULT, SUPERSEDED, TOKEN_UNREADABLE, Feed, Operation, Poll
from usage.tokens import TokenUnreadable
from usage.wolkvox import answers, token_info
from usage.wolkvox.answers import Reading
from usage.wolkvox.client import BillingClient, Reply
from usage.wolkvox.errors import (
    NotReached,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    TokenRefused,
    TooManyAtOnce,
    UnderMaintenance,
    VendorError,
)
from usage.wolkvox.hand import Hand

from . import pacing, quota, recording, storing
from .claims import CLAIM_LASTS, Claim, ClaimLost, claimed, feeds_as_they_stand

logger = logging.getLogger(__name__)

ENABLED = "operation_id = %s AND is_enabled AND is_active"
"""Which feeds of an operation are polled."""

NEVER = datetime.min.replace(tzinfo=UTC)

NOTED_SKEW = timedelta(seconds=5)
"""A smaller change of the vendor's clock against ours is no news: its `Date` has whole seconds."""

MOST_SKEW = 2**31 - 1
"""As many seconds as the column takes on PostgreSQL: the vendor's clock may say anything."""

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


class Superseded(Exception):
    """The operation has another token or server than the call was made with: its answer may be another customer's."""


# Which


def due_operations(now: datetime) -> list[int]:
    """The ids of the operations that have a feed to poll now or in a moment, those first that have waited longest."""
    feeds = Feed.objects.filter(pacing.time_has_come(now + pacing.AHEAD), is_enabled=True, operation__is_active=True)
    waiting = feeds.values("operation").annotate(since=Min("next_due_at")).order_by("since", "operation")
    return list(waiting.values_list("operation", flat=True))


# A round


def poll_operation(
    operation_id: int,
    *,
    client: BillingClient,
    apis: list[str] | None = None,
    is_due: bool = True,
    at_pace: bool = False,
    clock: Callable[[], datetime] = timezone.now,
    sleep: Callable[[float], object] = sleep,
) -> list[Poll]:
    """Poll an operation's enabled feeds, one after another: those due, or all; those of `apis`, or of any.

    With `at_pace`, only those that the vendor lets be called again; in any case only those that the day's calls
    suffice for. A failure that concerns the token or the server ends the round. A round of what is due asks the
    vendor for its limit too, now and then. Raises TokenInUse and ClaimLost.
    """
    polls: list[Poll] = []
    with claimed(operation_id, clock) as claim:
        schedule = {feed.pk: feed for feed in sorted(feeds_as_they_stand(ENABLED, operation_id), key=failing_last)}
        chosen = [feed for feed in schedule.values() if apis is None or feed.api in apis]
        for listed in in_turn(chosen, clock) if is_due else chosen:
            feed = as_listed(listed, clock() + pacing.WAIT if is_due else None) if polls else listed
            if feed is None or (at_pace and pacing.free_at(feed, now := clock()) > now):
                continue  # switched off meanwhile, or called too short a while ago
            if is_due:
                await_turn(feed, clock(), sleep)
            if waits_for_quota(feed, schedule.values(), clock(), out_of_turn=not is_due):
                continue
            lead = pacing.lead_of(feed, schedule.values())
            poll, ends_round = poll_feed(feed, claim, client=client, clock=clock, lead=lead)
            schedule[feed.pk] = poll.feed
            polls.append(poll)
            if ends_round:
                break
        if is_due and polls and polls[-1].is_good:
            ask_limit(polls[-1].feed.operation, claim, client=client, clock=clock)
    return polls


def failing_last(feed: Feed) -> tuple[object, ...]:
    """`interactions` first, then what is polled often, then what has waited long; what fails after all that doesn't."""
    is_lesser = feed.api != "interactions"
    return feed.failing_since or NEVER, is_lesser, feed.interval, feed.next_due_at or NEVER, quota.importance(feed)


def in_turn(feeds: Iterable[Feed], clock: Callable[[], datetime]) -> Iterator[Feed]:
    """Those that are due or will be in a moment, until there are none. A round ends: each has one turn in it."""
    waiting = list(feeds)
    while due := pacing.due(waiting, (now := clock()) + pacing.WAIT):
        feed = min(due, key=lambda feed: (max(feed.next_due_at or now, now), *failing_last(feed)))
        waiting.remove(feed)
        yield feed


def as_listed(listed: Feed, due: datetime | None) -> Feed | None:
    """The feed as it stands after the call of another, unless it is to be polled no more, or not by then."""
    feeds = feeds_as_they_stand(f"{ENABLED} AND usage_feed.id = %s", listed.operation_id, listed.pk)
    return next(iter(pacing.due(feeds, due) if due else feeds), None)


def await_turn(feed: Feed, now: datetime, sleep: Callable[[float], object]) -> None:
    """Wait for a feed that is due in a moment, so that it never runs sooner than its interval."""
    if feed.next_due_at and now < feed.next_due_at <= now + pacing.WAIT:
        sleep((feed.next_due_at - now).total_seconds())


def poll_feed(
    feed: Feed,
    claim: Claim,
    *,
    client: BillingClient,
    clock: Callable[[], datetime],
    lead: timedelta | None = None,
) -> tuple[Poll, bool]:
    """One call, recorded. Says too whether the other feeds had better wait. `lead` is that of the feed's grid.

    Raises ClaimLost, and django.db.DatabaseError where nothing can be recorded; whatever else goes wrong is a poll
    that failed.
    """
    with Hand() as hand:
        return call(feed, claim, hand, client=client, clock=clock, lead=lead)


def call(
    feed: Feed,
    claim: Claim,
    hand: Hand,
    *,
    client: BillingClient,
    clock: Callable[[], datetime],
    lead: timedelta | None,
) -> tuple[Poll, bool]:
    """Where this has returned, nothing of the answer is left in memory: no error is kept that leads back to it."""
    disk.require_room()
    began = monotonic()  # a process that is paused from here on sends nothing when it wakes up late
    claim.spend(feed.operation, clock())
    started_at, reply = clock(), None
    try:
        operation = feed.operation
        reply = client.fetch(feed.api, server=operation.server, token=operation.token, began=began, hand=hand)
        readings = answers.parse(reply.body, feed.about, retry_after=reply.retry_after)
        return claim.insist(lambda: keep(feed, claim, reply, readings, started_at, lead=lead)), False
    except ClaimLost:
        raise
    except Exception as error:
        if not isinstance(error, VendorError | TokenUnreadable | Superseded):
            logger.exception("%s: a fault of ours", feed)
        return miss(feed, claim, error, started_at, clock, reply=reply)


def miss(
    feed: Feed,
    claim: Claim,
    error: Exception,
    started_at: datetime,
    clock: Callable[[], datetime],
    *,
    reply: Reply | None,
) -> tuple[Poll, bool]:
    """Record a call that told nothing."""
    poll, ends_round = claim.insist(lambda: keep_failure(feed, claim, error, started_at, clock(), reply=reply))
    if isinstance(error, VendorError) and error.is_under_way:
        claim.leave_to_vendor(started_at)
        return poll, True
    return poll, ends_round


@transaction.atomic
def keep(
    feed: Feed, claim: Claim, reply: Reply, readings: Sequence[Reading], started_at: datetime, *, lead: timedelta | None
) -> Poll:
    """Record a good answer. Raises what `as_it_stands` raises."""
    feed = as_it_stands(feed, claim)
    poll = recording.record(feed, reply, readings)
    succeed(feed, started_at, took=reply.ended_at - started_at, lead=lead)
    note_skew(feed.operation, reply)
    return poll


def keep_failure(
    feed: Feed, claim: Claim, error: Exception, started_at: datetime, now: datetime, *, reply: Reply | None
) -> tuple[Poll, bool]:
    """Record a poll that told nothing, but maybe what its vendor's clock said. Raises ClaimLost."""
    try:
        with transaction.atomic():
            stands = as_it_stands(feed, claim)
            if reply:
                note_skew(stands.operation, reply)
            return fail(stands, error, started_at, now)
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


def succeed(feed: Feed, started_at: datetime, *, took: timedelta = timedelta(), lead: timedelta | None = None) -> None:
    feed.last_poll_at = started_at
    feed.next_due_at, feed.waits_for_quota = pacing.next_on_grid(feed, started_at, lead=lead), False
    feed.took = pacing.smoothed(feed.took, took)
    feed.failing_since, feed.failing_outcome, feed.failing_message, feed.failures = None, "", "", 0
    _save(feed)


def fail(feed: Feed, error: Exception, started_at: datetime, ended_at: datetime) -> tuple[Poll, bool]:
    """Record a poll that told nothing. No figure changes. Says too whether the other feeds had better wait."""
    outcome = outcome_of(error)
    feed.last_poll_at = started_at
    feed.next_due_at = pacing.due_after(error, feed, started_at, ended_at)
    feed.waits_for_quota = False
    feed.failing_since = feed.failing_since or started_at
    feed.failing_outcome = outcome
    feed.failing_message = error.message if isinstance(error, VendorError) else ""
    if pacing.is_unsent(error):
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
        was_sent=error is None or not pacing.is_unsent(error),
    )


def _save(feed: Feed) -> None:
    storing.save(
        feed,
        "last_poll_at",
        "last_good_poll_at",
        "heard_interval",
        "next_due_at",
        "waits_for_quota",
        "failing_since",
        "failing_outcome",
        "failing_message",
        "failures",
        "took",
    )


# Waiting


def waits_for_quota(feed: Feed, schedule: Collection[Feed], now: datetime, *, out_of_turn: bool) -> bool:
    """Whether the day's calls don't suffice for one of this feed now. One that is polled in turn is due later then."""
    if feed.operation.call_limit is None:
        return False
    left = quota.Quota(feed.operation, now)
    if left.covers(schedule):
        return False
    if out_of_turn:
        return not left.spares(feed, schedule)
    pace, lead = left.pace_of(feed, schedule), pacing.lead_of(feed, schedule)
    if pace is None:
        due_at = pacing.on_grid(feed, left.midnight, feed.pace, lead)
    else:
        due_at = pacing.next_on_grid(feed, feed.last_poll_at, pace, lead) if feed.last_poll_at else now
    if due_at <= now:
        return False
    feed.next_due_at, feed.waits_for_quota = due_at, True
    feed.save(update_fields=["next_due_at", "waits_for_quota"])
    return True


def bring_forward(operation: Operation, now: datetime, **which: object) -> None:
    """Make an operation's enabled feeds due as soon as the vendor's pace allows: all of them, or some."""
    feeds = operation.feeds.select_for_update().filter(is_enabled=True, **which)
    with transaction.atomic():
        for feed in feeds:
            feed.next_due_at = pacing.free_at(feed, now)
            feed.save(update_fields=["next_due_at"])


def note_skew(operation: Operation, reply: Reply) -> None:
    """Remember how far the vendor's clock is ahead of ours: by how much its `Date` lies outside the call."""
    if reply.vendor_clock is None:
        return
    earliest, latest = reply.started_at - timedelta(seconds=1), reply.ended_at
    outside = reply.vendor_clock - min(max(reply.vendor_clock, earliest), latest)
    if abs(outside - timedelta(seconds=operation.clock_skew)) >= NOTED_SKEW:
        seconds = min(max(round(outside.total_seconds()), -MOST_SKEW), MOST_SKEW)
        Operation.objects.filter(pk=operation.pk).update(clock_skew=seconds)


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
    """Ask the vendor how many calls a day it allows, where that is due, no feed will be in the next minutes, and no
    poll of any operation is late: what is asked once a day has time.

    That it doesn't tell is no poll that failed: it is logged, and what was known stays. Raises ClaimLost.
    """
    now = clock()
    if not quota.limit_is_due(operation, now):
        return
    if operation.feeds.filter(is_enabled=True, next_due_at__lt=now + 2 * CLAIM_LASTS).exists() or are_polls_late(now):
        return
    began = monotonic()
    claim.spend(operation, now, {"limit_due_at = %s": now + quota.ASK_AGAIN})
    with Hand() as hand:
        try:
            reply = client.fetch_token_info(server=operation.server, token=operation.token, began=began, hand=hand)
            told = token_info.parse(reply.body)
        except (VendorError, TokenUnreadable) as error:
            logger.warning("%s: its limit of calls was not told: %s", operation, outcome_of(error))
            if isinstance(error, VendorError) and error.is_under_way:
                claim.leave_to_vendor(now)
            return
        quota.note_limit(operation, claim.holder, now, told)


def are_polls_late(now: datetime) -> bool:
    """Whether feeds have waited for longer than a tick: the workers are busy. What waits for an hour is stuck."""
    late = (now - pacing.HOUR, now - pacing.TICK)
    return Feed.objects.filter(is_enabled=True, operation__is_active=True, next_due_at__range=late).exists()


def vendor() -> BillingClient:
    """A client for the vendor that the settings name, through the proxy that they name."""
    return client_of(settings.WOLKVOX_URL, proxy=settings.WOLKVOX_PROXY)


client_of = cache(BillingClient)
