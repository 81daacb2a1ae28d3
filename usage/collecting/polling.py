"""Which feeds are due, the claim on a token, the call, and what becomes of it.

A token is in use by one call at a time, whoever runs. Whoever wants to call writes its claim into the operation's
row with one conditional UPDATE, renews it before every call, and shows that it still holds it in the transaction
that records. A claim that nobody gave back stands until the vendor must have let go of the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from uuid import uuid4

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F, Min, Q, QuerySet
from django.utils import timezone

from usage.models import FAULT, SUPERSEDED, TOKEN_UNREADABLE, Feed, Operation, Poll
from usage.tokens import TokenUnreadable
from usage.wolkvox import answers
from usage.wolkvox.client import BillingClient
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

from . import recording

logger = logging.getLogger(__name__)

CLAIM_LASTS = timedelta(seconds=90)
"""A call ends at 60 s, a write may wait 20 s on SQLite; the rest is for the vendor to notice."""

LEADS = range(45, 76)
"""Seconds by which the grid runs ahead of an interval's boundary; a tick of `dispatch` may take 30 of them."""

PACE = timedelta(minutes=5)
"""The vendor allows a call every 5 minutes per API (vendor-api.md)."""

SOON, SELDOM, MOST = timedelta(minutes=1), timedelta(hours=1), timedelta(minutes=30)

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

    def take(self, now: datetime) -> None:
        """Raises TokenInUse."""
        free = Q(claimed_by="") | Q(claimed_at__lte=now - CLAIM_LASTS)
        if not self._write(Operation.objects.filter(free, is_active=True), self.holder, now):
            raise TokenInUse

    def renew(self, now: datetime) -> None:
        """Raises ClaimLost."""
        if not self._write(Operation.objects.filter(claimed_by=self.holder), self.holder, now):
            raise ClaimLost

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
        self._write(Operation.objects.filter(claimed_by=self.holder), "", None)

    def _write(self, operations: QuerySet[Operation], holder: str, at: datetime | None) -> bool:
        return operations.filter(pk=self.operation_id).update(claimed_by=holder, claimed_at=at) == 1


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


def due_operations(now: datetime) -> list[int]:
    """The ids of the operations that have a feed to poll, those first that have waited longest."""
    feeds = Feed.objects.filter(is_enabled=True, next_due_at__lte=now, operation__is_active=True)
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
) -> list[Poll]:
    """Poll an operation's enabled feeds, one after another: those due, or all; those of `apis`, or of any.

    With `at_pace`, only those that the vendor lets be called again. A failure that concerns the token or the
    server ends the round. Raises TokenInUse and ClaimLost.
    """
    polls = []
    with claimed(operation_id, clock()) as claim:
        feeds = Feed.objects.filter(operation=operation_id, operation__is_active=True, is_enabled=True)
        if apis is not None:
            feeds = feeds.filter(api__in=apis)
        if is_due:
            feeds = feeds.filter(next_due_at__lte=clock())
        failing_last = F("failing_since").asc(nulls_first=True)
        feeds = feeds.select_related("operation").order_by(failing_last, "interval", "pk")
        for number, due in enumerate(feeds):
            feed = feeds.filter(pk=due.pk).first() if number else due
            if feed is None or (at_pace and free_at(feed, now := clock()) > now):
                continue  # switched off meanwhile, or called too short a while ago
            poll, ends_round = poll_feed(feed, claim, client=client, clock=clock)
            polls.append(poll)
            if ends_round:
                break
    return polls


def poll_feed(feed: Feed, claim: Claim, *, client: BillingClient, clock: Callable[[], datetime]) -> tuple[Poll, bool]:
    """One call, recorded. Says too whether the other feeds had better wait.

    Raises ClaimLost, and django.db.DatabaseError where nothing can be recorded; whatever else goes wrong is a poll
    that failed.
    """
    claim.renew(clock())
    started_at = clock()
    try:
        reply = client.fetch(feed.api, server=feed.operation.server, token=feed.operation.token)
        readings = answers.parse(reply.body, feed.about)
        with transaction.atomic():
            feed = as_it_stands(feed, claim)
            poll = recording.record(feed, reply, readings)
            succeed(feed, started_at)
        return poll, False
    except (ClaimLost, DatabaseError):
        raise
    except Exception as error:
        if not isinstance(error, VendorError | TokenUnreadable | Superseded):
            logger.exception("%s: a fault of ours", feed)
        try:
            with transaction.atomic():
                feed = as_it_stands(feed, claim)
                return fail(feed, error, started_at, clock())
        except Superseded:
            return note_failure(feed, started_at, clock(), SUPERSEDED), True


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
    feed.next_due_at = next_on_grid(feed, started_at)
    feed.failing_since, feed.failing_outcome, feed.failing_message, feed.failures = None, "", "", 0
    _save(feed)


def fail(feed: Feed, error: Exception, started_at: datetime, ended_at: datetime) -> tuple[Poll, bool]:
    """Record a poll that told nothing. No figure changes. Says too whether the other feeds had better wait."""
    outcome = outcome_of(error)
    wait = wait_after(error, feed)
    feed.last_poll_at = started_at
    feed.next_due_at = ended_at + wait if wait else next_on_grid(feed, started_at)
    feed.failing_since = feed.failing_since or started_at
    feed.failing_outcome = outcome
    feed.failing_message = error.message if isinstance(error, VendorError) else ""
    feed.failures += 1
    _save(feed)
    concerns_others = isinstance(error, CONCERNS_ALL_FEEDS) and not others_are_heard(feed)
    if concerns_others:
        hold_back_others(feed)
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
    )


def _save(feed: Feed) -> None:
    feed.save(
        update_fields=[
            "last_poll_at",
            "last_good_poll_at",
            "next_due_at",
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
    zone = feed.operation.zone
    lead = timedelta(seconds=LEADS[feed.operation_id % len(LEADS)])
    earliest = after + feed.pace - SOON
    midnight = datetime.combine(earliest.astimezone(zone).date(), time.min, tzinfo=zone)
    steps = -((midnight - earliest - lead) // feed.pace)
    return midnight + steps * feed.pace - lead


def wait_after(error: Exception, feed: Feed) -> timedelta | None:
    """How long a feed waits after a failure: None keeps it on its grid."""
    retry_after = error.retry_after if isinstance(error, VendorError) else None
    if isinstance(error, WAITS_FOR_AN_ADMIN):
        return SELDOM
    if not isinstance(error, BACKS_OFF) and isinstance(error, VendorError | TokenUnreadable):
        return None  # of a token that can't be read nothing is sent: its key may be back at the next poll
    wait: timedelta = min(SOON * 2 ** min(feed.failures, 10), MOST)
    return max(wait, retry_after or wait)


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


def vendor() -> BillingClient:
    """A client for the vendor that the settings name."""
    return BillingClient(settings.WOLKVOX_URL)
