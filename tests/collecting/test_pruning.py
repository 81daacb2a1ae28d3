from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import hear
from usage.collecting import closing
from usage.collecting.pruning import prune
from usage.models import Answer, Certificate, Feed, MonthlyUsage, Operation, Poll, Snapshot

pytestmark = pytest.mark.django_db

LONG_AGO = datetime(2026, 6, 1, 15, tzinfo=UTC)


def test_old_polls_and_answers_go_but_not_what_a_snapshot_stands_on(operation: Operation) -> None:
    for minutes in (0, 5, 10):
        hear(operation, "interactions", LONG_AGO + timedelta(minutes=minutes), ("Email", "7"))
    hear(operation, "interactions", LONG_AGO + timedelta(minutes=15), ("Email", "7", "2026-06-01"))
    hear(operation, "interactions", LONG_AGO + timedelta(days=100), ("Email", "7", "2026-09-09"))
    MonthlyUsage.objects.filter(month__month=6).update(state=MonthlyUsage.State.CLOSED, closed_at=LONG_AGO)
    assert prune(LONG_AGO + timedelta(days=101), keep_days=90) == 3
    assert Poll.objects.count() == 2
    assert set(Poll.objects.values_list("pk", flat=True)) == set(Snapshot.objects.values_list("first_poll", flat=True))
    assert Answer.objects.count() == 2


def test_nothing_young_goes(operation: Operation) -> None:
    for minutes in (0, 5):
        hear(operation, "interactions", LONG_AGO + timedelta(minutes=minutes), ("Email", "7"))
    assert prune(LONG_AGO + timedelta(days=89), keep_days=90) == 0
    assert Poll.objects.count() == 2


def test_the_polls_of_a_month_that_is_not_closed_stay(operation: Operation) -> None:
    """As after a start three months later: pruning comes before the first poll, which the closing waits for."""
    polls = [
        hear(operation, "interactions", LONG_AGO + timedelta(days=28, minutes=minutes), ("Email", "7"))
        for minutes in (0, 5, 10)
    ]
    Feed.objects.update(last_poll_at=polls[-1].started_at)
    now = LONG_AGO + timedelta(days=130)
    assert closing.close_months(now) == 0
    assert prune(now, keep_days=90) == 0
    Feed.objects.update(last_poll_at=now)
    assert closing.close_months(now) == 1
    assert Certificate.objects.get().poll == polls[-1]
    assert prune(now, keep_days=90) == 1
