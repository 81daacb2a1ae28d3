"""When a feed is polled: never sooner than its interval after its last call, and shortly before each day's end."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from usage.collecting import pacing
from usage.models import Feed, Interval, Operation

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
    times = grid(feed, MIDNIGHT - timedelta(days=3), MIDNIGHT + timedelta(days=3))
    last = max(time for time in times if time < MIDNIGHT)
    assert timedelta(seconds=60) <= MIDNIGHT - last <= timedelta(seconds=85)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(minutes=interval)}


@pytest.mark.parametrize("interval", [5, 60, 720])
def test_the_grid_ends_with_the_day_where_clocks_are_changed(interval: int) -> None:
    feed = Feed(operation=Operation(pk=7, time_zone="America/Santiago"), interval=interval)
    midnight = datetime(2026, 4, 6, 4, tzinfo=UTC)  # after the day that had 25 hours
    times = grid(feed, midnight - timedelta(days=3), midnight + timedelta(minutes=1))
    assert timedelta(seconds=60) <= midnight - times[-1] <= timedelta(seconds=85)
    assert min(later - earlier for earlier, later in pairwise(times)) >= timedelta(minutes=min(interval, 60))


def test_operations_are_spread_over_the_grid() -> None:
    feeds = [Feed(operation=Operation(pk=number), interval=5) for number in (1, 2, 3)]
    assert len({pacing.next_on_grid(feed, MIDNIGHT) for feed in feeds}) == 3


def test_the_last_call_counts_for_a_quarter_of_how_long_calls_take() -> None:
    assert pacing.smoothed(0, timedelta(seconds=5)) == 5000
    assert pacing.smoothed(5000, timedelta(seconds=9)) == 6000
    assert pacing.smoothed(4000, timedelta(hours=-1)) == 3000
    assert pacing.smoothed(4000, timedelta(hours=1)) == 18_000
