from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Min
from django.test.utils import CaptureQueriesContext

from tests.collecting.conftest import NOON, Clock, feed_of, give_token
from tests.conftest import hear, make_operation
from usage.collecting import operations, pacing, polling, quota
from usage.collecting.quota import Quota
from usage.forms import TOKEN_COLUMNS
from usage.models import Feed, Interval, Operation, Poll
from usage.wolkvox.catalogue import APIS
from usage.wolkvox.client import BillingClient, Reply
from usage.wolkvox.simulator import Simulator, provoking, serve

MIDNIGHT = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
TODAY = date(2026, 11, 23)


# The arithmetic


def quota_of(limit: int, used: int, now: datetime = NOON) -> Quota:
    return Quota(Operation(call_limit=limit, calls=used, calls_day=now.astimezone(Operation().zone).date()), now)


def schedule(**intervals: int) -> dict[str, Feed]:
    """Feeds that are due at once."""
    return {
        api: Feed(pk=number, api=api, interval=interval, is_enabled=True)
        for number, (api, interval) in enumerate(intervals.items(), 1)
    }


def paces(left: Quota, feeds: dict[str, Feed]) -> dict[str, int | None]:
    """In minutes."""
    found = {api: left.pace_of(feed, feeds.values()) for api, feed in feeds.items()}
    return {api: pace // timedelta(minutes=1) if pace else None for api, pace in found.items()}


def test_a_twentieth_of_the_limit_is_kept_in_reserve() -> None:
    assert Operation(call_limit=1000).call_budget == 950
    assert Operation(call_limit=None).call_budget is None


def test_calls_count_for_the_operations_own_day() -> None:
    operation = Operation(calls=7, calls_day=TODAY)
    assert operation.calls_on(TODAY) == 7
    assert operation.calls_on(date(2026, 11, 24)) == 0
    last_second = MIDNIGHT - timedelta(seconds=1)
    assert Quota(Operation(call_limit=100, calls=7, calls_day=TODAY), last_second).used == 7
    assert Quota(Operation(call_limit=100, calls=7, calls_day=TODAY), MIDNIGHT).used == 0


def test_interactions_come_first_then_usage_by_interval_then_licences() -> None:
    feeds = schedule(interaction_licenses=5, ivr_calls=60, vision=15, interactions=60, pbx_licenses=60)
    ordered = [feed.api for feed in sorted(feeds.values(), key=quota.importance)]
    assert ordered == ["interactions", "vision", "ivr_calls", "interaction_licenses", "pbx_licenses"]


def test_a_schedule_is_covered_that_fits_any_day_and_the_rest_of_this_one() -> None:
    feeds = schedule(interactions=5, interaction_licenses=60).values()  # 312 a day, 156 from noon on
    assert quota_of(1000, 0).covers(feeds)
    assert quota_of(1000, 950 - 157).covers(feeds)
    assert not quota_of(1000, 950 - 156).covers(feeds)
    assert not quota_of(300, 0).covers(feeds)


def test_feeds_that_are_due_tomorrow_need_nothing_today() -> None:
    feeds = schedule(interactions=5, interaction_licenses=60)
    for feed in feeds.values():
        feed.next_due_at = MIDNIGHT + timedelta(minutes=4)
    assert quota_of(1000, 949).covers(feeds.values())


def test_lesser_feeds_give_way_so_that_interactions_can_be_polled_to_the_days_end() -> None:
    at_six = MIDNIGHT - timedelta(hours=6)
    feeds = schedule(interactions=5, ivr_calls=5, vision=60, interaction_licenses=60)  # 156 calls to midnight
    left = quota_of(500, 400, at_six)  # 75 of the budget, and 25 in reserve
    assert not left.covers(feeds.values())
    last_only = dict.fromkeys(["ivr_calls", "vision", "interaction_licenses"], 360)
    assert paces(left, feeds) == {"interactions": 5} | last_only


def test_each_feed_keeps_its_last_poll_of_the_day_out_of_the_reserve() -> None:
    feeds = schedule(interactions=5, ivr_calls=60, interaction_licenses=60)
    assert paces(quota_of(1000, 997), feeds) == dict.fromkeys(feeds, 1440)
    assert paces(quota_of(1000, 998), feeds) == {"interactions": 1440, "ivr_calls": 1440, "interaction_licenses": None}


def test_the_last_poll_of_interactions_is_never_given_up() -> None:
    feeds = schedule(interactions=5, ivr_calls=60)
    assert paces(quota_of(1000, 1200), feeds) == {"interactions": 1440, "ivr_calls": None}


@pytest.mark.parametrize("limit", [30, 100, 250, 400, 1000, 3000, 7000])
@pytest.mark.parametrize("used", [0, 90, 800])
def test_the_paces_that_feeds_can_keep_never_need_more_than_there_is(limit: int, used: int) -> None:
    feeds = {api: Feed(pk=number, api=api, interval=Interval.FIVE_MINUTES) for number, api in enumerate(APIS)}
    left = quota_of(limit, used)
    found = paces(left, feeds)
    kept = [pace for api in sorted(feeds, key=lambda api: quota.importance(feeds[api])) if (pace := found[api])]
    assert kept == sorted(kept)
    assert sum(720 // min(pace, 720) for pace in kept) <= max(limit - used, 1)
    if limit >= 400 and not used:
        assert sum(1440 // pace for pace in kept) <= left.budget
        assert found["interactions"] == 5


def test_a_call_out_of_turn_is_spared_where_the_more_important_can_end_the_day() -> None:
    feeds = schedule(interactions=5, interaction_licenses=60)  # interactions: 144 from noon on
    licences = feeds["interaction_licenses"]
    assert quota_of(1000, 1000 - 145).spares(licences, feeds.values())
    assert not quota_of(1000, 1000 - 144).spares(licences, feeds.values())
    assert quota_of(1000, 999).spares(feeds["interactions"], feeds.values())
    assert not quota_of(1000, 1000).spares(feeds["interactions"], feeds.values())


# Counting


def poll(operation: Operation, client: BillingClient, clock: Clock, *, is_due: bool = True) -> list[Poll]:
    return polling.poll_operation(operation.pk, client=client, clock=clock, is_due=is_due)


def calls(operation: Operation) -> int:
    operation.refresh_from_db()
    return operation.calls


@pytest.mark.django_db
def test_every_call_counts_good_or_bad_in_turn_or_not(
    operation: Operation, client: BillingClient, clock: Clock, simulator: Simulator
) -> None:
    poll(operation, client, clock)
    assert calls(operation) == simulator.calls.total() == 3  # two feeds, and the limit
    clock.now += timedelta(minutes=6)
    poll(operation, client, clock, is_due=False)
    assert calls(operation) == simulator.calls.total() == 5
    give_token(operation, "server_error")
    poll(operation, client, clock, is_due=False)
    assert calls(operation) == simulator.calls.total() == 7
    assert operation.calls_day == TODAY
    operation.token = "a" * 52
    operation.save(update_fields=TOKEN_COLUMNS)
    clock.now = MIDNIGHT
    poll(operation, client, clock)
    assert (calls(operation), operation.calls_day) == (2, date(2026, 11, 24))


@pytest.mark.django_db(transaction=True)
def test_a_call_is_counted_before_it_reaches_the_vendor(clock: Clock) -> None:
    operation = make_operation()
    seen: list[int] = []
    simulator = Simulator(clock=clock)

    def asking(environ: object, start_response: object) -> object:
        seen.append(Operation.objects.values_list("calls", flat=True).get())
        connection.close()
        return simulator(environ, start_response)  # type: ignore[arg-type]

    with serve(asking) as server:  # type: ignore[arg-type]
        poll(operation, BillingClient(server.url, now=clock), clock)
    assert seen == [1, 2, 3]


# Waiting


def enable(operation: Operation, **intervals: int) -> None:
    """Poll these and no others, all of them due."""
    operation.feeds.update(is_enabled=False, next_due_at=NOON - timedelta(days=3))
    for api, interval in intervals.items():
        operation.feeds.filter(api=api).update(is_enabled=True, interval=interval)


def allow(operation: Operation, limit: int, used: int) -> None:
    """As if the vendor had told it a minute ago."""
    Operation.objects.filter(pk=operation.pk).update(
        call_limit=limit, calls=used, calls_day=TODAY, limit_due_at=NOON + timedelta(days=1)
    )


@pytest.mark.django_db
def test_far_from_the_limit_it_costs_no_query(operation: Operation, client: BillingClient, clock: Clock) -> None:
    poll(operation, client, clock)
    asked = []
    for limit in (None, 1000):
        clock.now += timedelta(hours=2)
        Operation.objects.update(call_limit=limit)
        with CaptureQueriesContext(connection) as queries:
            poll(operation, client, clock)
        asked.append(len(queries))
    assert asked[0] == asked[1]


@pytest.mark.django_db
def test_a_feed_that_must_wait_is_due_later_on_its_grid_and_says_so(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    poll(operation, client, clock)
    clock.now = NOON + timedelta(hours=2)
    allow(operation, 1000, 822)  # 128 of the budget, for 120 of interactions and 10 of licences
    assert [polled.feed.api for polled in poll(operation, client, clock)] == ["interactions"]
    licences = feed_of(operation, "interaction_licenses")
    assert licences.waits_for_quota
    later = pacing.on_grid(licences, clock.now, timedelta(hours=3))
    assert licences.next_due_at == later
    assert not feed_of(operation).waits_for_quota
    allow(operation, 1000, 0)
    clock.now = later
    assert "interaction_licenses" in [polled.feed.api for polled in poll(operation, client, clock)]
    assert not feed_of(operation, "interaction_licenses").waits_for_quota


@pytest.mark.django_db
def test_where_the_day_has_no_call_left_a_feed_waits_for_the_next(
    operation: Operation, client: BillingClient, clock: Clock, simulator: Simulator
) -> None:
    poll(operation, client, clock)
    allow(operation, 1000, 1000)
    clock.now = NOON + timedelta(hours=2)
    before = simulator.calls.total()
    assert poll(operation, client, clock) == []
    assert simulator.calls.total() == before
    interactions, licences = feed_of(operation), feed_of(operation, "interaction_licenses")
    last = pacing.on_grid(interactions, MIDNIGHT - timedelta(minutes=2), interactions.pace)
    assert interactions.next_due_at == last, "its last poll of the day is tried in any case"
    assert licences.next_due_at == pacing.on_grid(licences, MIDNIGHT, licences.pace)


@pytest.mark.django_db
def test_a_retry_waits_for_its_place_on_the_grid_where_calls_run_short(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    enable(operation, interactions=5)
    give_token(operation, "server_error")
    allow(operation, 310, 150)  # 145 of the budget for the 144 of interactions
    poll(operation, client, clock)
    clock.now += timedelta(minutes=1)
    assert poll(operation, client, clock) == []
    interactions = feed_of(operation)
    assert interactions.next_due_at == pacing.next_on_grid(interactions, NOON)
    assert interactions.failing_since == NOON


@pytest.mark.django_db
def test_a_poll_out_of_turn_leaves_interactions_their_calls(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    allow(operation, 1000, 1000 - 144)
    polls = poll(operation, client, clock, is_due=False)
    assert [polled.feed.api for polled in polls] == ["interactions"]


# The limit


def limit_of(operation: Operation) -> tuple[int | None, datetime | None]:
    operation.refresh_from_db()
    return operation.call_limit, operation.limit_due_at


@pytest.mark.django_db
def test_the_limit_is_asked_once_a_day_after_a_round_of_what_is_due(
    operation: Operation, client: BillingClient, clock: Clock, simulator: Simulator
) -> None:
    poll(operation, client, clock, is_due=False)
    assert limit_of(operation) == (None, None)
    clock.now += timedelta(hours=1)
    poll(operation, client, clock)
    assert limit_of(operation) == (simulator.quota(operation.token, TODAY), clock.now + timedelta(days=1))
    clock.now += timedelta(hours=23)
    poll(operation, client, clock)
    before = simulator.calls.total()
    clock.now += timedelta(hours=1)
    polls = poll(operation, client, clock)
    assert simulator.calls.total() == before + len(polls) + 1


@pytest.mark.django_db
def test_it_is_not_asked_shortly_before_a_feed_is_due(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    operation.feeds.filter(api="interactions").update(next_due_at=NOON + timedelta(minutes=2))
    poll(operation, client, clock)
    assert limit_of(operation) == (None, None)


@pytest.mark.parametrize(
    ("late", "is_asked"), [(timedelta(seconds=30), False), (timedelta(seconds=29), True), (timedelta(hours=2), True)]
)
@pytest.mark.django_db
def test_it_is_not_asked_while_polls_are_late(
    late: timedelta, is_asked: bool, operation: Operation, client: BillingClient, clock: Clock
) -> None:
    other = make_operation("Cali")
    other.feeds.filter(api="interactions").update(is_enabled=True, next_due_at=NOON - late)
    poll(operation, client, clock)
    assert (limit_of(operation)[0] is not None) is is_asked


@pytest.mark.django_db
def test_it_is_not_asked_with_the_days_last_calls(operation: Operation, client: BillingClient, clock: Clock) -> None:
    allow(operation, 20, 18)
    Operation.objects.update(limit_due_at=NOON)
    poll(operation, client, clock)
    assert calls(operation) == 19, "interactions alone"


class Deaf(BillingClient):
    """Its vendor answers polls, and `token_info` with an error."""

    def fetch_token_info(self, *, server: str, token: str, **call: Any) -> Reply:
        return super().fetch_token_info(server=server, token=provoking("maintenance"))


@pytest.mark.django_db
def test_a_vendor_that_does_not_tell_holds_nothing_back_and_is_asked_again_a_day_later(
    operation: Operation, client: BillingClient, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    polls = poll(operation, Deaf(client._url, now=clock), clock)
    assert [polled.outcome for polled in polls] == ["good", "good"]
    assert "limit of calls was not told: maintenance" in caplog.text
    assert limit_of(operation) == (None, NOON + timedelta(days=1))
    assert operation.calls == 3
    assert not Feed.objects.exclude(failing_since=None).exists()


@pytest.mark.django_db
def test_what_other_programs_used_counts_and_our_own_calls_do_not_count_twice(
    operation: Operation, client: BillingClient, clock: Clock, simulator: Simulator
) -> None:
    yesterday = NOON - timedelta(hours=20)
    hear(operation, "ivr_calls", yesterday, ("IVR", "1"))
    Poll.objects.create(feed=Poll.objects.get().feed, started_at=yesterday, ended_at=yesterday, was_sent=False)
    simulator.elsewhere[operation.token] = 101
    poll(operation, client, clock)
    assert calls(operation) == 3 + 100, "one of them may have been our own, in the vendor's day"
    clock.now += timedelta(minutes=10)
    Operation.objects.update(limit_due_at=NOON)
    poll(operation, client, clock)
    assert calls(operation) == 5 + 100


@pytest.mark.django_db
def test_after_a_refusal_for_the_quota_the_limit_is_asked_within_the_hour(
    operation: Operation, client: BillingClient, clock: Clock
) -> None:
    poll(operation, client, clock)
    give_token(operation, "quota")
    clock.now += timedelta(minutes=10)
    poll(operation, client, clock)
    assert limit_of(operation)[1] == clock.now + timedelta(hours=1)


@pytest.mark.django_db
def test_a_new_token_has_a_limit_of_its_own(operation: Operation, client: BillingClient, clock: Clock) -> None:
    class Pasted(BillingClient):
        def fetch_token_info(self, *, server: str, token: str, **call: Any) -> Reply:
            reply = super().fetch_token_info(server=server, token=token, **call)
            operations.set_token(operation, "c" * 52)
            operation.save(update_fields=TOKEN_COLUMNS)
            operations.make_due(operation, clock())
            return reply

    poll(operation, Pasted(client._url, now=clock), clock)
    assert limit_of(operation) == (None, None)


@pytest.mark.django_db
def test_licences_hint_at_a_limit_that_is_not_known(operation: Operation) -> None:
    assert quota.likely_limit(operation) is None
    hear(operation, "interaction_licenses", NOON - timedelta(days=40), ("Licences", "7"))
    hear(operation, "interaction_licenses", NOON, ("Licences", "5"), ("More licences", "3"))
    assert quota.likely_limit(operation) == 8_000


# A day


@pytest.mark.django_db
@pytest.mark.parametrize(("elsewhere", "interactions"), [(0, 96), (30, 96), (80, 48)])
def test_a_day_with_too_few_calls_ends_with_interactions_and_no_refusal(elsewhere: int, interactions: int) -> None:
    """240 calls are due, and 160 allowed, some of which other programs use."""
    clock = Clock(MIDNIGHT - timedelta(days=1))
    simulator = Simulator(clock=clock, calls_per_licence=20)
    operation = make_operation()
    simulator.elsewhere[operation.token] = elsewhere
    assert simulator.quota(operation.token, TODAY) == 160
    enable(operation, interactions=15, ivr_calls=15, interaction_licenses=30)
    poll_until(MIDNIGHT, operation, simulator, clock)
    assert not Poll.objects.exclude(outcome="good").exists()
    assert simulator.calls.total() == calls(operation) - elsewhere <= 160 - elsewhere
    assert abs(polls_of("interactions") - interactions) <= 2
    assert polls_of("ivr_calls") >= polls_of("interaction_licenses") >= 1
    for api in ("interactions", "ivr_calls", "interaction_licenses"):
        last = Poll.objects.filter(feed__api=api).latest("started_at")
        assert MIDNIGHT - last.started_at <= timedelta(seconds=90), api


@pytest.mark.django_db
def test_the_limit_holds_at_whatever_hour_the_vendors_day_begins() -> None:
    """120 calls a day are due and 80 allowed, from ten in the morning to ten in the morning."""
    clock = Clock(MIDNIGHT - timedelta(days=1))
    simulator = Simulator(clock=clock, calls_per_licence=10, zone="Asia/Tokyo")
    operation = make_operation()
    enable(operation, interactions=30, ivr_calls=30, interaction_licenses=60)
    poll_until(MIDNIGHT + timedelta(days=1), operation, simulator, clock)
    assert simulator.quota(operation.token, TODAY) == 80
    assert not Poll.objects.exclude(outcome="good").exists()
    assert polls_of("interactions") >= 2 * 48


def poll_until(end: datetime, operation: Operation, simulator: Simulator, clock: Clock) -> None:
    """In a real round at every tick at which a feed is due."""
    with serve(simulator) as server:
        client = BillingClient(server.url, now=clock)
        while clock.now < end:
            poll(operation, client, clock)
            due_at: datetime = Feed.objects.filter(is_enabled=True).aggregate(at=Min("next_due_at"))["at"]
            clock.now = max(clock.now + timedelta(seconds=30), due_at)


def polls_of(api: str) -> int:
    return Poll.objects.filter(feed__api=api).count()
