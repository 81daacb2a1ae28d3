import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from tests.conftest import hear
from tests.presenting.in_bogota import NOVEMBER, OCTOBER, at, everything, hear_days
from usage.models import Certificate, Correction, DailyUsage, Feed, MonthlyUsage, Operation
from usage.presenting.comparing import Comparison
from usage.presenting.figures import Line, ProductMonth
from usage.presenting.operation import line_with_pace, operation_page
from usage.presenting.overview import operation_months

pytestmark = pytest.mark.django_db


def row_of(operation: Operation, now: datetime, month: date = NOVEMBER, name: str = "Email") -> ProductMonth:
    page = operation_page(operation, month, now)
    return next(card.row for card in page.cards if card.row.product.name == name)


# Against the month before


def test_a_running_month_is_compared_by_its_complete_days(operation: Operation) -> None:
    hear_days(operation, 10, {1: "90", 2: "200", 3: "330"})
    hear_days(operation, 11, {1: "110", 2: "242", 3: "400"}, hour=14)
    change = row_of(operation, at(3, 15)).change
    assert change is not None
    assert (change.day, change.percent, change.is_whole) == (2, 21, False)
    assert [change.now, change.then] == [242, 200]


def test_a_month_that_the_vendor_begins_before_us_has_the_days_that_it_tells_of(operation: Operation) -> None:
    hear_days(operation, 11, {28: "280", 29: "290"})
    now = at(30, 20)
    hear(operation, "interactions", now, ("Email", "5", "2026-12-01"))
    (card,) = operation_page(operation, date(2026, 12, 1), now).cards
    assert [day.day for day in card.days] == [date(2026, 12, 1)]
    assert (card.row.missing, card.row.unknown_days) == ([], [])


def test_nothing_is_said_on_the_first_day(operation: Operation) -> None:
    hear_days(operation, 10, {1: "90"})
    hear_days(operation, 11, {1: "110"}, hour=14)
    assert row_of(operation, at(1, 15)).change is None


@pytest.mark.parametrize(
    ("october", "november"), [({2: "90"}, {1: "110", 2: "200"}), ({1: "90", 2: "150"}, {2: "200"}), ({}, {2: "200"})]
)
def test_nothing_is_said_where_either_day_is_unknown(
    operation: Operation, october: dict[int, str], november: dict[int, str]
) -> None:
    hear_days(operation, 10, october)
    hear_days(operation, 11, november, hour=14)
    assert row_of(operation, at(2, 15)).change is None


def test_a_month_that_is_over_is_compared_as_a_whole(operation: Operation) -> None:
    hear_days(operation, 10, {30: "900", 31: "1000"})
    hear_days(operation, 11, {29: "700", 30: "800"})
    change = row_of(operation, at(2, month=12)).change
    assert change is not None
    assert (change.percent, change.is_whole) == (-20, True)
    assert [change.now, change.then] == [800, 1000]


def test_a_month_that_went_unheard_before_its_end_is_not_compared(operation: Operation) -> None:
    hear_days(operation, 10, {31: "1000"})
    hear_days(operation, 11, {28: "800"})
    assert row_of(operation, at(2, month=12)).change is None


def test_a_day_that_the_shorter_month_before_lacks_is_not_compared(operation: Operation) -> None:
    for month, day in ((2, 28), (3, 29), (3, 30)):
        hear(operation, "interactions", at(day, month=month), ("Email", "100"))
    assert row_of(operation, at(30, 13, month=3), date(2026, 3, 1)).change is None


def test_what_grew_from_nothing_has_no_percent(operation: Operation) -> None:
    hear_days(operation, 10, {1: "0"})
    hear_days(operation, 11, {1: "10", 2: "20"}, hour=14)
    change = row_of(operation, at(2, 15)).change
    assert change is not None
    assert change.percent is None


# Licences


def test_use_per_licence_follows_the_months_last_licences(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "1"))
    for day, licences in ((2, "55"), (12, "60")):
        hear(operation, "interaction_licenses", at(day), ("Interaction licences", licences))
    hear(operation, "interactions", at(13), ("Email", "1234.5"))
    row = row_of(operation, at(13, 13))
    assert row.licences is not None
    assert [row.licences.last, row.licences.first, row.licences.change] == [60, 55, 5]
    assert row.per_licence == Decimal("1234.5") / 60


@pytest.mark.parametrize("licences", [None, "0"])
def test_without_licences_there_is_no_use_per_licence(operation: Operation, licences: str | None) -> None:
    if licences:
        hear(operation, "interaction_licenses", at(1), ("Interaction licences", licences))
    hear(operation, "interactions", at(1), ("Email", "10"))
    assert row_of(operation, at(1, 13)).per_licence is None


# Days


def test_today_is_unfinished_and_the_days_without_news_are_missing(operation: Operation) -> None:
    hear_days(operation, 11, {1: "10", 2: "20", 5: "50"}, hour=14)
    row = row_of(operation, at(5, 15))
    assert (row.unfinished, row.missing, row.unknown_days) == (5, [], [])
    later = row_of(operation, at(7, 1))
    assert (later.unfinished, later.missing, later.unknown_days) == (5, [6], [6])


def test_a_gap_lies_at_its_place_in_its_days(operation: Operation) -> None:
    hear_days(operation, 11, {1: "10", 2: "20"})
    MonthlyUsage.objects.update(gaps=[[36_000, 43_200], [79_200, 183_600]])
    row = row_of(operation, at(3, 0, 1))
    assert row.bands == [(10 / 24, 0.5), (22 / 24, 2.125)]
    assert row.unheard == {1: 7200 + 7200, 2: 86_400, 3: 3 * 3600}


def test_a_day_of_another_length_is_a_day_on_the_chart(operation: Operation) -> None:
    """In Santiago, 4 April 2026 has 25 hours."""
    Operation.objects.update(time_zone="America/Santiago")
    operation.refresh_from_db()
    hear(operation, "interactions", datetime(2026, 4, 6, 15, tzinfo=UTC), ("Email", "1"))
    MonthlyUsage.objects.update(gaps=[[3 * 86_400 + 45_000, 3 * 86_400 + 90_000 + 43_200]])
    row = row_of(operation, datetime(2026, 4, 6, 15, 1, tzinfo=UTC), date(2026, 4, 1))
    assert row.bands == [(3.5, 4.5)]
    assert row.unheard == {4: 45_000, 5: 43_200}


def test_a_stretch_that_still_runs_is_a_gap_after_two_and_a_half_intervals(operation: Operation) -> None:
    hear(operation, "interactions", at(4), ("Email", "40"))
    MonthlyUsage.objects.update(gaps=[])
    assert row_of(operation, at(4, 12, 12)).bands == []
    assert row_of(operation, at(6, 12)).bands == [(3.5, 5.5)]


def test_answers_that_are_held_are_no_gap(operation: Operation) -> None:
    hear(operation, "interactions", at(4), ("Email", "40"))
    MonthlyUsage.objects.update(gaps=[])
    Feed.objects.filter(api="interactions").update(held_since=at(4, 12, 5))
    assert row_of(operation, at(4, 18)).bands == []
    Feed.objects.filter(api="interactions").update(held_since=at(4, 18))
    assert row_of(operation, at(5)).bands == [(3.5, 3.75)]


def test_a_gap_that_runs_ends_with_its_month_and_shows_in_the_next_from_its_beginning(operation: Operation) -> None:
    hear_days(operation, 10, {30: "300"}, hour=11)
    hear(operation, "interactions", at(1, 6), ("Email", "7", "2026-11-01"))
    MonthlyUsage.objects.update(gaps=[])
    Feed.objects.filter(api="interactions").update(last_good_poll_at=at(30, 12, month=10))
    assert row_of(operation, at(2), OCTOBER).bands == [(29.5, 31)]
    assert row_of(operation, at(2)).bands == [(0, 1.5)]
    MonthlyUsage.objects.update(state="closed", closed_at=at(1))
    assert row_of(operation, at(2), OCTOBER).bands == []


def test_a_day_that_lies_in_a_gap_is_not_unknown_besides(operation: Operation) -> None:
    hear_days(operation, 11, {1: "10", 5: "50"}, hour=14)
    MonthlyUsage.objects.update(gaps=[[86_400, 3 * 86_400]], items_by_day=["10", None, None, None, "40"])
    row = row_of(operation, at(5, 15))
    assert row.unknown_days == [4]


def test_the_last_day_of_a_month_is_unfinished_until_it_closes(operation: Operation) -> None:
    hear_days(operation, 11, {day: str(day) for day in range(1, 31)})
    row = row_of(operation, at(1, 1, month=12))
    assert (row.unfinished, row.missing) == (30, [])
    MonthlyUsage.objects.update(state="closed", closed_at=at(1, 2, month=12))
    assert row_of(operation, at(1, 2, month=12)).unfinished is None


def test_midnight_is_the_operations_own(operation: Operation) -> None:
    hear_days(operation, 11, {30: "10"})
    assert not row_of(operation, datetime(2026, 12, 1, 4, 59, tzinfo=UTC)).has_ended
    assert row_of(operation, datetime(2026, 12, 1, 5, 0, tzinfo=UTC)).has_ended


def test_a_card_tells_every_day_so_far(operation: Operation) -> None:
    hear(operation, "interaction_licenses", at(1), ("Interaction licences", "40"))
    hear_days(operation, 11, {1: "10", 3: "30", 4: "25"}, hour=14)
    days = operation_page(operation, NOVEMBER, at(4, 15)).cards[0].days
    told: list[tuple[object, ...]] = [
        (day.day.day, day.items, day.month_to_date, day.licences, day.is_restated) for day in days
    ]
    assert told == [
        (1, 13, 13, 40, False),
        (2, 10, 23, None, False),
        (3, 7, 30, None, False),
        (4, -5, 25, None, True),
    ]
    assert [day.is_unfinished for day in days] == [False, False, False, True]


def test_a_card_says_which_days_are_reckoned_and_how_long_they_went_unheard(operation: Operation) -> None:
    hear_days(operation, 11, {1: "10", 2: "20", 3: "30"})
    MonthlyUsage.objects.update(gaps=[[80_000, 90_000]])
    DailyUsage.objects.filter(day__lte=date(2026, 11, 2)).update(is_reckoned=True)
    days = operation_page(operation, NOVEMBER, at(4, 0, 1)).cards[0].days
    assert [(day.is_reckoned, day.unheard) for day in days] == [(True, 6400), (True, 3600), (False, 0)]


def test_a_card_has_its_certificate_and_every_correction_in_their_order(operation: Operation) -> None:
    hear_days(operation, 10, {31: "1000"})
    october = MonthlyUsage.objects.get(month=OCTOBER)
    certificate = Certificate.objects.create(
        usage=october, last_good_poll_at=october.as_of, seconds_unheard=39, pace="unknown"
    )
    for items, day in (("1020", 3), ("1030", 4), ("1012", 2)):
        poll = hear(operation, "interactions", at(day), ("Email", items, "2026-11-01"))
        Correction.objects.create(usage=october, poll=poll, items=items, seen_at=at(day))
    row = row_of(operation, at(5), OCTOBER)
    assert row.certificate == certificate
    assert [(correction.items, correction.seen_at) for correction in row.corrections] == [
        (1012, at(2)),
        (1020, at(3)),
        (1030, at(4)),
    ]
    assert (row_of(operation, at(5)).certificate, row_of(operation, at(5)).corrections) == (None, ())


def test_a_day_without_news_yet_is_no_row(operation: Operation) -> None:
    hear_days(operation, 11, {1: "10"})
    assert len(operation_page(operation, NOVEMBER, at(2, 0, 1)).cards[0].days) == 1


def test_the_key_figures_are_those_of_the_interactions_used_most(operation: Operation) -> None:
    Feed.objects.filter(api="tts_chars").update(is_enabled=True)
    hear(operation, "tts_chars", at(1), ("Voices", "900000"))
    hear(operation, "interactions", at(1), ("Chat", "5"), ("Email", "500"))
    main = operation_page(operation, NOVEMBER, at(1, 13)).main
    assert main is not None
    assert main.product.name == "Email"


# What the overview says too


@pytest.mark.parametrize("now", [at(1, 15), at(4, 15), at(9, 15), at(20, month=12)])
def test_the_overview_tells_what_the_operations_page_tells(operation: Operation, now: datetime) -> None:
    days = {10: (5, 6, 9, 31), 11: (1, 4, 5, 8, 9)}
    for month, day in [(month, day) for month, days in days.items() for day in days]:
        if at(day, month=month) < now:
            hear(operation, "interactions", at(day, month=month), ("Email", f"{day * 7}.25"), ("X", f"{day % 4}"))
            hear(operation, "interaction_licenses", at(day, month=month), ("Interaction licences", f"{40 + day}"))
    MonthlyUsage.objects.filter(product__name="X").update(reckoned_days=[4, 5, 8, 9])
    MonthlyUsage.objects.filter(product__name="Email", month=OCTOBER).update(to_date_by_day=[None] * 31)
    (overview,) = operation_months(everything(), NOVEMBER, now)
    page = operation_page(operation, NOVEMBER, now)
    assert len(overview.rows) == 2
    lines = [line_with_pace(card.row) for card in page.cards]
    assert [parsed(line) for line in overview.rows] == [parsed(line) for line in lines]


def parsed(line: Line) -> Line:
    """With its lists read: how JSON is spaced is the database's own affair. By which change it is told differs."""
    lists = {"items_by_day": json.loads(line.items_by_day), "reckoned_days": json.loads(line.reckoned_days)}
    return line._replace(**lists, change=None)


def test_an_operation_is_told_in_the_overviews_words_and_in_all_of_them(operation: Operation) -> None:
    Feed.objects.update(interval=1440)
    for month, email, chat, licences in ((10, 100, 50, 40), (11, 150, 20, 60)):
        for day in range(1, 23):
            hear(
                operation,
                "interactions",
                at(day, 23, 59, month),
                ("Email", f"{email * day}"),
                ("Chat", f"{chat * day}"),
            )
            hear(operation, "interaction_licenses", at(day, 23, 59, month), ("Interaction licences", f"{licences}"))
    now = at(23, 0, 30)
    said = operation_page(operation, NOVEMBER, now).sentences
    assert operation_months(everything(), NOVEMBER, now)[0].sentence == said[0]
    assert said == [
        "Email is 50% above October's pace; licences went from 40 to 60.",
        "Use per licence is 24% below that of October; licences went from 40 to 60.",
        "Chat is 60% below October's pace.",
    ]
    other = Comparison(NOVEMBER, date(2026, 9, 1))
    assert operation_page(operation, NOVEMBER, now, other).sentences == []
    assert operation_page(operation, OCTOBER, now).sentences == []
