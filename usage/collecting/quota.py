"""The vendor's calls a day: what is counted of them, and which feeds wait so that a day stays inside its limit.

While the schedule fits, nothing waits. Where it doesn't, or what is left of the day runs short, each feed keeps its
last poll of the day, and the rest goes to `interactions` first, then to other usage, those polled most often first, and
then to licences: the feeds behind keep a longer interval. When the vendor's day begins is not known, so no feed is
polled more often than a whole day's calls allow either: any 24 hours are then as good as another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, datetime, timedelta

from django.db.models import F, Sum

from usage.models import Feed, Interval, MonthlyUsage, Operation, Poll
from usage.wolkvox.catalogue import Kind
from usage.wolkvox.token_info import TokenInfo

from . import months

ASK_AGAIN, ASK_SOONER = timedelta(days=1), timedelta(hours=1)

CALLS_A_LICENCE = 1_000
"""As seen in programs that use the API (vendor-api.md): for want of the vendor's own word."""

Count = Callable[[Feed, int], int]


# What is counted


def day_of(operation: Operation, at: datetime) -> date:
    return at.astimezone(operation.zone).date()


def one_more(operation: Operation, now: datetime) -> dict[str, date]:
    """What counts a call, to be written with the claim before it leaves (`storing.update`)."""
    today = day_of(operation, now)
    return {"calls = CASE WHEN calls_day = %s THEN calls + 1 ELSE 1 END": today, "calls_day = %s": today}


def limit_is_due(operation: Operation, now: datetime) -> bool:
    """Whether to ask the vendor for its limit: seldom, and never with the last calls of the day."""
    budget = operation.call_budget
    has_calls = budget is None or operation.calls_on(day_of(operation, now)) < budget
    return has_calls and (operation.limit_due_at is None or operation.limit_due_at <= now)


def note_limit(operation: Operation, holder: str, asked_at: datetime, told: TokenInfo) -> None:
    """Keep what the vendor told, unless the claim went or the token was replaced meanwhile.

    What it counted beyond our own calls of the last 24 hours, all that its day can hold of them, others have made. One
    that never reached it is none of ours.
    """
    today = day_of(operation, asked_at)
    midnight = months.begins_at(today, operation.zone)
    polls = Poll.objects.filter(feed__operation=operation, started_at__gte=asked_at - timedelta(days=1), was_sent=True)
    ours = operation.calls_on(today) + 1 + polls.filter(started_at__lt=midnight).count()
    asked = Operation.objects.filter(pk=operation.pk, claimed_by=holder, token_fingerprint=operation.token_fingerprint)
    asked.update(call_limit=told.limit, calls=F("calls") + max(0, told.used - ours))


def doubt_limit(operation: Operation, now: datetime) -> None:
    """The vendor says that its calls are used up: ask again what it allows, when it answers again."""
    Operation.objects.filter(pk=operation.pk, limit_due_at__gt=now + ASK_SOONER).update(limit_due_at=now + ASK_SOONER)


def likely_limit(operation: Operation) -> int | None:
    """What the licences that were told last would allow, None where there are none."""
    told = MonthlyUsage.objects.filter(operation=operation, product__api="interaction_licenses")
    licences = told.values("month").order_by("-month").values_list(Sum("items"), flat=True).first()
    return int(licences) * CALLS_A_LICENCE if licences else None


# Who waits


def importance(feed: Feed) -> tuple[bool, bool, int, int]:
    """The most important feed comes first."""
    return feed.api != "interactions", feed.about.kind is not Kind.USAGE, feed.interval, feed.pk


class Quota:
    """What is left, at `now`, of an operation's calls of the day. It must have a limit."""

    def __init__(self, operation: Operation, now: datetime) -> None:
        today = day_of(operation, now)
        self.now = now
        self.midnight = months.begins_at(today + timedelta(days=1), operation.zone)
        self.limit = operation.call_limit or 0
        self.budget = operation.call_budget or 0
        self.used = operation.calls_on(today)

    def covers(self, feeds: Collection[Feed]) -> bool:
        """Whether all feeds can keep their interval, on any day and to the end of this one, with a call to spare."""
        if sum(feed.calls_a_day for feed in feeds) > self.budget:
            return False
        return self.used + 1 + sum(self._calls_left(feed, feed.interval) for feed in feeds) <= self.budget

    def spares(self, feed: Feed, feeds: Collection[Feed]) -> bool:
        """Whether a call of it, out of turn, leaves enough for the more important feeds to end the day."""
        before = [other for other in feeds if importance(other) < importance(feed)]
        return self.used + 1 + sum(self._calls_left(other, other.interval) for other in before) <= self.limit

    def pace_of(self, feed: Feed, feeds: Collection[Feed]) -> timedelta | None:
        """The interval that a feed can keep, its own or a longer one; None where the day has no call left for it.

        For its last poll of the day a feed may draw on the reserve. The most important one makes it in any case: at
        the worst the vendor refuses it.
        """
        last = [other for other in feeds if self._calls_left(other, Interval.DAY)]
        if sum(importance(other) < importance(feed) for other in last) >= max(1, self.limit - self.used):
            return None
        on_any_day = _shared(feeds, self.budget, lambda _, interval: Interval.DAY // interval)
        today = _shared(feeds, self.budget - self.used, self._calls_left)
        return timedelta(minutes=max(on_any_day[feed.pk], today[feed.pk]))

    def _calls_left(self, feed: Feed, interval: int) -> int:
        """How often it is polled until midnight, from when it is due."""
        due_at = max(self.now, feed.next_due_at or self.now)
        return max(0, -((due_at - self.midnight) // timedelta(minutes=interval)))


def _shared(feeds: Collection[Feed], calls: int, count: Count) -> dict[int, int]:
    """The interval of each feed, in minutes, where so many calls are shared out: first its last of the day to each."""
    intervals = {}
    spare = calls - sum(min(1, count(feed, Interval.DAY)) for feed in feeds)
    for feed in sorted(feeds, key=importance):
        longer = (minutes for minutes in Interval.values if minutes >= feed.interval)
        kept = next((minutes for minutes in longer if count(feed, minutes) - 1 <= spare), Interval.DAY)
        spare -= max(0, count(feed, kept) - 1)
        intervals[feed.pk] = int(kept)
    return intervals
