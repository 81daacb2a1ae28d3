"""When a feed is polled: never sooner than its interval after its last call, and shortly before each day's end."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db.models import Min

from tests.collecting.conftest import Clock
from tests.conftest import body_of, make_operation
from usage.collecting import pacing, polling
from usage.collecting.quota import importance
from usage.models import Feed, Interval, Operation, Poll
from usage.wolkvox.catalogue import APIS
from usage.wolkvox.client import BillingClient, Reply
from usage.wolkvox.errors import ServerFailed, TokenRefused
from usage.wolkvox.hand import Hand

MIDNIGHT = datetime(2026, 12, 1, 5, tzinfo=UTC)
"""When December begins in Bogotá."""


def polled(feed: Feed, chance: random.Random, *, days: int) -> list[datetime]:
    """The calls of a feed that `dispatch` looks at every 30 s and a bit, beat having been started anew now and then."""
    tick = MIDNIGHT - timedelta(days=days, seconds=chance.uniform(0, 3600))
    feed.next_due_at = tick
    calls = []
    while tick < MIDNIGHT + timedelta(hours=1):
        if feed.next_due_at <= tick + pacing.AHEAD:
            calls.append(max(tick, feed.next_due_at) + timedelta(seconds=chance.uniform(0.001, 0.2)))
            feed.next_due_at = pacing.next_on_grid(feed, calls[-1])
        tick += pacing.TICK + timedelta(seconds=chance.uniform(0, 0.01))
        if chance.random() < 0.0002:
            tick += timedelta(seconds=chance.uniform(0, 30))
    return calls


@pytest.mark.parametrize("interval", Interval.values)
@pytest.mark.parametrize("number", range(4))
def test_a_feed_keeps_its_interval_and_ends_every_day_with_a_poll(interval: int, number: int) -> None:
    chance = random.Random(number * 10_000 + interval)
    feed = Feed(operation=Operation(pk=chance.randrange(1000)), interval=interval)
    calls = polled(feed, chance, days=30 if interval > 30 else 10)
    pace = timedelta(minutes=interval)
    shortest = pace if pace <= pacing.HOUR else pace - pacing.SOON
    apart = [later - earlier for earlier, later in pairwise(calls)]
    assert min(apart[1:]) >= shortest
    assert max(apart[1:]) < 2 * pace + timedelta(minutes=2)
    assert sum(apart[1:], timedelta()) / len(apart[1:]) < 1.02 * pace + timedelta(minutes=1)
    for day in range(10 if interval <= 30 else 29):
        midnight = MIDNIGHT - timedelta(days=day)
        last = max(call for call in calls if call < midnight)
        assert midnight - last <= timedelta(seconds=90), f"day {day}"


def grid(feed: Feed, after: datetime, until: datetime) -> list[datetime]:
    times = []
    while (after := pacing.next_on_grid(feed, after)) < until:
        times.append(after)
    return times


@pytest.mark.parametrize("interval", Interval.values)
@pytest.mark.parametrize("number", range(0, 26, 5))
def test_a_poll_that_is_never_late_stays_on_the_grid(interval: int, number: int) -> None:
    feed = Feed(operation=Operation(pk=number), interval=interval)
    times = grid(feed, MIDNIGHT - timedelta(days=3, minutes=3), MIDNIGHT + timedelta(days=3))
    last = max(time for time in times if time < MIDNIGHT)
    assert timedelta(seconds=60) <= MIDNIGHT - last <= timedelta(seconds=85)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(minutes=interval)}


@pytest.mark.parametrize("interval", [5, 60, 720, 1440])
@pytest.mark.parametrize(("month", "day", "hour"), [(4, 6, 4), (9, 7, 3)])
def test_the_grid_ends_with_the_day_where_clocks_are_changed(interval: int, month: int, day: int, hour: int) -> None:
    feed = Feed(operation=Operation(pk=7, time_zone="America/Santiago"), interval=interval)
    midnight = datetime(2026, month, day, hour, tzinfo=UTC)  # after the day that had 25 or 23 hours
    times = grid(feed, midnight - timedelta(days=3, minutes=3), midnight + timedelta(minutes=1))
    assert timedelta(seconds=60) <= midnight - times[-1] <= timedelta(seconds=85)
    assert min(later - earlier for earlier, later in pairwise(times)) >= timedelta(minutes=min(interval, 60))


def test_operations_are_spread_over_the_grid() -> None:
    feeds = [Feed(operation=Operation(pk=number), interval=5) for number in (1, 2, 3)]
    assert len({pacing.next_on_grid(feed, MIDNIGHT - timedelta(minutes=3)) for feed in feeds}) == 3


@pytest.mark.parametrize("interval", [60, 180])
def test_a_feed_that_is_late_in_its_slot_loses_no_time_by_day(interval: int) -> None:
    feed = Feed(operation=Operation(pk=1), interval=interval)
    noon = pacing.on_grid(feed, MIDNIGHT - timedelta(hours=12, minutes=5), feed.pace)
    late = timedelta(seconds=80)
    after = pacing.next_on_grid(feed, noon + late) - noon
    assert after == (feed.pace + late if interval == 60 else feed.pace + late - timedelta(minutes=1))


def test_what_is_late_two_hours_before_midnight_is_back_in_its_slot_an_hour_later() -> None:
    feed = Feed(operation=Operation(pk=1), interval=60)
    last = pacing.on_grid(feed, MIDNIGHT - timedelta(minutes=2), feed.pace)
    assert pacing.next_on_grid(feed, last - timedelta(hours=2, seconds=-32)) == last


# Feeds that share a token


def feeds_that_take(**seconds: float) -> list[Feed]:
    """Of an operation that has the shortest lead."""
    operation = Operation(pk=26)
    return [
        Feed(pk=number, operation=operation, api=api, interval=60, took=int(1000 * took))
        for number, (api, took) in enumerate(seconds.items(), 1)
    ]


def leads(feeds: list[Feed]) -> dict[str, float]:
    return {feed.api: pacing.lead_of(feed, feeds).total_seconds() for feed in feeds}


def test_the_calls_of_more_important_feeds_and_an_eighth_more_find_room_before_midnight() -> None:
    feeds = feeds_that_take(interaction_licenses=4, vision=16, interactions=8)
    assert leads(feeds) == {"interactions": 60, "vision": 69, "interaction_licenses": 87}


def test_where_those_calls_fit_after_its_slot_a_feed_keeps_it() -> None:
    feeds = feeds_that_take(interactions=8, interaction_licenses=8)
    for feed in feeds:
        feed.operation = Operation(pk=26 + 9)
    assert leads(feeds) == {"interactions": 69, "interaction_licenses": 69}


def test_the_last_call_counts_for_a_quarter_of_how_long_calls_take() -> None:
    assert pacing.smoothed(0, timedelta(seconds=5)) == 5000
    assert pacing.smoothed(5000, timedelta(seconds=9)) == 6000
    assert pacing.smoothed(4000, timedelta(hours=-1)) == 3000
    assert pacing.smoothed(4000, timedelta(hours=1)) == 18_000


# Their rounds, across the end of a month


class Vendor(BillingClient):
    """Answers well, and each call takes as many seconds of the clock as it is told."""

    def __init__(self, clock: Clock, latency: Callable[[], float]) -> None:
        super().__init__(now=clock)
        self.clock, self.latency = clock, latency

    def fetch(
        self, api: str, *, server: str, token: str, began: float | None = None, hand: Hand | None = None
    ) -> Reply:
        started_at = self.clock.now
        self.clock.now += timedelta(seconds=self.latency())
        month = "2026-11" if started_at < MIDNIGHT else "2026-12"
        return Reply(body_of([(api, "7", month)]), 200, None, started_at, self.clock.now)


def operation_with(number: int, *, every: int, lead: int, due_at: datetime) -> Operation:
    """`interactions` is polled every 5 minutes, and so many feeds in all, the others at that interval."""
    operation = make_operation(pk=26_000 + lead - 60)
    Operation.objects.update(limit_due_at=MIDNIGHT + timedelta(days=1))
    lesser = [api for api in APIS if api not in ("interactions", "interaction_licenses")]
    polled = ["interactions", "interaction_licenses", *lesser][:number]
    operation.feeds.filter(api__in=polled).exclude(api="interactions").update(is_enabled=True, interval=every)
    operation.feeds.filter(is_enabled=True).update(next_due_at=due_at)
    return operation


def calls_of(operation: Operation, latency: Callable[[], float], *, since: datetime) -> dict[str, list[datetime]]:
    """When each feed is called until some time after midnight, where `dispatch` looks each half minute what is due."""
    clock = Clock(since)
    vendor = Vendor(clock, latency)

    def sleep(seconds: float) -> None:
        clock.now += timedelta(seconds=seconds)

    tick = since
    while tick < MIDNIGHT + timedelta(minutes=70):
        clock.now = max(clock.now, tick)
        polling.poll_operation(operation.pk, client=vendor, clock=clock, sleep=sleep)
        due_at: datetime = Feed.objects.filter(is_enabled=True).aggregate(at=Min("next_due_at"))["at"]
        wait = max(clock.now, due_at - pacing.AHEAD) - tick
        tick += max(1, -(-wait // pacing.TICK)) * pacing.TICK
    polls = Poll.objects.filter(outcome="good").order_by("started_at").values_list("feed__api", "started_at")
    calls: dict[str, list[datetime]] = {}
    for api, started_at in polls:
        calls.setdefault(api, []).append(started_at)
    return calls


def seconds_unseen(calls: list[datetime]) -> float:
    """From the month's last call to its end."""
    return min((MIDNIGHT - call).total_seconds() for call in calls if call < MIDNIGHT)


def skips(calls: list[datetime], interval: int) -> int:
    """How often a time was left out, after the first calls."""
    return sum(later - earlier > 1.5 * timedelta(minutes=interval) for earlier, later in pairwise(calls[1:]))


FEW_OR_QUICK = [(2, 60, 0), (2, 60, 3), (2, 60, 10), (27, 60, 1)]
MANY_AND_SLOW = [(13, 60, 5), (27, 60, 5), (27, 5, 5)]


@pytest.mark.django_db
@pytest.mark.parametrize(("number", "every", "latency"), FEW_OR_QUICK + MANY_AND_SLOW)
@pytest.mark.parametrize(("lead", "second"), [(60, 27), (85, 3)])
def test_feeds_that_share_a_token_keep_their_rhythm_and_all_end_the_month(
    number: int, every: int, latency: int, lead: int, second: int
) -> None:
    """A tick comes at that second of each half minute: almost a tick after the slot of `interactions`."""
    since = MIDNIGHT - timedelta(minutes=80 if every == 5 else 260) + timedelta(seconds=second)
    operation = operation_with(number, every=every, lead=lead, due_at=since)
    calls = calls_of(operation, lambda: latency, since=since)
    assert len(calls) == number
    feeds = {feed.api: feed for feed in operation.feeds.filter(is_enabled=True)}
    for api, feed in feeds.items():
        assert min(later - earlier for earlier, later in pairwise(calls[api])) >= feed.pace, api
        assert feed.interval < 60 or not skips(calls[api], feed.interval), api
        before = [other for other in feeds.values() if importance(other) < importance(feed)]
        in_queue = 0 if (number, every, latency) in FEW_OR_QUICK else latency * len(before)
        assert seconds_unseen(calls[api]) <= 90 + in_queue, api


@pytest.mark.django_db
@pytest.mark.parametrize("number", range(2))
def test_calls_that_are_now_slow_now_quick_cost_an_hourly_feed_a_time_a_day_at_the_most(number: int) -> None:
    chance = random.Random(number)
    since = MIDNIGHT - timedelta(hours=9, minutes=chance.uniform(10, 50))
    operation = operation_with(27, every=60, lead=chance.randrange(60, 86), due_at=since)
    calls = calls_of(operation, lambda: 5 * 2 ** chance.uniform(-1, 1), since=since)
    assert seconds_unseen(calls.pop("interactions")) <= 90
    assert len(calls) == 26
    for api, at in calls.items():
        assert min(later - earlier for earlier, later in pairwise(at)) >= timedelta(hours=1), api
        assert skips(at, 60) <= 1, api
        assert seconds_unseen(at) <= 90 + 26 * 5 * 1.3, api


@pytest.mark.parametrize(("interval", "hours"), [(1440, 14), (720, 11), (360, 5), (60, 0.9), (15, 0.15)])
def test_a_call_off_the_grid_costs_no_day_its_last_one(interval: int, hours: float) -> None:
    """As after an admin's button, or a failure: the vendor's pace of five minutes is all that has to be kept."""
    feed = Feed(operation=Operation(pk=1), interval=interval)
    last = MIDNIGHT - pacing.lead_of(feed)
    assert pacing.next_on_grid(feed, MIDNIGHT - timedelta(hours=hours)) == last
    assert pacing.next_on_grid(feed, last - timedelta(minutes=4)) > MIDNIGHT
    assert pacing.next_on_grid(feed, last) == last + timedelta(minutes=interval)


@pytest.mark.django_db
def test_no_wait_after_a_failure_leads_over_the_last_time_of_a_day(operation: Operation) -> None:
    feed = operation.feeds.select_related("operation").get(api="interactions")
    feed.failures = 6
    lead = pacing.lead_of(feed)

    def tried_again(minutes: int, retry_after: timedelta | None = None) -> timedelta:
        """Before midnight, after a call that began so many minutes before it."""
        failed_at = MIDNIGHT - timedelta(minutes=minutes)
        error = ServerFailed("Service Unavailable", http_status=503, retry_after=retry_after)
        return MIDNIGHT - pacing.due_after(error, feed, failed_at, failed_at + timedelta(seconds=1))

    assert tried_again(40) == timedelta(minutes=10)
    assert tried_again(19) == tried_again(5) == lead
    assert tried_again(2) < timedelta(), "too soon after a failure is no use either"
    assert tried_again(19, timedelta(minutes=20)) < timedelta(), "the vendor asked for it"
    refused = MIDNIGHT - timedelta(minutes=50)
    assert pacing.due_after(TokenRefused("PLEASE VALIDATE TOKEN"), feed, refused, refused) == MIDNIGHT - lead
