"""The claim on a token, which is in use by one call at a time, whoever runs.

Whoever wants to call writes its claim into the operation's row with one conditional UPDATE, renews it before every
call, and shows that it still holds it in the transaction that records. A claim that nobody gave back stands until the
vendor must have let go of the call. While a claim stands, what was heard under it waits for a database that is away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic
from types import MappingProxyType
from typing import TypeVar
from uuid import uuid4

from django.db import connection

from usage.models import Feed, Operation

from . import quota, storing
from .insisting import insist

T = TypeVar("T")

Assignments = Mapping[str, object]
"""More to write with a claim, as `storing.update` takes it."""

IS_OURS = "claimed_by = %s"

CLAIM_LASTS = timedelta(seconds=90)
"""A request leaves within 20 s of the claim's renewal or not at all, and the vendor may work on it for 60 s. A call of
ours ends at 60 s, and a write may wait 20 s on SQLite. The rest is for the vendor to notice."""

THE_VENDOR = "the vendor"
"""Who holds the claim after a call whose answer didn't come whole."""


class TokenInUse(Exception):
    """Somebody else holds the claim; what was to be polled stays due."""


class ClaimLost(Exception):
    """The claim ran out and went to somebody else: nothing may be sent or recorded under it."""


class Claim:
    """The right to call with an operation's token."""

    def __init__(self, operation_id: int) -> None:
        self.operation_id = operation_id
        self.holder = str(uuid4())
        self.stands_until = 0.0  # on the monotonic clock

    def take(self, clock: Callable[[], datetime]) -> None:
        """Raises TokenInUse."""
        now, is_free = clock(), "is_active AND (claimed_by = '' OR claimed_at <= %s)"
        if not self._take(now, {}, is_free, now - CLAIM_LASTS):
            self._set_back(clock)
            raise TokenInUse

    def spend(self, operation: Operation, now: datetime, more: Assignments = MappingProxyType({})) -> None:
        """Renew it for a call, which is counted with the same UPDATE: no crash can lose one. Raises ClaimLost."""
        if not self._take(now, {**quota.one_more(operation, now), **more}, IS_OURS, self.holder):
            raise ClaimLost

    def hold(self, feed: Feed) -> Feed:
        """The feed and its operation as they are now, locked to the transaction's end, so that the claim can't go.

        The operation is locked first, as an admin's change does it. Raises ClaimLost.
        """
        held = feeds_as_they_stand("usage_feed.id = %s AND claimed_by = %s", feed.pk, self.holder, is_locked=True)
        if not held:
            raise ClaimLost
        return held[0]

    def give_back(self) -> None:
        self.insist(lambda: self._write("", None, {}, IS_OURS, self.holder))

    def leave_to_vendor(self, since: datetime) -> None:
        """The vendor may still be at work on a call of that time: nobody calls until it must have let go."""
        self.insist(lambda: self._write(THE_VENDOR, since, {}, IS_OURS, self.holder))

    def insist(self, write: Callable[[], T]) -> T:
        """Do a write that a database which is away must not undo, as long as the claim stands."""
        return insist(write, until=self.stands_until)

    def _set_back(self, clock: Callable[[], datetime]) -> None:
        """A claim of long after now was written before our clock was set back: it lasts from now, whoever holds it.

        Which claim stands is asked before the time, and no other one is touched: who is paused in between knows a time
        of long ago, and would end a claim that somebody is calling under.
        """
        operation = Operation.objects.filter(pk=self.operation_id)
        for holder, since in operation.values_list("claimed_by", "claimed_at"):
            now = clock()
            if since and since > now + CLAIM_LASTS:
                operation.filter(claimed_by=holder, claimed_at=since).update(claimed_at=now)

    def _take(self, now: datetime, more: Assignments, where: str, *values: object) -> bool:
        began = monotonic()
        is_held = self._write(self.holder, now, more, where, *values)
        self.stands_until = began + CLAIM_LASTS.total_seconds()
        return is_held

    def _write(self, holder: str, at: datetime | None, more: Assignments, where: str, *values: object) -> bool:
        assignments = {"claimed_by = %s": holder, "claimed_at = %s": at, **more}
        return storing.update(Operation, assignments, f"id = %s AND {where}", self.operation_id, *values) == 1


def feeds_as_they_stand(where: str, *values: object, is_locked: bool = False) -> list[Feed]:
    """Feeds with their operations; locked, where the database locks rows, the operation first."""
    rest = f"usage_feed JOIN usage_operation ON usage_operation.id = operation_id WHERE {where}"
    if is_locked and connection.features.has_select_for_update:
        rest += " FOR NO KEY UPDATE OF usage_operation, usage_feed"
    feeds = []
    for feed, operation in storing.select_with(Feed, Operation, rest, *values):
        feed.operation = operation
        feeds.append(feed)
    return feeds


@contextmanager
def claimed(operation_id: int, clock: Callable[[], datetime]) -> Iterator[Claim]:
    claim = Claim(operation_id)
    claim.take(clock)
    try:
        yield claim
    except Exception:
        claim.give_back()
        raise
    claim.give_back()
