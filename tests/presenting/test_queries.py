import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group

from tests.conftest import hear, make_operation, make_user
from usage.models import (
    Certificate,
    Correction,
    DailyUsage,
    Feed,
    MonthlyUsage,
    Operation,
    OperationQuerySet,
    Product,
)
from usage.presenting import queries
from usage.presenting.figures import Line, Months, ProductMonth, choose_month

pytestmark = pytest.mark.django_db

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


def at(day: int, hour: int = 12, minute: int = 0, month: int = 11) -> datetime:
    """A time of 2026 in Bogotá, which is five hours behind UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC) + timedelta(hours=5)


def everything() -> OperationQuerySet:
    return Operation.objects.all()


def row_of(operation: Operation, now: datetime, month: date = NOVEMBER, name: str = "Email") -> ProductMonth:
    page = queries.operation_page(operation, month, now)
    return next(card.row for card in page.cards if card.row.product.name == name)


def hear_days(operation: Operation, month: int, totals: dict[int, str], *, hour: int = 23) -> None:
    Feed.objects.filter(operation=operation).update(interval=1440)
    for day, total in totals.items():
        hear(operation, "interactions", at(day, hour, 59, month), ("Email", total))


# Months


def test_a_month_is_todays_or_else_the_latest_with_figures() -> None:
    known = [OCTOBER, NOVEMBER]
    assert choose_month(None, known, date(2026, 11, 23)).chosen == NOVEMBER
    assert choose_month(None, known, date(2026, 12, 1)).chosen == NOVEMBER
    assert choose_month(None, [], date(2026, 12, 9)).chosen == date(2026, 12, 1)
    assert choose_month(OCTOBER, known, date(2026, 11, 23)).chosen == OCTOBER


def test_the_picker_leads_to_months_that_exist_only() -> None:
    months = Months(chosen=OCTOBER, known=[date(2026, 12, 1), OCTOBER, date(2026, 7, 1)], default=OCTOBER)
    assert (months.previous, months.next, months.before) == (date(2026, 7, 1), date(2026, 12, 1), date(2026, 9, 1))
    assert Months(OCTOBER, [OCTOBER], OCTOBER).previous is None


def test_months_are_those_of_the_operations_that_the_reader_sees(operation: Operation) -> None:
    hear_days(make_operation("Quito", groups=["Quito"]), 10, {3: "10"})
    hear_days(operation, 11, {3: "10"})
    operations = Operation.objects.visible_to(make_user("manager", "Managers"))
    assert queries.months_of(operations) == [NOVEMBER]
    assert queries.operation_with_months(operations, "quito") is None
    assert queries.operation_with_months(operations, operation.slug) == (operation, [NOVEMBER])


def test_months_are_found_over_those_without_figures(operation: Operation) -> None:
    for month in (12, 7, 9):
        hear(operation, "interactions", at(3, month=month), ("Email", "1"))
    hear(operation, "interaction_licenses", at(3, month=8), ("Interaction licences", "1"))
    assert [month.month for month in queries.months_of(everything())] == [7, 8, 9, 12]
    assert [month.month for month in queries.months_of(everything(), Product.objects.get(name="Email"))] == [7, 9, 12]
    assert queries.months_of(Operation.objects.none()) == []


def test_an_operation_without_figures_is_found_and_has_no_month(operation: Operation) -> None:
    assert queries.operation_with_months(everything(), operation.slug) == (operation, [])


# Against the month before


def test_a_running_month_is_compared_by_its_complete_days(operation: Operation) -> None:
    hear_days(operation, 10, {1: "90", 2: "200", 3: "330"})
    hear_days(operation, 11, {1: "110", 2: "242", 3: "400"}, hour=14)
    change = row_of(operation, at(3, 15)).change
    assert change is not None
    assert (change.day, change.percent, change.is_whole) == (2, 21, False)
    assert [change.now, change.then] == [242, 200]


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


def test_a_month_that_is_over_has_no_unfinished_day(operation: Operation) -> None:
    hear_days(operation, 11, {day: str(day) for day in range(1, 31)})
    row = row_of(operation, at(1, 1, month=12))
    assert (row.unfinished, row.missing) == (None, [])


def test_midnight_is_the_operations_own(operation: Operation) -> None:
    hear_days(operation, 11, {30: "10"})
    assert not row_of(operation, datetime(2026, 12, 1, 4, 59, tzinfo=UTC)).has_ended
    assert row_of(operation, datetime(2026, 12, 1, 5, 0, tzinfo=UTC)).has_ended


def test_a_card_tells_every_day_so_far(operation: Operation) -> None:
    hear(operation, "interaction_licenses", at(1), ("Interaction licences", "40"))
    hear_days(operation, 11, {1: "10", 3: "30", 4: "25"}, hour=14)
    days = queries.operation_page(operation, NOVEMBER, at(4, 15)).cards[0].days
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
    days = queries.operation_page(operation, NOVEMBER, at(4, 0, 1)).cards[0].days
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
    assert len(queries.operation_page(operation, NOVEMBER, at(2, 0, 1)).cards[0].days) == 1


def test_the_key_figures_are_those_of_the_interactions_used_most(operation: Operation) -> None:
    Feed.objects.filter(api="tts_chars").update(is_enabled=True)
    hear(operation, "tts_chars", at(1), ("Voices", "900000"))
    hear(operation, "interactions", at(1), ("Chat", "5"), ("Email", "500"))
    main = queries.operation_page(operation, NOVEMBER, at(1, 13)).main
    assert main is not None
    assert main.product.name == "Email"


# Overview


def test_the_overview_has_usage_and_gauges_only_where_nothing_is_used(operation: Operation) -> None:
    quito = make_operation("Quito")
    for its in (operation, quito):
        hear(its, "interaction_licenses", at(1), ("Interaction licences", "40"))
    hear(operation, "interactions", at(1), ("Email", "10"))
    rows = queries.overview(everything(), NOVEMBER, at(1, 13))
    assert [[row.product.name for row in its.rows] for its in rows] == [["Email"], ["Interaction licences"]]


def test_a_summary_row_that_an_admin_stopped_counting_is_not_shown(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "10"), ("Sum", "10"))
    Product.objects.filter(name="Sum").update(is_counted=False)
    assert [row.product.name for row in queries.overview(everything(), NOVEMBER, at(2))[0].rows] == ["Email"]
    assert len(queries.operation_page(operation, NOVEMBER, at(2)).cards) == 1
    assert [total.product.name for api in queries.products(everything(), NOVEMBER) for total in api.totals] == ["Email"]


def test_an_operation_that_was_switched_off_stays_where_it_has_figures(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "10"))
    Operation.objects.update(is_active=False)
    assert len(queries.overview(everything(), NOVEMBER, at(2))) == 1
    assert queries.overview(everything(), OCTOBER, at(2)) == []


def test_trouble_of_now_says_nothing_about_a_month_that_is_over(operation: Operation) -> None:
    hear_days(operation, 10, {31: "10"})
    Feed.objects.filter(api="interactions").update(failing_since=at(2), failing_outcome="token_refused")
    assert [its.is_trouble for its in queries.overview(everything(), OCTOBER, at(2))] == [False]
    assert [its.is_trouble for its in queries.overview(everything(), NOVEMBER, at(2))] == [True]


def test_heard_is_the_feed_read_most_often(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 9), ("Email", "10"))
    hear(operation, "interaction_licenses", at(1, 12), ("Interaction licences", "40"))
    assert queries.overview(everything(), NOVEMBER, at(1, 13))[0].heard == at(1, 9)


# Products


def test_products_are_summed_exactly_and_name_the_largest_operation(operation: Operation) -> None:
    quito = make_operation("Quito")
    hear(operation, "interactions", at(1), ("Email", "0.1"))
    hear(quito, "interactions", at(1), ("Email", "99999999999.2"))
    (api,) = queries.products(everything(), NOVEMBER)
    (total,) = api.totals
    assert (total.items, total.operations, total.most) == (Decimal("99999999999.3"), 2, quito)


def test_a_products_operations_come_largest_first(operation: Operation) -> None:
    quito = make_operation("Quito")
    hear(operation, "interactions", at(1), ("Email", "5"))
    hear(quito, "interactions", at(1), ("Email", "9"), ("Chat", "100"))
    rows = queries.product_page(Product.objects.get(name="Email"), everything(), NOVEMBER, at(1, 13))
    assert [(row.operation.name, row.usage.items) for row in rows] == [("Quito", 9), ("Bogotá Norte", 5)]


def test_another_teams_products_are_nowhere(operation: Operation) -> None:
    hear(make_operation("Quito", groups=["Quito"]), "interactions", at(1), ("Secret", "9"))
    operations = Operation.objects.visible_to(make_user("manager", "Managers"))
    assert queries.products(operations, NOVEMBER) == []
    assert not queries.products_with_figures(operations).exists()
    theirs = make_user("theirs", "Managers")
    theirs.groups.add(Group.objects.get(name="Quito"))
    assert queries.products_with_figures(Operation.objects.visible_to(theirs)).get().name == "Secret"


def test_a_closed_month_says_when_its_figures_were_heard(operation: Operation) -> None:
    hear_days(operation, 10, {31: "10"})
    MonthlyUsage.objects.update(state="closed", closed_at=at(1, 0, 5))
    assert queries.overview(everything(), OCTOBER, at(20))[0].heard == at(31, 23, 59, month=10)


@pytest.mark.parametrize("now", [at(1, 15), at(4, 15), at(9, 15), at(20, month=12)])
def test_the_overview_tells_what_the_operations_page_tells(operation: Operation, now: datetime) -> None:
    days = {10: (5, 6, 9, 31), 11: (1, 4, 5, 8, 9)}
    for month, day in [(month, day) for month, days in days.items() for day in days]:
        if at(day, month=month) < now:
            hear(operation, "interactions", at(day, month=month), ("Email", f"{day * 7}.25"), ("X", f"{day % 4}"))
            hear(operation, "interaction_licenses", at(day, month=month), ("Interaction licences", f"{40 + day}"))
    MonthlyUsage.objects.filter(product__name="X").update(reckoned_days=[4, 5, 8, 9])
    MonthlyUsage.objects.filter(product__name="Email", month=OCTOBER).update(to_date_by_day=[None] * 31)
    (overview,) = queries.overview(everything(), NOVEMBER, now)
    page = queries.operation_page(operation, NOVEMBER, now)
    assert len(overview.rows) == 2
    assert [parsed(line) for line in overview.rows] == [parsed(card.row.line) for card in page.cards]


def parsed(line: Line) -> Line:
    """With its lists read: how JSON is spaced is the database's own affair. What each is held against differs."""
    lists = {"items_by_day": json.loads(line.items_by_day), "reckoned_days": json.loads(line.reckoned_days)}
    return line._replace(**lists, change=None, pace=None, licences_before=None)
