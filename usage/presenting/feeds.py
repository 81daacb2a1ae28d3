"""How the feeds are doing, and what to tell of it: on Status all of it, elsewhere only trouble."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext as _

from usage import disk
from usage.models import GOOD, Feed, Operation, OperationQuerySet, Poll

from . import words

TOLD_SKEW = timedelta(minutes=1)
"""From how far on the vendor's clock and ours are said to differ."""

STALLED_AFTER = timedelta(minutes=10)
"""How long a feed may be overdue before polling as a whole counts as stalled."""

CONTRARY_MIDNIGHTS = 2
"""At how many midnights in a row a feed must behave otherwise than it is set before that is said."""


STATED = (
    "is_enabled",
    "next_due_at",
    "last_good_poll_at",
    "heard_interval",
    "failing_since",
    "failing_outcome",
    "held_since",
    "waits_for_quota",
)
"""What the state of a feed is told from, beside its interval."""


class State(StrEnum):
    """Worst first."""

    FAILING = "failing"
    STALE = "stale"
    RATIONED = "rationed"
    HELD = "held"
    WAITING = "waiting"
    OFF = "off"
    GOOD = "good"


@dataclass(frozen=True)
class FeedState:
    feed: Feed
    operation: Operation
    state: State
    now: datetime

    @property
    def outcome(self) -> words.Words | None:
        """Why it fails, in words."""
        return words.of_outcome(self.feed.failing_outcome) if self.state == State.FAILING else None

    @property
    def waits(self) -> bool:
        """It stays as it is until an administrator acts."""
        return bool(self.outcome and self.outcome.waits)

    @property
    def tone(self) -> str:
        """The class of its colour."""
        if self.waits:
            return "bad"
        return "warn" if self.is_trouble else "good" if self.state == State.GOOD else "quiet"

    @property
    def is_trouble(self) -> bool:
        return self.state in (State.FAILING, State.STALE, State.RATIONED)

    @property
    def sentence(self) -> str:
        if self.outcome:
            since = self._moment(self.feed.failing_since)
            return _("%(what)s since %(time)s") % {"what": self.outcome.title, "time": since}
        if self.state == State.STALE:
            return _("Nothing heard since %(time)s") % {"time": self._moment(self.feed.last_good_poll_at)}
        if self.state == State.RATIONED:
            until = self._moment(self.feed.next_due_at)
            return _("Waits until %(time)s: the day's calls run short") % {"time": until}
        return {
            State.HELD: _("Waits until the old month and the new one can be told apart"),
            State.WAITING: _("First figures are on their way"),
            State.OFF: _("Polling is switched off"),
            State.GOOD: _("Good"),
        }[self.state]

    @property
    def outlook(self) -> str:
        """Whether what failed passes by itself."""
        return self.outcome.outlook if self.outcome else ""

    @property
    def who(self) -> str:
        """Whether it passes by itself, and when it is tried again: for those who can do nothing about it."""
        return f"{self.outlook} {self.again}".strip()

    @property
    def explained(self) -> str:
        """Whether it passes by itself, what to do, and when it is tried again."""
        return f"{self.outcome.explained if self.outcome else ''} {self.again}".strip()

    @property
    def again(self) -> str:
        """When what failed is tried again. What waits for the quota says so in its sentence."""
        if self.state != State.FAILING or self.feed.next_due_at is None:
            return ""
        if self.feed.next_due_at <= self.now:
            return _("It is due to be tried again.")
        return _("It is tried again at %(time)s.") % {"time": self._moment(self.feed.next_due_at)}

    @property
    def contrary(self) -> str:
        """What to do about figures that behave otherwise than the feed is set; empty where they don't."""
        return words.contrary(self.feed) if self.feed.contrary_midnights >= CONTRARY_MIDNIGHTS else ""

    @property
    def rank(self) -> tuple[bool, int, datetime]:
        since = self.feed.failing_since or self.feed.last_good_poll_at or self.now
        return not self.waits, list(State).index(self.state), since

    def _moment(self, at: datetime | None) -> str:
        return words.moment(at or self.now, self.operation.zone, self.now)


def state_of(feed: Feed, operation: Operation, now: datetime) -> FeedState:
    if not operation.is_active or not feed.is_enabled:
        state = State.OFF
    elif feed.failing_since:
        state = State.FAILING
    elif feed.waits_for_quota and feed.next_due_at and feed.next_due_at > now:
        state = State.RATIONED
    elif feed.held_since:
        state = State.HELD
    elif feed.last_good_poll_at is None:
        state = State.WAITING
    elif now - feed.last_good_poll_at > feed.gap_limit:
        state = State.STALE
    else:
        state = State.GOOD
    return FeedState(feed, operation, state, now)


@dataclass(frozen=True)
class Health:
    """An operation's feeds in one: what is to be told of them, if anything, and how many others are in other trouble.

    That a feed waits for its first figures is told only where no other has any, that one is switched off where all are.
    """

    worst: FeedState | None
    others: int
    heard: datetime | None

    @property
    def is_trouble(self) -> bool:
        return self.worst is not None and self.worst.is_trouble

    @property
    def rank(self) -> tuple[bool, int, datetime]:
        """The worst first; what has nothing to tell, last."""
        return self.worst.rank if self.worst else (True, len(State), datetime.max.replace(tzinfo=UTC))

    @property
    def is_told(self) -> bool:
        """Whether a page that has figures has something to say of the feeds."""
        return self.worst is not None and self.worst.state != State.WAITING


def health_of(operation: Operation, feeds: Iterable[Feed], now: datetime) -> Health:
    feeds = list(feeds)
    told_by = [feed for feed in feeds if feed.is_enabled] or feeds
    heard = max((feed.last_good_poll_at for feed in told_by if feed.last_good_poll_at), default=None)
    states = [state_of(feed, operation, now) for feed in told_by]
    telling = [state for state in states if state.is_trouble or state.state in (State.HELD, State.OFF) or not heard]
    worst = min(telling, key=lambda state: state.rank, default=None)
    others = [state for state in states if state.is_trouble and worst and not _is_same(state, worst)]
    return Health(worst, len(others), heard)


def _is_same(state: FeedState, other: FeedState) -> bool:
    """The same trouble: one refused token fails every feed of its operation."""
    return (state.state, state.feed.failing_outcome) == (other.state, other.feed.failing_outcome)


def troubles_of(operation: Operation, feeds: Iterable[Feed], now: datetime) -> list[FeedState]:
    """Each trouble of an operation's feeds once, the worst first."""
    found: list[FeedState] = []
    for state in sorted((state_of(feed, operation, now) for feed in feeds), key=lambda state: state.rank):
        if state.is_trouble and not any(_is_same(state, other) for other in found):
            found.append(state)
    return found


# Status


@dataclass(frozen=True)
class StatusRow:
    """A feed's state, and how many rows its last good poll had.

    What fails several feeds of an operation `is_explained` at the first of them, and `message`, the vendor's own words
    or ours, is empty where it stands above.
    """

    state: FeedState
    rows: int | None
    is_explained: bool
    message: str

    @property
    def feed(self) -> Feed:
        return self.state.feed


@dataclass(frozen=True)
class Calls:
    """An operation's calls to the vendor: `used` today, and `needed` a day by the schedule. None where not known."""

    used: int
    limit: int | None
    budget: int | None
    needed: int

    @property
    def are_short(self) -> bool:
        return self.budget is not None and self.needed > self.budget

    @property
    def reserve(self) -> int:
        return (self.limit or 0) - (self.budget or 0)

    @property
    def sentence(self) -> str:
        said = _("Calls to the vendor today: %(used)s of %(limit)s. The schedule needs %(needed)s a day.")
        if self.limit is None:
            said = _(
                "Calls to the vendor today: %(used)s. The schedule needs %(needed)s a day; the vendor's limit isn't "
                "known."
            )
        figures = {"used": self.used, "limit": self.limit or 0, "needed": self.needed}
        return said % {name: words.number(figure) for name, figure in figures.items()}


def calls_of(operation: Operation, polled: Iterable[Feed], now: datetime) -> Calls:
    """What the day's calls of an operation come to, with the feeds that are polled of it."""
    used = operation.calls_on(now.astimezone(operation.zone).date())
    needed = sum(feed.calls_a_day for feed in polled)
    return Calls(used, operation.call_limit, operation.call_budget, needed)


@dataclass(frozen=True)
class OperationStatus:
    operation: Operation
    rows: Sequence[StatusRow]
    now: datetime

    @property
    def calls(self) -> Calls:
        return calls_of(self.operation, [row.feed for row in self.rows], self.now)

    @property
    def urgency(self) -> tuple[bool, bool, bool]:
        """What an administrator must look at comes first, then other trouble."""
        waits = self.is_another or any(row.state.waits or row.state.contrary for row in self.rows)
        return not waits, not any(row.state.is_trouble for row in self.rows), not self.is_another

    @property
    def clock(self) -> str:
        """How far the vendor's clock is from ours, where that is worth a word."""
        skew = self.operation.clock_skew
        return words.skew(skew) if abs(skew) >= TOLD_SKEW.total_seconds() else ""

    @property
    def is_another(self) -> bool:
        """The vendor has answered under another name: the token may be another customer's."""
        return bool(self.operation.other_vendor_name)


@dataclass(frozen=True)
class Status:
    operations: Sequence[OperationStatus]

    @property
    def count(self) -> int:
        return len(self.states)

    @property
    def states(self) -> list[FeedState]:
        return [row.state for status in self.operations for row in status.rows]

    @property
    def troubled(self) -> list[FeedState]:
        """Worst first."""
        return sorted((state for state in self.states if state.is_trouble), key=lambda state: state.rank)

    @property
    def good(self) -> int:
        """How many feeds are heard as they should be."""
        return sum(state.state == State.GOOD for state in self.states)

    @property
    def contrary(self) -> int:
        """How many feeds behave otherwise than they are set."""
        return sum(bool(state.contrary) for state in self.states)


def status(operations: OperationQuerySet, now: datetime) -> Status:
    """Every enabled feed, by operation, those in trouble first: two queries."""
    polls = Poll.objects.filter(feed=OuterRef("pk"), outcome=GOOD).order_by("-started_at", "-id")
    feeds = (
        Feed.objects.filter(operation__in=operations, is_enabled=True)
        .annotate(last_rows=Subquery(polls.values("rows")[:1]))
        .order_by("operation", "interval", "id")
    )
    found: dict[int, tuple[Operation, list[StatusRow]]] = {
        operation.pk: (operation, []) for operation in operations.defer("token_encrypted")
    }
    for feed in feeds:
        if feed.operation_id not in found:
            continue  # added a moment ago
        operation, rows = found[feed.operation_id]
        state = state_of(feed, operation, now)
        above = [row.state for row in rows if _is_same(row.state, state)]
        is_said = any(other.feed.failing_message == feed.failing_message for other in above)
        rows.append(StatusRow(state, feed.last_rows, not above, "" if is_said else feed.failing_message))
    return Status(sorted((OperationStatus(*its, now) for its in found.values()), key=lambda its: its.urgency))


def what_is_wrong(now: datetime) -> str:
    """What keeps all of the polling up, in a sentence, or nothing."""
    if disk.is_full():
        return words.disk_is_full()
    return _("Polling has stalled.") if is_stalled(now) else ""


def is_stalled(now: datetime) -> bool:
    """Some feed is overdue by more than any queue would explain."""
    overdue = Feed.objects.filter(is_enabled=True, operation__is_active=True, next_due_at__lt=now - STALLED_AFTER)
    return overdue.exists()
