from datetime import UTC, date, datetime, timedelta

import pytest

from tests.conftest import hear, make_operation, make_user
from usage.collecting import closing
from usage.models import Feed, MonthlyUsage, Operation, Product
from usage.presenting import days

pytestmark = pytest.mark.django_db

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


def at(day: int, hour: int = 12, minute: int = 0, month: int = 11) -> datetime:
    """A time of 2026 in Bogotá, which is five hours behind UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC) + timedelta(hours=5)


def day_of(
    operation: Operation, day: date, now: datetime, name: str = "Email", *, most: int = days.MOST
) -> days.DayPage:
    product = Product.objects.get(name=name).pk
    found = days.feed_with_months(Operation.objects.all(), operation.slug, product)
    assert found is not None
    feed, known = found
    return days.day_page(feed, product, day, known, now, most=most)


@pytest.fixture
def heard(operation: Operation) -> Operation:
    """October's last day and November's 4th to 6th, of a feed that is read each hour. The 5th has two figures."""
    Feed.objects.update(interval=60)
    for month, day, hour, items in ((10, 31, 23, "900"), (11, 4, 9, "40"), (11, 4, 23, "50"), (11, 5, 0, "50")):
        hear(operation, "interactions", at(day, hour, 50, month), ("Email", items, f"2026-{month}-{day:02}"))
    for hour in range(1, 23):
        hear(operation, "interaction_licenses", at(5, hour), ("Interaction licences", "40"))
        hear(operation, "interactions", at(5, hour, 50), ("Email", "50" if hour < 9 else "90", "2026-11-05"))
    for hour in (23, 24, 25):
        hear(operation, "interactions", at(5, 0, 50) + timedelta(hours=hour), ("Email", "90", ""))
    return operation


def test_a_figure_that_is_shown_again_and_again_is_one_row_with_the_poll_that_first_saw_it(heard: Operation) -> None:
    page = day_of(heard, date(2026, 11, 5), at(6, 3))
    told = [
        (shown.items, shown.first_seen, shown.last_seen, shown.vendor_date, shown.first_poll.started_at)
        for shown in page.snapshots
    ]
    assert told == [
        (50, at(5, 0, 50), at(5, 8, 50), "2026-11-05", at(5, 0, 50)),
        (90, at(5, 9, 50), at(5, 23, 50), "2026-11-05", at(5, 9, 50)),
    ]
    answers = [shown.first_poll.answer for shown in page.snapshots]
    assert [len(answer.sha256) for answer in answers if answer] == [64, 64]
    assert not page.is_cut


def test_a_day_says_what_it_used_since_when_and_against_which_licences(heard: Operation) -> None:
    page = day_of(heard, date(2026, 11, 5), at(6, 3))
    assert page.known is not None
    assert [page.known.items, page.to_date_before, page.known.month_to_date] == [40, 50, 90]
    assert [page.licences, page.per_licence, page.is_unfinished] == [40, 1, False]
    assert day_of(heard, date(2026, 11, 6), at(6, 3)).is_unfinished


def test_a_day_leads_to_those_with_figures_beside_it_in_other_months_too(heard: Operation) -> None:
    page = day_of(heard, date(2026, 11, 6), at(6, 3))
    assert (page.previous, page.next) == (date(2026, 11, 5), None)
    page = day_of(heard, date(2026, 10, 31), at(6, 3))
    assert page.next == date(2026, 11, 1)
    assert day_of(heard, date(2026, 11, 1), at(6, 3)).previous == date(2026, 10, 31)
    assert day_of(heard, date(2026, 11, 29), at(6, 3)).previous == date(2026, 11, 6)


def test_a_day_without_figures_says_why(operation: Operation) -> None:
    Feed.objects.update(interval=1440)
    hear(operation, "interactions", at(3), ("Email", "30"))
    hear(operation, "interactions", at(4), ("Email", "40"))
    MonthlyUsage.objects.update(gaps=[])
    Feed.objects.filter(api="interactions").update(last_good_poll_at=at(9))
    now = at(9, 14)
    whys = {day: day_of(operation, date(2026, 11, day), now).why_unknown for day in (1, 5, 9, 10)}
    assert whys == {1: "before the first", 5: "not told", 9: "awaited", 10: "to come"}
    MonthlyUsage.objects.update(gaps=[[4 * 86_400, 5 * 86_400]])
    assert day_of(operation, date(2026, 11, 5), now).why_unknown == "unheard"
    hear(operation, "interaction_licenses", at(9), ("Interaction licences", "40"))
    page = day_of(operation, date(2026, 11, 5), now, "Interaction licences")
    assert (page.why_unknown, page.first) == ("before the first", date(2026, 11, 9))


def test_stretches_without_an_answer_are_cut_to_the_day(heard: Operation) -> None:
    MonthlyUsage.objects.update(gaps=[[0, 10], [4 * 86_400 - 60, 4 * 86_400 + 60], [4 * 86_400 + 3_600, 6 * 86_400]])
    page = day_of(heard, date(2026, 11, 5), at(6, 3))
    assert page.stretches == [(at(5, 0), at(5, 0, 1)), (at(5, 1), at(6, 0))]


def test_what_comes_after_the_closing_is_a_correction(operation: Operation) -> None:
    Feed.objects.update(interval=1440)
    hear(operation, "interactions", at(30, 23, 50, month=10), ("Email", "900", "2026-10-30"))
    hear(operation, "interactions", at(31, 23, 50, month=10), ("Email", "950", "2026-10-31"))
    hear(operation, "interactions", at(1, 0, 30), ("Email", "5", "2026-11-01"))
    closing.close_months(at(1, 1))
    hear(operation, "interactions", at(1, 2), ("Email", "960", "2026-10-31"))
    page = day_of(operation, date(2026, 10, 31), at(1, 3))
    assert page.known is not None
    assert page.known.month_to_date == 950
    assert [(shown.items, shown.pk in page.corrections) for shown in page.snapshots] == [(950, False), (960, True)]


def test_the_last_of_very_many_figures_are_shown(operation: Operation) -> None:
    for minute, items in enumerate(("10", "20", "30")):
        hear(operation, "interactions", at(3, 12, minute), ("Email", items))
    page = day_of(operation, date(2026, 11, 3), at(3, 13), most=2)
    assert page.is_cut
    assert [shown.items for shown in page.snapshots] == [20, 30]


def test_a_gauges_day_has_its_last_lowest_and_highest(operation: Operation) -> None:
    for minute, items in enumerate(("60", "55", "58")):
        hear(operation, "interaction_licenses", at(3, 12, minute), ("Interaction licences", items))
    page = day_of(operation, date(2026, 11, 3), at(3, 13), "Interaction licences")
    assert page.known is not None
    assert (page.known.items, page.known.lowest, page.known.highest) == (58, 55, 60)
    assert (page.licences, page.to_date_before, page.is_unfinished) == (None, None, False)


def test_a_product_is_found_in_an_operation_that_has_it_and_is_open_to_the_reader(heard: Operation) -> None:
    email = Product.objects.get(name="Email").pk
    quito = make_operation("Quito", groups=["Quito"])
    hear(quito, "interactions", at(6), ("Chat", "1"))
    chat = Product.objects.get(name="Chat").pk
    theirs = Operation.objects.visible_to(make_user("manager", "Managers"))
    assert days.feed_with_months(theirs, "quito", chat) is None
    assert days.feed_with_months(Operation.objects.all(), "quito", email) is None
    found = days.feed_with_months(theirs, heard.slug, email)
    assert found is not None
    assert (found[0].api, found[0].operation, found[1]) == ("interactions", heard, [OCTOBER, NOVEMBER])
    Product.objects.filter(pk=email).update(is_counted=False)
    assert days.feed_with_months(theirs, heard.slug, email) is None
