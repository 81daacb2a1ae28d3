from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.conftest import make_operation
from usage.management.commands import demo
from usage.models import Interval


@pytest.mark.django_db
def test_the_history_sees_each_month_begin_and_has_a_gap_of_a_day_and_a_half_in_last_month() -> None:
    feed = make_operation().feeds.select_related("operation").get(api="interactions")
    feed.interval = Interval.TWELVE_HOURS
    times = [at.astimezone(feed.operation.zone) for at in demo.times_of(feed, datetime(2026, 11, 23, 19, tzinfo=UTC))]
    turns = [pair for pair in pairwise(times) if pair[0].month != pair[1].month]
    assert all(after - before == timedelta(minutes=2) for before, after in turns)
    assert len(turns) == 3
    (gap,) = [pair for pair in pairwise(times) if pair[1] - pair[0] > timedelta(hours=13)]
    assert [f"{at + timedelta(minutes=2):%Y-%m-%d %H}" for at in gap] == ["2026-10-11 12", "2026-10-13 00"]
