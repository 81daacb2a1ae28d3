from datetime import UTC, date, datetime, timedelta
from threading import Event, Thread
from time import sleep

import pytest
from django.db import connection, transaction

from tests.conftest import body_of, hear, make_operation
from usage.collecting import claims, closing, polling, recording
from usage.models import DailyUsage, Feed, MonthlyUsage, Operation
from usage.wolkvox import answers
from usage.wolkvox.client import Reply

pytestmark = pytest.mark.django_db

MIDNIGHT = datetime(2026, 11, 1, 5, 0, tzinfo=UTC)
"""When November begins in Bogotá."""


def state(operation: Operation, month: date = date(2026, 10, 1)) -> str:
    return MonthlyUsage.objects.get(operation=operation, month=month, product__api="interactions").state


@pytest.fixture
def october(operation: Operation) -> Operation:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(minutes=11))
    for minutes in (6, 1):
        hear(operation, "interactions", MIDNIGHT - timedelta(minutes=minutes), ("Email", "900"))
    return operation


def test_a_running_month_stays_open(october: Operation) -> None:
    assert closing.close_months(MIDNIGHT - timedelta(seconds=1)) == 0
    assert state(october) == "open"


def test_a_month_that_has_ended_is_closing_until_the_next_one_is_read(october: Operation) -> None:
    assert closing.close_months(MIDNIGHT) == 0
    assert state(october) == "closing"
    hear(october, "interactions", MIDNIGHT + timedelta(minutes=4), ("Email", "3"))
    assert closing.close_months(MIDNIGHT + timedelta(minutes=5)) == 1
    assert state(october) == "closed"
    assert state(october, date(2026, 11, 1)) == "open"


def test_a_month_closes_after_a_grace_when_nothing_more_comes(october: Operation) -> None:
    assert closing.close_months(MIDNIGHT + timedelta(hours=23)) == 0
    assert closing.close_months(MIDNIGHT + timedelta(hours=24)) == 1
    row = MonthlyUsage.objects.get()
    assert (row.state, row.closed_at) == ("closed", MIDNIGHT + timedelta(hours=24))


def test_what_went_unseen_at_the_end_counts_as_a_gap(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(hours=6))
    hear(operation, "interactions", MIDNIGHT - timedelta(hours=5, minutes=55), ("Email", "900"))
    hear(operation, "interactions", MIDNIGHT - timedelta(hours=5, minutes=50), ("Email", "900"))
    closing.close_months(MIDNIGHT + timedelta(days=2))
    assert MonthlyUsage.objects.get().gap_seconds == 5 * 3600 + 50 * 60


def test_an_outage_over_the_boundary_is_parted_at_it(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(hours=6))
    hear(operation, "interactions", MIDNIGHT - timedelta(hours=5, minutes=55), ("Email", "900"))
    hear(operation, "interactions", MIDNIGHT + timedelta(hours=2), ("Email", "3"))
    closing.close_months(MIDNIGHT + timedelta(hours=2))
    gaps = {row.month.month: row.gap_seconds for row in MonthlyUsage.objects.all()}
    assert gaps == {10: 5 * 3600 + 55 * 60, 11: 2 * 3600}


def test_the_last_day_counts_as_whole_once_the_month_is_over(operation: Operation) -> None:
    Feed.objects.update(interval=1440)
    for day in range(1, 32):
        hear(operation, "interactions", datetime(2026, 10, day, 15, tzinfo=UTC), ("Email", str(day * 10)))
    month = MonthlyUsage.objects.get()
    assert (month.items, month.highest, month.lowest) == (310, 10, 10)
    assert DailyUsage.objects.count() == 31


@pytest.mark.parametrize(
    ("vendor_date", "day"),
    [
        ("2026-11-23", date(2026, 11, 23)),
        ("2026-11-23 10:35:02", date(2026, 11, 23)),
        ("20261122", date(2026, 11, 22)),
        ("2026-11", date(2026, 11, 23)),
        ("11-2026", date(2026, 11, 23)),
        ("", date(2026, 11, 23)),
        ("yesterday", date(2026, 11, 23)),
    ],
)
def test_every_form_of_the_vendors_date_has_its_day(operation: Operation, vendor_date: str, day: date) -> None:
    hear(operation, "interactions", datetime(2026, 11, 23, 15, tzinfo=UTC), ("Email", "1", vendor_date))
    assert DailyUsage.objects.latest("day").day == day


def test_a_month_alone_that_is_already_over_means_its_last_day(operation: Operation) -> None:
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=1), ("Email", "1", "2026-10"))
    assert DailyUsage.objects.get().day == date(2026, 10, 31)


# Months without a date


def vendor_figure(at: datetime, reset: datetime) -> str:
    """What a vendor shows that begins its month at `reset`: 2 a minute, 80,000 in the month before."""
    minutes = (at - reset) / timedelta(minutes=1)
    return str(int(2 * minutes if minutes >= 0 else 80_000 + 2 * minutes))


@pytest.mark.parametrize("hours", [-5.9, -3, -0.5, -0.02, 0, 0.02, 0.5, 2, 5.9])
@pytest.mark.parametrize("offset", [0, 17, 149])
def test_undated_usage_goes_to_its_month_however_far_off_the_vendors_midnight_is(
    operation: Operation, hours: float, offset: int
) -> None:
    reset = MIDNIGHT + timedelta(hours=hours)
    at = MIDNIGHT - timedelta(hours=13) + timedelta(seconds=offset)
    Feed.objects.update(last_good_poll_at=at - timedelta(minutes=20))
    last = figure = ""
    while at < MIDNIGHT + timedelta(hours=13):
        figure = vendor_figure(at, reset)
        last = figure if at < reset else last
        hear(operation, "interactions", at, ("Email", figure))
        closing.close_months(at + timedelta(seconds=30))
        at += timedelta(minutes=20)
    october, november = MonthlyUsage.objects.order_by("month")
    assert (str(int(october.items)), october.state, october.is_restated) == (last, "closed", False)
    assert (str(int(november.items)), november.state, november.is_restated) == (figure, "open", False)


def test_a_restatement_shortly_before_midnight_is_not_a_new_month(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(hours=2, minutes=5))
    hear(operation, "interactions", MIDNIGHT - timedelta(hours=2), ("Email", "900"), ("Chat", "50"))
    hear(operation, "interactions", MIDNIGHT - timedelta(hours=1, minutes=55), ("Email", "880"), ("Chat", "10"))
    assert {row.month.month: row.is_restated for row in MonthlyUsage.objects.all()} == {10: True}


def test_figures_that_stand_over_midnight_are_still_the_old_months(october: Operation) -> None:
    hear(october, "interactions", MIDNIGHT + timedelta(minutes=4), ("Email", "905"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    row = MonthlyUsage.objects.get()
    assert (row.items, row.state) == (905, "closing")


def test_an_operation_first_heard_after_midnight_begins_with_the_new_month(operation: Operation) -> None:
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=4), ("Email", "905"))
    assert MonthlyUsage.objects.get().month == date(2026, 11, 1)


def test_a_product_that_is_told_of_no_more_has_fallen(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(minutes=5))
    hear(operation, "interactions", MIDNIGHT - timedelta(minutes=1), ("Email", "1000"), ("Chat", "5"))
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=4), ("Chat", "1"))
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=9), ("Chat", "7"))
    figures = {(row.month.month, row.product.name): int(row.items) for row in MonthlyUsage.objects.all()}
    assert figures == {(10, "Email"): 1000, (10, "Chat"): 5, (11, "Chat"): 7}


def test_a_correction_after_midnight_is_not_a_new_month(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(minutes=5))
    hear(operation, "interactions", MIDNIGHT - timedelta(minutes=1), ("Email", "1000"), ("Chat", "50"))
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=4), ("Email", "1010"), ("Chat", "49"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    assert {row.state for row in MonthlyUsage.objects.all()} == {"closing"}


@pytest.mark.parametrize("off", [timedelta(days=-365), timedelta(days=365), timedelta(hours=-2)])
def test_a_vendors_clock_that_is_far_off_dates_nothing(operation: Operation, off: timedelta) -> None:
    at = datetime(2026, 11, 1, 20, tzinfo=UTC)
    feed = Feed.objects.select_related("operation").get(operation=operation, api="interactions")
    body = body_of([("Email", "7")])
    reply = Reply(body=body, http_status=200, vendor_clock=at + off, started_at=at, ended_at=at)
    with transaction.atomic():
        recording.record(feed, reply, answers.parse(body, feed.about))
    assert MonthlyUsage.objects.get().month == date(2026, 11, 1)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_poll_and_a_closing_at_once_leave_a_closed_month() -> None:
    operation = make_operation()
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(minutes=11))
    hear(operation, "interactions", MIDNIGHT - timedelta(minutes=6), ("Email", "300", "2026-10-31"))
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=1), ("Email", "2", "2026-11-01"))
    claim = claims.Claim(operation.pk)
    claim.take(lambda: MIDNIGHT)
    is_locked = Event()

    def poll() -> None:
        feed = Feed.objects.select_related("operation").get(operation=operation, api="interactions")
        at = MIDNIGHT + timedelta(minutes=2)
        body = body_of([("Email", "310", "2026-10-31")])
        reply = Reply(body=body, http_status=200, vendor_clock=at, started_at=at, ended_at=at)
        with transaction.atomic():
            feed = polling.as_it_stands(feed, claim)
            is_locked.set()
            sleep(0.5)
            recording.record(feed, reply, answers.parse(body, feed.about))
        connection.close()

    other = Thread(target=poll)
    other.start()
    is_locked.wait(10)
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    other.join()
    row = MonthlyUsage.objects.get(month=date(2026, 10, 1))
    assert (row.items, row.state) == (310, "closed")


def test_a_month_in_which_clocks_are_changed_has_its_true_length(operation: Operation) -> None:
    operation.time_zone = "America/Santiago"  # clocks went back on 5 April 2026
    operation.save()
    hear(operation, "interactions", datetime(2026, 4, 1, 3, 1, tzinfo=UTC), ("Email", "1"))
    hear(operation, "interactions", datetime(2026, 5, 2, 4, 1, tzinfo=UTC), ("Email", "2"))
    april = MonthlyUsage.objects.get(month=date(2026, 4, 1))
    assert april.gap_seconds == 721 * 3600 - 60
