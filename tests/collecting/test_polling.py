from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.test import override_settings

from tests.collecting.conftest import NOON, Clock, due_at, feed_of, give_token
from tests.wolkvox.conftest import Proxy
from usage.collecting import operations, pacing, polling
from usage.collecting.claims import CLAIM_LASTS, Claim, ClaimLost, TokenInUse
from usage.collecting.pacing import AT_A_TICK
from usage.forms import TOKEN_COLUMNS
from usage.models import (
    FAULT,
    SUPERSEDED,
    TOKEN_UNREADABLE,
    DailyUsage,
    Feed,
    Interval,
    MonthlyUsage,
    Operation,
    Poll,
    Snapshot,
)
from usage.wolkvox.client import BillingClient, Reply
from usage.wolkvox.errors import NotReached
from usage.wolkvox.hand import Hand
from usage.wolkvox.simulator import Simulator, provoking

pytestmark = pytest.mark.django_db

# A round


def test_due_feeds_are_polled_one_after_another(
    operation: Operation, client: BillingClient, clock: Clock, simulator: Simulator
) -> None:
    polls = polling.poll_operation(operation.pk, client=client, clock=clock)
    assert [(poll.feed.api, poll.outcome) for poll in polls] == [
        ("interactions", "good"),
        ("interaction_licenses", "good"),
    ]
    assert Snapshot.objects.count() == polls[0].rows + polls[1].rows
    assert MonthlyUsage.objects.filter(as_of=NOON).count() == Snapshot.objects.count()
    assert max(simulator.most_at_once.values()) == 1


def test_a_round_polls_nothing_that_is_not_due(operation: Operation, client: BillingClient, clock: Clock) -> None:
    polling.poll_operation(operation.pk, client=client, clock=clock)
    assert polling.due_operations(clock()) == []
    assert polling.poll_operation(operation.pk, client=client, clock=clock) == []
    clock.now = due_at(feed_of(operation))
    assert polling.due_operations(clock()) == [operation.pk]
    polls = polling.poll_operation(operation.pk, client=client, clock=clock)
    assert [poll.feed.api for poll in polls] == ["interactions"]


def test_a_round_takes_in_what_comes_due_meanwhile_and_each_feed_once(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    operation.feeds.filter(api="interactions").update(next_due_at=NOON)
    operation.feeds.filter(api="interaction_licenses").update(next_due_at=NOON + timedelta(minutes=4))
    operation.feeds.filter(api="vision").update(is_enabled=True, next_due_at=NOON + timedelta(minutes=14))

    def take_five_minutes() -> None:
        clock.now += timedelta(minutes=5)

    polls = polling.poll_operation(operation.pk, client=Meanwhile(client, take_five_minutes), clock=clock)
    assert [poll.feed.api for poll in polls] == ["interactions", "interaction_licenses"]
    assert due_at(feed_of(operation)) <= clock.now, "it is due again: that is the next round's"


def test_what_is_due_goes_before_what_will_be_in_a_moment(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    operation.feeds.filter(api="interactions").update(next_due_at=NOON + timedelta(seconds=4))
    operation.feeds.filter(api="interaction_licenses").update(next_due_at=NOON)
    slept: list[float] = []
    polls = polling.poll_operation(operation.pk, client=client, clock=clock, sleep=slept.append)
    assert [poll.feed.api for poll in polls] == ["interaction_licenses", "interactions"]
    assert slept == [4]


def test_of_those_that_are_due_interactions_go_first_then_what_has_waited_longest(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    for minutes, api in enumerate(("interactions", "vision", "ivr_calls", "interaction_licenses")):
        operation.feeds.filter(api=api).update(
            is_enabled=True, interval=Interval.HOUR, next_due_at=NOON - timedelta(minutes=minutes)
        )
    polls = polling.poll_operation(operation.pk, client=client, clock=clock)
    assert [poll.feed.api for poll in polls] == ["interactions", "interaction_licenses", "ivr_calls", "vision"]


def test_how_long_good_calls_take_is_kept(operation: Operation, client: BillingClient, clock: Clock) -> None:
    class Slow(BillingClient):
        def fetch(
            self, api: str, *, server: str, token: str, began: float | None = None, hand: Hand | None = None
        ) -> Reply:
            reply = client.fetch(api, server=server, token=token, began=began)
            clock.now += timedelta(seconds=8)
            return replace(reply, ended_at=clock.now)

    for what in ("", "maintenance"):
        if what:
            give_token(operation, what)
        polling.poll_operation(operation.pk, client=Slow(), clock=clock, apis=["interactions"])
        assert feed_of(operation).took == 8000
        clock.now = due_at(feed_of(operation))


def test_a_round_may_be_kept_to_some_apis(operation: Operation, client: BillingClient, clock: Clock) -> None:
    polls = polling.poll_operation(
        operation.pk, client=client, clock=clock, apis=["interaction_licenses"], is_due=False
    )
    assert [poll.feed.api for poll in polls] == ["interaction_licenses"]


def test_an_operation_that_is_not_active_is_not_polled(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    Operation.objects.update(is_active=False)
    assert polling.due_operations(clock()) == []
    with pytest.raises(TokenInUse):
        polling.poll_operation(operation.pk, client=client, clock=clock)


# The claim


def test_a_claimed_token_is_not_called(
    operation: Operation, client: BillingClient, clock: Clock, simulator: Simulator
) -> None:
    Claim(operation.pk).take(clock)
    with pytest.raises(TokenInUse):
        polling.poll_operation(operation.pk, client=client, clock=clock)
    assert not simulator.calls
    assert not Poll.objects.exists()


def test_a_claim_that_nobody_gave_back_stands_until_the_vendor_must_have_let_go(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    Claim(operation.pk).take(clock)
    clock.now += timedelta(seconds=89)
    with pytest.raises(TokenInUse):
        polling.poll_operation(operation.pk, client=client, clock=clock)
    clock.now += timedelta(seconds=1)
    assert polling.poll_operation(operation.pk, client=client, clock=clock)


def test_a_round_gives_its_claim_back(operation: Operation, client: BillingClient, clock: Clock) -> None:
    polling.poll_operation(operation.pk, client=client, clock=clock)
    operation.refresh_from_db()
    assert (operation.claimed_by, operation.claimed_at) == ("", None)


def test_a_lost_claim_neither_sends(
    operation: Operation, clock: Clock, client: BillingClient, simulator: Simulator
) -> None:
    claim = Claim(operation.pk)
    claim.take(clock)
    clock.now += timedelta(minutes=2)
    Claim(operation.pk).take(clock)
    with pytest.raises(ClaimLost):
        polling.poll_feed(feed_of(operation), claim, client=client, clock=clock)
    assert not simulator.calls


def test_nor_commits_what_it_was_told(operation: Operation, clock: Clock, client: BillingClient) -> None:
    class Overtaken(BillingClient):
        def fetch(self, api: str, *, server: str, token: str, **call: Any) -> Reply:
            reply = super().fetch(api, server=server, token=token, **call)
            clock.now += timedelta(minutes=2)
            Claim(operation.pk).take(clock)
            return reply

    overtaken = Overtaken(client._url, now=clock)
    with pytest.raises(ClaimLost):
        polling.poll_operation(operation.pk, client=overtaken, clock=clock)
    assert not Poll.objects.exists()
    assert not Snapshot.objects.exists()
    operation.refresh_from_db()
    assert operation.claimed_by, "the claim of the one who overtook stands"


# Failures


@pytest.mark.parametrize(
    ("what", "outcome", "wait"),
    [
        ("token_refused", "token_refused", timedelta(hours=1)),
        ("unauthorised", "token_refused", timedelta(hours=1)),
        ("quota", "quota_exceeded", timedelta(minutes=1)),
        ("error_in_body", "quota_exceeded", timedelta(minutes=1)),
        ("concurrency", "too_many_at_once", timedelta(minutes=1)),
        ("maintenance", "maintenance", timedelta(minutes=1)),
        ("no_data", "no_data", timedelta(minutes=1)),
        ("rate_limited", "rate_limited", timedelta(minutes=2)),
        ("server_error", "server_failed", timedelta(minutes=1)),
    ],
)
def test_a_failure_is_recorded_and_waits_as_it_should(  # noqa: PLR0917
    operation: Operation, client: BillingClient, clock: Clock, what: str, outcome: str, wait: timedelta
) -> None:
    give_token(operation, what)
    poll = polling.poll_operation(operation.pk, client=client, clock=clock)[0]
    assert poll.outcome == outcome
    feed = feed_of(operation)
    assert (feed.failing_since, feed.failing_outcome, feed.failures) == (NOON, outcome, 1)
    assert feed.next_due_at == NOON + wait
    assert not DailyUsage.objects.exists()


@pytest.mark.parametrize("what", ["html", "truncated", "bad_row"])
def test_an_answer_that_cannot_be_read_changes_no_figure(
    operation: Operation, client: BillingClient, clock: Clock, what: str
) -> None:
    polling.poll_operation(operation.pk, client=client, clock=clock)
    before = [list(model.objects.values()) for model in (Snapshot, DailyUsage, MonthlyUsage)]
    give_token(operation, what)
    clock.now += timedelta(minutes=10)
    polls = polling.poll_operation(operation.pk, client=client, clock=clock)
    assert [poll.is_good for poll in polls] == [False]
    assert [list(model.objects.values()) for model in (Snapshot, DailyUsage, MonthlyUsage)] == before
    feed = feed_of(operation)
    assert feed.last_good_poll_at == NOON
    assert due_at(feed) == pacing.next_on_grid(feed, clock.now), "it keeps to its grid"


def test_failures_back_off_and_a_good_poll_forgets_them(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    give_token(operation, "server_error")
    waits = []
    for _ in range(7):
        polling.poll_operation(operation.pk, client=client, clock=clock, apis=["interactions"])
        feed = feed_of(operation)
        waits.append((due_at(feed) - clock.now) // timedelta(minutes=1))
        clock.now = due_at(feed)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    operation.token = "a" * 52
    operation.save()
    polling.poll_operation(operation.pk, client=client, clock=clock, apis=["interactions"])
    feed = feed_of(operation)
    assert (feed.failures, feed.failing_since, feed.failing_outcome, feed.failing_message) == (
        0,
        None,
        "",
        "",
    )


def test_a_refused_token_ends_the_round_and_holds_back_the_other_feeds(
    operation: Operation, client: BillingClient, clock: Clock, simulator: Simulator
) -> None:
    give_token(operation, "token_refused")
    assert len(polling.poll_operation(operation.pk, client=client, clock=clock)) == 1
    assert simulator.calls.total() == 1
    assert feed_of(operation, "interaction_licenses").next_due_at == NOON + timedelta(hours=1)
    assert feed_of(operation, "interaction_licenses").failing_since is None


def test_a_vendor_that_is_not_there_is_tried_again_soon(operation: Operation, clock: Clock) -> None:
    poll = polling.poll_operation(operation.pk, client=BillingClient("http://127.0.0.1:9"), clock=clock)[0]
    assert (poll.outcome, poll.was_sent) == ("not_reached", False)
    assert feed_of(operation).next_due_at == NOON + AT_A_TICK


@pytest.mark.parametrize("is_configured", [True, False])
def test_calls_go_through_the_proxy_that_is_configured_alone(
    settings: Any, proxy: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch, is_configured: bool
) -> None:
    theirs, ours = proxy("403 Forbidden"), proxy("403 Forbidden")
    monkeypatch.setenv("HTTPS_PROXY", theirs.url)
    settings.WOLKVOX_URL, settings.WOLKVOX_PROXY = "https://127.0.0.1:9", ours.url if is_configured else ""
    with pytest.raises(NotReached):
        polling.vendor().fetch("interactions", server="0012", token="0123" * 13)
    assert (len(ours.asked), theirs.asked) == (is_configured, [])


def test_a_token_that_no_key_opens_is_said_and_never_sent_and_polled_again_when_its_key_is_back(
    operation: Operation, client: BillingClient, clock: Clock, simulator: Simulator
) -> None:
    with override_settings(TOKEN_ENCRYPTION_KEYS=["A" * 43 + "="]):
        polls = polling.poll_operation(operation.pk, client=client, clock=clock)
    assert [poll.outcome for poll in polls] == [TOKEN_UNREADABLE]
    assert not simulator.calls
    clock.now += timedelta(minutes=10)
    polls = polling.poll_operation(operation.pk, client=client, clock=clock)
    assert [poll.outcome for poll in polls] == ["good", "good"]


def test_a_new_token_is_tried_at_once(operation: Operation, client: BillingClient, clock: Clock) -> None:
    give_token(operation, "token_refused")
    polling.poll_operation(operation.pk, client=client, clock=clock)
    operations.set_token(operation, "b" * 52)
    operation.save()
    operations.make_due(operation, clock())
    polls = polling.poll_operation(operation.pk, client=client, clock=clock)
    assert [poll.outcome for poll in polls] == ["good", "good"]


def test_an_api_that_keeps_failing_does_not_starve_the_others(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    class WithoutIvr(BillingClient):
        def fetch(self, api: str, *, server: str, token: str, **call: Any) -> Reply:
            return client.fetch(api, server=server, token=provoking("maintenance") if api == "ivr_minutes" else token)

    Feed.objects.filter(api="ivr_minutes").update(is_enabled=True, next_due_at=NOON)
    for _ in range(240):
        if polling.due_operations(clock()):
            polling.poll_operation(operation.pk, client=WithoutIvr(client._url, now=clock), clock=clock)
        clock.now += timedelta(seconds=30)
    good = Poll.objects.filter(outcome="good")
    assert good.filter(feed__api="interactions").count() >= 22
    assert good.filter(feed__api="interaction_licenses").count() >= 2
    assert Poll.objects.filter(feed__api="ivr_minutes", outcome="maintenance").count() >= 3


# What changes during a call


class Meanwhile(BillingClient):
    """Something happens while the vendor answers."""

    def __init__(self, client: BillingClient, happens: Callable[[], object]) -> None:
        super().__init__(client._url, now=client._now)
        self.happens = happens

    def fetch(self, api: str, *, server: str, token: str, **call: Any) -> Reply:
        reply = super().fetch(api, server=server, token=token, **call)
        self.happens()
        return reply


def paste_token(operation: Operation, clock: Clock) -> None:
    """As the admin does: no column is written that a worker writes."""
    operations.set_token(operation, "c" * 52)
    operation.save(update_fields=TOKEN_COLUMNS)
    operations.make_due(operation, clock())


def test_the_answer_to_a_token_that_was_replaced_is_not_used(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    paste = partial(paste_token, operation, clock)
    polls = polling.poll_operation(operation.pk, client=Meanwhile(client, paste), clock=clock)
    assert [poll.outcome for poll in polls] == [SUPERSEDED]
    assert not Snapshot.objects.exists()
    assert feed_of(operation).failing_since is None
    assert polling.due_operations(clock()) == [operation.pk]
    operation.refresh_from_db()
    assert operation.vendor_name == ""


def test_a_refusal_of_the_token_that_was_replaced_holds_nothing_back(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    class Refused(BillingClient):
        def fetch(self, api: str, *, server: str, token: str, **call: Any) -> Reply:
            paste_token(operation, clock)
            return client.fetch(api, server=server, token=provoking("token_refused"))

    polling.poll_operation(operation.pk, client=Refused(client._url), clock=clock)
    assert due_at(feed_of(operation)) == due_at(feed_of(operation, "interaction_licenses")) == NOON


@pytest.mark.parametrize("what", ["feed", "operation"])
def test_what_is_switched_off_during_a_round_is_not_called(
    operation: Operation, client: BillingClient, clock: Clock, what: str
) -> None:
    def switch_off() -> None:
        if what == "feed":
            Feed.objects.filter(api="interaction_licenses").update(is_enabled=False)
        else:
            Operation.objects.update(is_active=False)

    polls = polling.poll_operation(operation.pk, client=Meanwhile(client, switch_off), clock=clock)
    assert [poll.feed.api for poll in polls] == ["interactions"]


def test_a_new_interval_counts_from_the_call_under_way(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    Feed.objects.filter(api="interactions").update(interval=Interval.DAY)
    shorten = partial(Feed.objects.filter(api="interactions").update, interval=Interval.FIVE_MINUTES)
    polling.poll_operation(operation.pk, client=Meanwhile(client, shorten), clock=clock)
    assert due_at(feed_of(operation)) - NOON < timedelta(minutes=10)


def test_a_fault_of_ours_is_a_poll_that_failed_and_backs_off(
    operation: Operation, client: BillingClient, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down() -> None:
        raise ZeroDivisionError("a fault")

    polls = polling.poll_operation(operation.pk, client=Meanwhile(client, break_down), clock=clock)
    assert [poll.outcome for poll in polls] == [FAULT, FAULT]
    assert due_at(feed_of(operation)) == NOON + timedelta(minutes=1)
    assert "ZeroDivisionError" in caplog.text
    assert operation.token not in caplog.text


def test_a_call_that_is_broken_off_leaves_its_claim_to_expire(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        polling.poll_operation(operation.pk, client=Meanwhile(client, interrupt), clock=clock)
    with pytest.raises(TokenInUse):
        polling.poll_operation(operation.pk, client=client, clock=clock)


def test_a_claim_of_a_clock_that_was_set_back_lasts_no_longer_than_any(operation: Operation, clock: Clock) -> None:
    Claim(operation.pk).take(clock)
    clock.now -= timedelta(minutes=50)
    with pytest.raises(TokenInUse):
        Claim(operation.pk).take(clock)
    clock.now += timedelta(seconds=89)
    with pytest.raises(TokenInUse):
        Claim(operation.pk).take(clock)
    clock.now += timedelta(seconds=1)
    Claim(operation.pk).take(clock)


def test_who_was_paused_before_taking_a_claim_ends_nobodys(operation: Operation) -> None:
    """Its first look at the clock was before the pause, in which another took the claim."""
    later = NOON + CLAIM_LASTS + timedelta(seconds=10)
    Claim(operation.pk).take(lambda: later)
    looks = iter([NOON, later])
    for clock in (lambda: next(looks), lambda: later + timedelta(seconds=1)):
        with pytest.raises(TokenInUse):
            Claim(operation.pk).take(clock)


@pytest.mark.parametrize("year", [1, 9999])
def test_a_vendors_clock_may_say_anything(operation: Operation, clock: Clock, year: int) -> None:
    absurd = Reply(b"", 200, datetime(year, 12, 31, tzinfo=UTC), clock(), clock())
    polling.note_skew(operation, absurd)
    operation.refresh_from_db()
    assert abs(operation.clock_skew) == 2**31 - 1
