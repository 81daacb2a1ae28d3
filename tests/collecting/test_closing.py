"""What a closed month stands on, and what becomes of later news."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db.models import Sum

from tests.conftest import body_of, hear
from usage.collecting import closing, pruning
from usage.collecting.rebuilding import rebuild
from usage.models import Certificate, Correction, DailyUsage, Feed, MonthlyUsage, Operation, Poll, Product, Snapshot
from usage.wolkvox.errors import AnswerRefused

pytestmark = pytest.mark.django_db

MIDNIGHT = datetime(2026, 11, 1, 5, tzinfo=UTC)
"""When November begins in Bogotá."""
OCTOBER = date(2026, 10, 1)


def heard(operation: Operation, *told: tuple[float, str], date: str = "") -> None:
    """Figures of Email, so many minutes from midnight."""
    for minutes, items in told:
        hear(operation, "interactions", MIDNIGHT + timedelta(minutes=minutes), ("Email", items, date))


def certificate() -> Certificate:
    return Certificate.objects.get(usage__month=OCTOBER, usage__product__api="interactions")


@pytest.fixture
def october(operation: Operation) -> Operation:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(minutes=26))
    heard(operation, (-21, "1000"), (-16, "1030"), (-11, "1060"), (-6, "1070"), (-1, "1072"))
    return operation


def test_a_certificate_says_what_the_figure_stands_on(october: Operation) -> None:
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    found = certificate()
    poll = Poll.objects.get(started_at=MIDNIGHT - timedelta(minutes=1))
    assert (found.last_good_poll_at, found.seconds_unheard, found.poll) == (poll.started_at, 60, poll)
    assert found.answer_sha256 == hashlib.sha256(body_of([("Email", "1072", "")])).hexdigest()


def test_the_most_unseen_is_reckoned_by_the_busiest_stretch(october: Operation) -> None:
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    found = certificate()
    assert (found.pace, found.pace_items, found.pace_seconds) == ("busiest", 30, 300)
    assert found.most_unseen == 6


def test_without_a_change_lately_the_months_mean_is_the_pace(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(hours=37), interval=720)
    heard(operation, (-36 * 60, "1058400"), (-24 * 60, "1058400"), (-60, "1058400"))
    closing.close_months(MIDNIGHT + timedelta(days=2))
    found = certificate()
    assert (found.pace, found.seconds_unheard) == ("mean", 3600)
    assert found.most_unseen == 1425  # 1,058,400 in 743 hours, and so much in one more
    assert found.pace_items is not None
    assert found.pace_seconds == 743 * 3600


def test_an_outage_over_the_end_says_how_long_and_how_much(october: Operation) -> None:
    Feed.objects.filter(api="interactions").update(last_good_poll_at=MIDNIGHT - timedelta(minutes=1))
    closing.close_months(MIDNIGHT + timedelta(days=3))
    assert (certificate().seconds_unheard, certificate().most_unseen) == (60, 6)


@pytest.mark.parametrize(("told", "seconds"), [((-3 * 60, "2"), 9000), ((3 * 60, "2"), 0)])
def test_a_vendor_that_began_its_month_earlier_is_heard_until_then(
    operation: Operation, told: tuple[float, str], seconds: int
) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(minutes=340))
    heard(operation, (-335, "90000"), (-330, "90010"))
    if seconds == 0:
        heard(operation, (170, "90800"))
    heard(operation, told, (400, "50"))
    closing.close_months(MIDNIGHT + timedelta(hours=7))
    assert certificate().seconds_unheard == (seconds or 600)


def test_a_vendor_that_is_known_to_begin_late_used_on_after_our_midnight(october: Operation) -> None:
    Operation.objects.update(reset_after=3 * 3600 - 60, reset_before=3 * 3600)
    heard(october, (4 * 60, "60"))
    closing.close_months(MIDNIGHT + timedelta(minutes=241))
    assert (certificate().seconds_unheard, certificate().most_unseen) == (3 * 3600 + 60, 1086)


def test_a_gauge_has_no_pace(operation: Operation) -> None:
    hear(operation, "interaction_licenses", MIDNIGHT - timedelta(minutes=1), ("Licences", "40"))
    closing.close_months(MIDNIGHT + timedelta(days=2))
    found = Certificate.objects.get()
    assert (found.most_unseen, found.pace, found.seconds_unheard) == (None, "unknown", 60)


def test_where_days_are_counted_anew_the_bound_holds_all_their_midnights(operation: Operation) -> None:
    """96 a day, heard every six hours: of the 10th the first 48, of the next three days nothing."""
    operation.feeds.update(counts=Feed.Counts.DAY, interval=360)
    begin = MIDNIGHT - timedelta(days=31)
    Feed.objects.update(last_good_poll_at=begin - timedelta(minutes=2))
    for hours in range(6, 31 * 24 + 1, 6):
        day, hour = divmod(hours - 1, 24)
        if not (9, 12) <= (day, hour) < (13, 5):
            heard_at = begin + timedelta(hours=hours) - timedelta(minutes=2)
            hear(operation, "interactions", heard_at, ("Email", str(4 * (hour + 1))))
    hear(operation, "interactions", MIDNIGHT + timedelta(hours=6), ("Email", "4"))
    closing.close_months(MIDNIGHT + timedelta(hours=7))
    month = MonthlyUsage.objects.get(month=OCTOBER)
    assert (month.items, month.reckoned_days, month.lowest) == (27 * 96 + 48, [10], 96)
    found = certificate()
    assert (found.seconds_unheard, found.seconds_at_midnights) == (120, 26 * 120 + 12 * 3600 + 120 + 3 * 86_400)
    assert 336 <= found.most_unseen <= 342
    assert list(rebuild(write=False)) == []


def test_where_all_days_are_named_anew_no_midnight_hides_anything(operation: Operation) -> None:
    begin = MIDNIGHT - timedelta(days=31)
    Feed.objects.update(last_good_poll_at=begin)
    for day in (1, 2, 9, 31):  # with gaps over days on which nothing was used
        rows = [("Email", "10", f"2026-10-{its:02}") for its in (1, 2, 9, 31) if its <= day]
        hear(operation, "interactions", begin + timedelta(days=day, minutes=-5), *rows)
    heard(operation, (4, "3"), date="2026-11-01")
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    month = MonthlyUsage.objects.get(month=OCTOBER)
    assert (month.items, month.reckoned_days) == (40, [])
    assert (certificate().seconds_unheard, certificate().seconds_at_midnights) == (300, 0)


def test_a_call_that_began_before_midnight_closes_no_month(october: Operation) -> None:
    heard(october, (-0.5, "3"), date="2026-11-01")
    assert closing.close_months(MIDNIGHT + timedelta(minutes=1)) == 0
    heard(october, (4, "4"), date="2026-11-01")
    assert closing.close_months(MIDNIGHT + timedelta(minutes=5)) == 1


def test_a_month_that_was_told_of_too_early_closes_none_before_it_is_told_of_again(october: Operation) -> None:
    heard(october, (-0.5, "3"), date="2026-11-01")
    heard(october, (4, "1075"), date="2026-10-31")
    assert closing.close_months(MIDNIGHT + timedelta(minutes=5)) == 0


def test_no_more_is_said_to_have_gone_unseen_than_a_figure_can_be(operation: Operation) -> None:
    begin = MIDNIGHT - timedelta(days=20)
    Feed.objects.update(last_good_poll_at=begin)
    for minutes, items in ((5, "900000000"), (10, "0"), (15, "900000010")):
        hear(operation, "interactions", begin + timedelta(minutes=minutes), ("Email", items))
    closing.close_months(MIDNIGHT + timedelta(days=2))
    assert certificate().most_unseen == 99_999_999_999


def test_what_was_heard_before_the_closing_is_in_it_whatever_the_clocks_say(october: Operation) -> None:
    heard(october, (4, "1075"), date="2026-10-31")
    heard(october, (5, "2"), date="2026-11-01")
    assert closing.close_months(MIDNIGHT + timedelta(minutes=3)) == 1
    heard(october, (5.5, "1076"), date="2026-10-31")
    assert corrections() == [1076]
    assert list(rebuild(write=False)) == []


# Corrections


def test_a_month_that_can_not_be_closed_holds_up_no_other(october: Operation) -> None:
    hear(october, "interaction_licenses", MIDNIGHT - timedelta(minutes=1), ("Licences", "40"))
    usage = MonthlyUsage.objects.get(product__api="interactions")
    Certificate.objects.create(usage=usage, last_good_poll_at=MIDNIGHT, seconds_unheard=0)  # from nobody knows where
    with pytest.raises(closing.NotClosed, match="2026-10 of interactions of operation"):
        closing.close_months(MIDNIGHT + timedelta(days=2))
    states = dict(MonthlyUsage.objects.values_list("product__api", "state"))
    assert states == {"interactions": "open", "interaction_licenses": "closed"}


def test_who_closes_a_month_that_another_has_just_closed_does_nothing(october: Operation) -> None:
    heard(october, (4, "3"))
    now = MIDNIGHT + timedelta(minutes=5)
    assert closing.end_month(october.pk, "interactions", OCTOBER, now)
    assert not closing.end_month(october.pk, "interactions", OCTOBER, now)


def test_a_certificate_names_the_answer_behind_the_figure_though_our_clock_was_set_back(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(minutes=20))
    heard(operation, (-15, "990"), (-10, "1000"), (-12, "1030"), date="2026-10-31")
    heard(operation, (4, "1"), date="2026-11-01")
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    assert certificate().usage.items == 1030
    assert certificate().answer_sha256 == hashlib.sha256(body_of([("Email", "1030", "2026-10-31")])).hexdigest()


def test_a_clock_that_jumps_over_the_months_end_closes_nothing(october: Operation) -> None:
    """Before a call went out by the new time nobody can know; afterwards the vendor's clock tells."""
    jumped = MIDNIGHT + timedelta(days=10)
    Feed.objects.update(last_poll_at=MIDNIGHT - timedelta(minutes=1))
    assert closing.close_months(jumped) == 0
    Feed.objects.update(last_poll_at=jumped)
    Operation.objects.update(clock_skew=-10 * 86_400 - 300)
    assert closing.close_months(jumped) == 0
    Operation.objects.update(clock_skew=0)
    assert closing.close_months(jumped) == 1


def test_later_news_after_days_is_a_correction_too(october: Operation) -> None:
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    later = MIDNIGHT + timedelta(days=5)
    hear(october, "interactions", later, ("Email", "1075", "2026-10-31"), ("Chat", "9", "2026-11-06"))
    hear(
        october, "interactions", later + timedelta(minutes=5), ("Email", "1080", "10-2026"), ("Chat", "9", "2026-11-06")
    )
    assert corrections() == [1075, 1080]
    with pytest.raises(AnswerRefused, match="no later day"):
        hear(october, "interactions", later + timedelta(minutes=10), ("Email", "1081", "2026-10-31"))
    assert list(rebuild(write=False)) == []


def test_a_word_on_an_earlier_day_of_a_closed_month_corrects_nothing(october: Operation) -> None:
    heard(october, (-0.5, "1075"), date="2026-10-31")
    heard(october, (4, "3"), date="2026-11-01")
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    heard(october, (8, "1060"), date="2026-10-30")
    heard(october, (13, "4"), date="2026-11-01")
    assert corrections() == []
    heard(october, (18, "1080"), date="2026-10-31")
    heard(october, (23, "1061"), date="2026-10-30")
    assert corrections() == [1080]
    assert list(rebuild(write=False)) == []


def test_a_product_that_was_not_counted_stays_out_of_the_month_that_closes(october: Operation) -> None:
    heard(october, (-1, "1000"))
    hear(october, "interactions", MIDNIGHT - timedelta(seconds=30), ("Email", "1000"), ("Total consumo", "1000"))
    Product.objects.filter(name="Total consumo").update(is_counted=False)
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    assert not MonthlyUsage.objects.get(product__name="Total consumo").closed_is_counted
    assert MonthlyUsage.objects.get(product__name="Email", month=OCTOBER).closed_is_counted


def test_a_closed_month_keeps_what_an_admin_changes_later(october: Operation) -> None:
    heard(october, (-1, "1000"), (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))

    def closed() -> tuple[str, str, str]:
        its = MonthlyUsage.objects.get(product__description="Email", month=OCTOBER).its_product
        return its.name, its.unit, its.kind

    before = closed()
    Product.objects.update(name="Correo", unit="seconds", kind="active count")
    assert closed() == before == ("Email", "interactions", "usage")


def corrections() -> list[Decimal]:
    return [correction.items for correction in Correction.objects.all()]


def test_later_news_is_a_correction_beside_the_closed_figure(october: Operation) -> None:
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    before = MonthlyUsage.objects.filter(month=OCTOBER).values().get()
    heard(october, (9, "1075"), (14, "1075"), (19, "1072"), date="2026-10-31")
    assert corrections() == [1075, 1072]
    assert MonthlyUsage.objects.filter(month=OCTOBER).values().get() == before
    assert list(rebuild(write=False)) == []


def test_a_product_that_is_told_of_after_the_closing_stands_beside_its_month(october: Operation) -> None:
    heard(october, (4, "3"), date="2026-11-01")
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    before = MonthlyUsage.objects.get(month=OCTOBER)
    late = [("Email", "1072", "2026-10-31"), ("Twitter", "7", "2026-10-31"), ("Facebook", "0", "2026-10-31")]
    hear(october, "interactions", MIDNIGHT + timedelta(minutes=9), *late)
    closing.close_months(MIDNIGHT + timedelta(days=4))
    found = MonthlyUsage.objects.select_related("product").get(product__description="Twitter")
    assert (found.items, found.state, found.as_of, found.closed_at) == (0, "closed", before.as_of, before.closed_at)
    assert [correction.items for correction in found.corrections.all()] == [7]
    assert MonthlyUsage.objects.filter(month=OCTOBER).aggregate(Sum("items"))["items__sum"] == 1072
    assert not MonthlyUsage.objects.filter(product__description="Facebook").exists()
    assert not DailyUsage.objects.filter(product__description="Twitter").exists()
    assert list(rebuild(write=True)) == []


def test_licences_that_are_told_of_after_the_closing_are_not_said_to_have_been_none(operation: Operation) -> None:
    for minutes, rows in ((-6, [("Licences", "40")]), (54, [("Licences", "41")])):
        hear(operation, "interaction_licenses", MIDNIGHT + timedelta(minutes=minutes), *rows)
    closing.close_months(MIDNIGHT + timedelta(minutes=55))
    late = [("Licences", "40", "2026-10-31"), ("Licences B", "9", "2026-10-31")]
    hear(operation, "interaction_licenses", MIDNIGHT + timedelta(minutes=114), *late)
    assert [row.product.description for row in MonthlyUsage.objects.filter(month=OCTOBER)] == ["Licences"]
    assert Snapshot.objects.filter(product__description="Licences B", items=9).exists()
    assert list(rebuild(write=True)) == []


def test_news_of_a_call_that_was_under_way_at_the_closing_is_later_news(october: Operation) -> None:
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=9, seconds=1))
    heard(october, (9, "1075"), date="2026-10-31")
    assert corrections() == [1075]
    assert list(rebuild(write=False)) == []


def test_an_answer_that_corrects_two_days_of_a_gauge_is_one_correction(operation: Operation) -> None:
    def told(minutes: int, *rows: tuple[str, str]) -> None:
        days = [("Licences", items, day) for items, day in rows]
        hear(operation, "interaction_licenses", MIDNIGHT + timedelta(minutes=minutes), *days)

    told(-1, ("40", "2026-10-30"))
    told(4, ("41", "2026-11-01"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    told(9, ("44", "2026-10-31"), ("45", "2026-10-30"), ("41", "2026-11-01"))
    assert corrections() == [44]


def test_the_same_news_again_corrects_nothing(october: Operation) -> None:
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    heard(october, (9, "1072"), date="2026-10-31")
    assert corrections() == []


def test_a_poll_that_was_under_way_while_the_month_closed_corrects_it(october: Operation) -> None:
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=9, seconds=30))
    heard(october, (9, "1075"), date="2026-10-31")
    assert corrections() == [1075]
    assert list(rebuild(write=False)) == []


def test_a_day_that_changes_later_corrects_the_sum(operation: Operation) -> None:
    def days(*items: str) -> list[tuple[str, str, str]]:
        return [("Email", figure, f"2026-10-{29 + number}") for number, figure in enumerate(items)]

    hear(operation, "interactions", MIDNIGHT - timedelta(minutes=1), *days("10", "20", "30"))
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=4), ("Email", "1", "2026-11-01"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    assert MonthlyUsage.objects.get(month=OCTOBER).items == 60
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=9), *days("10", "25", "30"))
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=14), *days("10", "25", "31"))
    assert corrections() == [65, 66]
    assert list(rebuild(write=False)) == []


def test_what_a_certificate_and_a_correction_stand_on_is_never_pruned(october: Operation) -> None:
    heard(october, (4, "3"))
    closing.close_months(MIDNIGHT + timedelta(minutes=5))
    heard(october, (9, "1075"), date="2026-10-31")
    pruning.prune(MIDNIGHT + timedelta(days=400), keep_days=90)
    assert certificate().poll in Poll.objects.all()
    assert Correction.objects.get().poll in Poll.objects.all()
