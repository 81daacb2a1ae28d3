import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from tests.conftest import hear, make_operation
from usage.models import Feed, MonthlyUsage, Operation, Product
from usage.presenting import charts, tables, words
from usage.presenting.comparing import Amounts, Comparison, day_by_day, last_known, shown, since
from usage.presenting.figures import ProductMonth
from usage.presenting.operation import OperationPage, operation_page
from usage.presenting.products import product_page

pytestmark = pytest.mark.django_db

MONTHS = [date(2024 + number // 12, number % 12 + 1, 1) for number in range(48)]
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


def amounts(*items: float | None) -> Amounts:
    return [None if item is None else Decimal(str(item)) for item in items]


def test_by_day_each_day_stands_beside_its_number() -> None:
    comparison = Comparison(NOVEMBER, OCTOBER)
    assert comparison.day_beside(22) == date(2026, 10, 22)
    assert comparison.stretches(22, 31) == ((1, 22), (1, 22))
    assert comparison.beside(amounts(*range(31))) == list(range(30))


def test_a_whole_month_is_held_against_a_whole_one() -> None:
    assert Comparison(NOVEMBER, OCTOBER).stretches(30, 31) == ((1, 30), (1, 31))
    assert Comparison(OCTOBER, NOVEMBER).stretches(31, 30) == ((1, 31), (1, 30))


def test_against_a_month_that_runs_only_its_complete_days_count() -> None:
    assert Comparison(OCTOBER, NOVEMBER).stretches(31, 22) == ((1, 22), (1, 22))
    assert Comparison(OCTOBER, NOVEMBER).stretches(31, 0) is None
    assert Comparison(OCTOBER, NOVEMBER, by_weekday=True).stretches(31, 22) == ((4, 25), (1, 22))


def test_by_weekday_the_nearest_same_weekdays_meet() -> None:
    comparison = Comparison(NOVEMBER, OCTOBER, by_weekday=True)
    assert (comparison.moved, comparison.first, comparison.first_against) == (3, 1, 4)
    assert comparison.day_beside(2) == date(2026, 10, 5)  # both are Mondays
    assert comparison.stretches(22, 31) == ((1, 22), (4, 25))
    assert comparison.stretches(30, 31) == ((1, 28), (4, 31))
    assert comparison.day_beside(29) is None
    assert comparison.beside(amounts(*range(1, 32))) == [*range(4, 32), None, None]


def test_days_that_have_none_beside_them_are_left_out_of_both() -> None:
    comparison = Comparison(OCTOBER, NOVEMBER, by_weekday=True)
    assert (comparison.moved, comparison.first, comparison.first_against) == (-3, 4, 1)
    assert comparison.stretches(3, 30) is None
    assert comparison.stretches(4, 30) == ((4, 4), (1, 1))
    assert comparison.stretches(31, 30) == ((4, 31), (1, 28))
    assert [comparison.day_beside(day) for day in (3, 4)] == [None, NOVEMBER]
    assert comparison.beside(amounts(*range(1, 31)))[:5] == [None, None, None, 1, 2]
    assert comparison.days_beside([1, 28, 29]) == [4, 31]


@pytest.mark.parametrize("against", MONTHS)
def test_of_any_two_months_same_weekdays_meet_at_most_three_days_away(against: date) -> None:
    for month in MONTHS:
        comparison = Comparison(month, against, by_weekday=True)
        pairs = [
            (month + timedelta(days=day - 1), comparison.day_beside(day)) for day in range(1, comparison.length + 1)
        ]
        met = [(day, beside) for day, beside in pairs if beside]
        assert all(day.weekday() == beside.weekday() and abs(day.day - beside.day) <= 3 for day, beside in met)
        stretches = comparison.stretches(comparison.length, comparison.length_against)
        assert stretches is not None
        assert [stretch.number for stretch in stretches] == [len(met), len(met)]
        assert stretches[0].first == comparison.first == met[0][0].day
        assert len(met) >= 25


def test_a_count_from_a_later_day_leaves_out_what_was_before_it() -> None:
    assert since(amounts(10, 25, None, 40), 1) == amounts(10, 25, None, 40)
    assert since(amounts(10, 25, None, 40), 2) == amounts(None, 15, None, 30)
    assert since(amounts(10, 25, None, 40), 4) == [None] * 4
    assert since(amounts(10, None, 30), 3) == [None] * 3


def test_a_day_is_divided_by_its_licences_where_they_are_known_and_some() -> None:
    assert day_by_day(amounts(10, 20, None, 40), amounts(5, None, 5, 0)) == amounts(2, None, None, None)
    assert day_by_day(amounts(1), amounts(3)) == amounts(0.33)


def test_a_month_to_date_is_divided_by_the_last_licences_known() -> None:
    assert last_known(amounts(None, 5, None, 6, None)) == amounts(None, 5, 5, 6, 6)
    in_day, to_date = shown(amounts(10, 20, 30), amounts(10, 30, 60), amounts(5, None), first=1, length=4)
    assert in_day == amounts(2, None, None, None)
    assert to_date == amounts(2, 6, 12, None)


def test_in_all_a_month_is_as_long_as_it_is_and_counts_from_its_first_day_compared() -> None:
    in_day, to_date = shown(amounts(10, 20, 30), amounts(10, 30, 60), None, first=2, length=4)
    assert in_day == amounts(10, 20, 30, None)
    assert to_date == amounts(None, 20, 50, None)


# In an operation


def at(day: int, month: int, hour: int = 23) -> datetime:
    """A time of 2026 in Bogotá, which is five hours behind UTC."""
    return datetime(2026, month, day, hour, 50, tzinfo=UTC) + timedelta(hours=5)


@pytest.fixture
def heard(operation: Operation) -> Operation:
    """Ten a day in October, of ten licences; from 5 November on twenty a day until its 10th, of five licences."""
    Feed.objects.update(interval=1440)
    for day in range(1, 32):
        hear(operation, "interactions", at(day, 10), ("Email", str(day * 10)))
    hear(operation, "interaction_licenses", at(1, 10), ("Interaction licences", "10"))
    hear(operation, "interaction_licenses", at(1, 11), ("Interaction licences", "5"))
    for day in range(1, 11):
        items = str(day * 10 if day < 5 else day * 20 - 40)
        hear(operation, "interactions", at(day, 11, 23 if day < 10 else 9), ("Email", items))
    MonthlyUsage.objects.update(reckoned_days=[])
    return operation


def page_of(operation: Operation, comparison: Comparison) -> OperationPage:
    return operation_page(operation, comparison.month, at(10, 11, 10), comparison)


def row_of(operation: Operation, comparison: Comparison) -> ProductMonth:
    return page_of(operation, comparison).cards[0].row


def test_a_change_is_over_the_days_that_stand_beside_each_other(heard: Operation) -> None:
    changes: list[tuple[object, ...] | None] = [
        row_of(heard, Comparison(NOVEMBER, OCTOBER)).change,
        row_of(heard, Comparison(NOVEMBER, OCTOBER, by_weekday=True)).change,
        row_of(heard, Comparison(OCTOBER, NOVEMBER)).change,
        row_of(heard, Comparison(OCTOBER, NOVEMBER, by_weekday=True)).change,
    ]
    # October's 31 days are held against the 9 of November that are complete.
    assert changes == [(9, 140, 90, False), (9, 140, 90, False), (9, 90, 140, False), (9, 90, 140, False)]


def test_a_change_by_weekday_leaves_out_what_the_other_month_used_before(heard: Operation) -> None:
    october = MonthlyUsage.objects.get(product__name="Email", month=OCTOBER)
    october.to_date_by_day = [str(int(text) + 500) for text in october.to_date_by_day]  # all of it on the 1st
    october.save()
    change = row_of(heard, Comparison(NOVEMBER, OCTOBER, by_weekday=True)).change
    assert change is not None
    assert (change.now, change.then) == (Decimal(140), Decimal(90))
    october.to_date_by_day[2] = None
    october.save()
    assert row_of(heard, Comparison(NOVEMBER, OCTOBER, by_weekday=True)).change is None


def test_per_licence_a_change_is_of_what_a_licence_was_used(heard: Operation) -> None:
    change = row_of(heard, Comparison(NOVEMBER, OCTOBER, per_licence=True)).change
    assert change is not None
    assert (change.now, change.then, change.percent) == (Decimal(28), Decimal(9), 211)


def test_what_has_no_licences_is_shown_in_all(heard: Operation) -> None:
    MonthlyUsage.objects.filter(month=NOVEMBER, product__name="Interaction licences").delete()
    row = row_of(heard, Comparison(NOVEMBER, OCTOBER, per_licence=True))
    assert not row.is_per_licence
    assert row.shown.in_day[0] == 10


def test_any_two_months_are_drawn_by_weekday_and_per_licence(heard: Operation) -> None:
    drawn = charts.operation_charts(page_of(heard, Comparison(NOVEMBER, OCTOBER, by_weekday=True, per_licence=True)))
    daily, total = drawn.values()
    items, beside, _ = daily["series"]
    assert items["data"][:6] == [2, None, None, None, None, None]  # the licences of the 1st alone are known
    assert (beside["role"], beside["data"]) == ("before", [None] * 30)  # October's too, which is moved away
    this, other = total["series"]
    assert this["data"][:5] == [2, 4, 6, 8, 12]
    assert other["data"] == [*range(1, 29), None, None]
    assert other["names"][:2] == ["Sun 4 Oct", "Mon 5 Oct"]
    assert other["names"][-2:] == [None, None]
    assert list(total["labels"][1]) == ["2", "Mon"]
    assert total["unit"] == "interactions per licence"


def test_counted_from_a_later_day_both_months_begin_at_nothing(heard: Operation) -> None:
    row = row_of(heard, Comparison(OCTOBER, NOVEMBER, by_weekday=True))
    assert row.beside is not None
    assert list(row.shown.to_date[:5]) == [None, None, None, 10, 20]
    assert list(row.beside.to_date[:5]) == [None, None, None, 10, 20]


def test_products_stand_side_by_side_in_percent_of_the_other_month(heard: Operation) -> None:
    comparison = Comparison(NOVEMBER, OCTOBER)
    assert "products" not in charts.operation_charts(page_of(heard, comparison))
    for month, items in ((10, "200"), (11, "50")):
        hear(heard, "rec_screen", at(9, month), ("Screen", f"00:{items[:2]}:00"))
    together = charts.operation_charts(page_of(heard, comparison))["products"]
    email, screen = together["series"]
    assert [email["data"][8], screen["data"][8]] == [45.2, 250]
    assert [email["slot"], together["unit"]] == [charts.slot(Product.objects.get(name="Email")), "%"]
    assert "products" not in charts.operation_charts(page_of(heard, Comparison(NOVEMBER, OCTOBER, per_licence=True)))
    MonthlyUsage.objects.filter(product__name="Screen", month=OCTOBER).update(items=0)
    assert "products" not in charts.operation_charts(page_of(heard, comparison))
    assert "products" not in charts.operation_charts(page_of(heard, Comparison(OCTOBER, NOVEMBER)))


def test_a_product_is_compared_across_operations(heard: Operation) -> None:
    hear(make_operation("Quito"), "interactions", at(9, 11), ("Email", "9000"))
    email, every, now = Product.objects.get(name="Email"), Operation.objects.all(), at(10, 11, 10)
    in_all = product_page(email, every, NOVEMBER, now)
    assert [row.operation.name for row in in_all] == ["Quito", "Bogotá Norte"]
    rows = product_page(email, every, NOVEMBER, now, Comparison(NOVEMBER, OCTOBER, per_licence=True))
    assert [(row.operation.name, row.change and row.change.now) for row in rows] == [
        ("Bogotá Norte", 28),
        ("Quito", None),
    ]
    lines = charts.lines_of(rows)
    assert [row.operation.name for row in lines] == ["Bogotá Norte"]
    assert charts.comparison(lines)["series"][0]["data"][8] == 28


def test_the_table_has_what_is_drawn(heard: Operation) -> None:
    card = page_of(heard, Comparison(NOVEMBER, OCTOBER, by_weekday=True, per_licence=True)).cards[0]
    ninth = str(tables.day_rows(card, at(10, 11, 10))).split("<tr>")[9]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", ninth)
    assert cells[:5] == ["", "28", "Mon 12 Oct", "9", ""]
    card = page_of(heard, Comparison(NOVEMBER, OCTOBER)).cards[0]
    ninth = str(tables.day_rows(card, at(10, 11, 10))).split("<tr>")[9]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", ninth)[:4] == ["20", "140", "90", ""]


def test_the_other_months_use_per_licence_is_told_once_it_is_over(heard: Operation) -> None:
    assert row_of(heard, Comparison(NOVEMBER, OCTOBER)).per_licence_before == 31
    assert row_of(heard, Comparison(OCTOBER, NOVEMBER)).per_licence_before is None


def test_the_other_month_has_its_year_where_that_is_another_one() -> None:
    assert words.against(Comparison(NOVEMBER, OCTOBER)) == "October"
    assert words.against(Comparison(date(2026, 1, 1), date(2025, 12, 1))) == "December 2025"
