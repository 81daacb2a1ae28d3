from datetime import UTC, date, datetime, timedelta

import pytest

from tests.conftest import hear, make_operation
from usage.models import Feed, Operation
from usage.presenting import feeds
from usage.presenting.feeds import State

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 19, 35, tzinfo=UTC)


def state(operation: Operation, **columns: object) -> feeds.FeedState:
    feed = Feed.objects.get(operation=operation, api="interactions")
    for name, value in columns.items():
        setattr(feed, name, value)
    return feeds.state_of(feed, operation, NOW)


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (timedelta(minutes=5), State.GOOD),
        (timedelta(minutes=12, seconds=30), State.GOOD),
        (timedelta(minutes=13), State.STALE),
    ],
)
def test_two_and_a_half_intervals_without_a_good_poll_are_stale(
    operation: Operation, heard: timedelta, expected: State
) -> None:
    assert state(operation, last_good_poll_at=NOW - heard).state == expected


def test_a_failing_feed_says_what_since_when_and_who_mends_it(operation: Operation) -> None:
    in_an_hour = {"next_due_at": NOW + timedelta(hours=1)}
    refused = state(operation, failing_since=NOW - timedelta(hours=5), failing_outcome="token_refused", **in_an_hour)
    assert refused.sentence == "Token refused since 09:35"
    assert (refused.tone, refused.who) == ("bad", "An administrator has to act. It is tried again at 15:35.")
    assert refused.explained == (
        "An administrator has to act. Paste a valid token for this operation. It is tried again at 15:35."
    )
    passing = state(operation, failing_since=NOW - timedelta(days=1), failing_outcome="maintenance", **in_an_hour)
    assert passing.sentence == "Under maintenance since 22 Nov 14:35"
    assert (passing.tone, passing.who) == ("warn", "It usually passes by itself. It is tried again at 15:35.")
    late = state(operation, failing_since=NOW, failing_outcome="maintenance", next_due_at=NOW)
    assert late.who == "It usually passes by itself. It is due to be tried again."
    assert state(operation, last_good_poll_at=NOW, **in_an_hour).who == ""


def test_a_token_that_no_key_opens_waits_for_an_administrator(operation: Operation) -> None:
    assert state(operation, failing_since=NOW, failing_outcome="token_unreadable").waits


def test_a_feed_never_heard_waits_for_its_first_figures(operation: Operation) -> None:
    assert state(operation).sentence == "First figures are on their way"


def test_a_feed_that_waits_for_the_quota_says_until_when(operation: Operation) -> None:
    until = NOW + timedelta(hours=2)
    waits = state(operation, waits_for_quota=True, next_due_at=until, last_good_poll_at=NOW - timedelta(hours=1))
    assert waits.state == State.RATIONED
    assert (waits.sentence, waits.tone, waits.who) == ("Waits until 16:35: the day's calls run short", "warn", "")
    due = state(operation, waits_for_quota=True, next_due_at=NOW, last_good_poll_at=NOW - timedelta(hours=1))
    assert due.state == State.STALE


def test_status_counts_the_calls_of_the_operations_day(operation: Operation) -> None:
    Operation.objects.update(calls=214, calls_day=date(2026, 11, 23), call_limit=320)
    its = feeds.status(Operation.objects.all(), NOW).operations[0].calls
    assert (its.used, its.limit, its.needed, its.are_short) == (214, 320, 288 + 24, True)
    Operation.objects.update(calls_day=date(2026, 11, 22), call_limit=1_000)
    its = feeds.status(Operation.objects.all(), NOW).operations[0].calls
    assert (its.used, its.are_short) == (0, False)


def test_nothing_is_trouble_where_polling_is_switched_off(operation: Operation) -> None:
    operation.is_active = False
    off = state(operation, failing_since=NOW, failing_outcome="token_refused")
    assert (off.state, off.is_trouble) == (State.OFF, False)


def test_a_feed_whose_answers_are_held_is_told_and_no_trouble(operation: Operation) -> None:
    held = state(operation, last_good_poll_at=NOW - timedelta(hours=9), held_since=NOW - timedelta(hours=8))
    assert held.sentence == "Waits until the old month and the new one can be told apart"
    assert (held.state, held.is_trouble, held.tone) == (State.HELD, False, "quiet")
    health = feeds.health_of(operation, [held.feed], NOW)
    assert (health.is_told, health.is_trouble) == (True, False)


def test_a_feed_that_behaves_otherwise_than_it_is_set_waits_for_an_administrator(operation: Operation) -> None:
    make_operation("Arauca")
    assert not state(operation, contrary_midnights=1).contrary
    Feed.objects.filter(operation=operation, api="interactions").update(contrary_midnights=2)
    status = feeds.status(Operation.objects.all(), NOW)
    assert status.operations[0].operation == operation
    assert status.contrary == 1


def test_health_is_the_worst_feed_and_counts_other_trouble_once(operation: Operation) -> None:
    polled = [Feed(api=api, interval=5, is_enabled=True, last_good_poll_at=NOW) for api in ("a", "b", "c", "d")]
    polled[1].failing_since, polled[1].failing_outcome = NOW - timedelta(hours=1), "maintenance"
    polled[2].failing_since, polled[2].failing_outcome = NOW, "token_refused"
    polled[3].failing_since, polled[3].failing_outcome = NOW, "token_refused"
    health = feeds.health_of(operation, polled, NOW)
    assert health.worst is not None
    assert (health.worst.feed.failing_outcome, health.others) == ("token_refused", 1)


def test_a_feed_that_waits_is_not_told_where_another_has_figures(operation: Operation) -> None:
    waiting = Feed(api="a", interval=5, is_enabled=True)
    heard = Feed(api="b", interval=5, is_enabled=True, last_good_poll_at=NOW)
    assert feeds.health_of(operation, [waiting, heard], NOW).worst is None
    assert feeds.health_of(operation, [waiting], NOW).worst is not None


def test_status_has_every_polled_feed_and_trouble_first(operation: Operation) -> None:
    hear(operation, "interactions", NOW - timedelta(minutes=4), ("Email", "1"), ("Chat", "2"))
    make_operation("Quito")
    Feed.objects.filter(operation__name="Quito", api="interactions").update(
        failing_since=NOW, failing_outcome="timed_out"
    )
    status = feeds.status(Operation.objects.all(), NOW)
    assert [its.operation.name for its in status.operations] == ["Quito", "Bogotá Norte"]
    assert [(row.feed.api, row.rows) for row in status.operations[1].rows] == [
        ("interactions", 2),
        ("interaction_licenses", None),
    ]
    assert (status.count, len(status.troubled)) == (4, 1)


def test_status_explains_what_fails_several_feeds_once(operation: Operation) -> None:
    polled = Feed.objects.filter(operation=operation)
    refused = {"failing_since": NOW, "failing_outcome": "token_refused", "failing_message": "FORBIDDEN"}
    polled.filter(api__in=("interactions", "interaction_licenses", "ivr_calls")).update(is_enabled=True, **refused)
    polled.filter(api="ivr_calls").update(failing_message="UNAUTHORIZED")
    polled.filter(api="vision").update(is_enabled=True, failing_since=NOW, failing_outcome="no_data")
    make_operation("Quito").feeds.filter(api="interactions").update(**refused)
    shown = [
        (row.feed.api, row.is_explained, row.message)
        for its in feeds.status(Operation.objects.all(), NOW).operations
        for row in its.rows
        if row.state.outcome
    ]
    assert shown == [
        ("interactions", True, "FORBIDDEN"),
        ("interaction_licenses", False, ""),
        ("ivr_calls", False, "UNAUTHORIZED"),
        ("vision", True, ""),
        ("interactions", True, "FORBIDDEN"),
    ]


def test_polling_is_stalled_when_a_feed_is_overdue_by_more_than_ten_minutes(operation: Operation) -> None:
    due = Feed.objects.filter(is_enabled=True)
    due.update(next_due_at=NOW - timedelta(minutes=9))
    assert not feeds.is_stalled(NOW)
    due.update(next_due_at=NOW - timedelta(minutes=11))
    assert feeds.is_stalled(NOW)
    Operation.objects.update(is_active=False)
    assert not feeds.is_stalled(NOW)
