import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import translation

from tests.conftest import hear, make_operation
from usage.models import Feed, MonthlyUsage, Operation, Product
from usage.presenting import charts
from usage.presenting.operation import OperationPage, operation_page
from usage.presenting.products import product_page

pytestmark = pytest.mark.django_db

NOVEMBER = date(2026, 11, 1)
LIBRARIES = Path(__file__).resolve().parents[2] / "static" / "js" / "lib"


def at(day: int, hour: int = 12, month: int = 11) -> datetime:
    """A time of 2026 in Bogotá, which is five hours behind UTC."""
    return datetime(2026, month, day, hour, tzinfo=UTC) + timedelta(hours=5)


def page(operation: Operation, now: datetime) -> OperationPage:
    return operation_page(operation, NOVEMBER, now)


@pytest.fixture
def heard(operation: Operation) -> Operation:
    Feed.objects.update(interval=1440)
    for month, day, total in ((10, 1, "5"), (10, 2, "12"), (11, 1, "10"), (11, 4, "40"), (11, 5, "45")):
        hear(operation, "interactions", at(day, month=month), ("Email", total))
    hear(operation, "interaction_licenses", at(4), ("Interaction licences", "40"))
    hear(operation, "interactions", at(5, 13), ("Email", "46"))
    return operation


def test_unknown_days_are_null_and_never_zero(heard: Operation) -> None:
    daily, total = charts.operation_charts(page(heard, at(5, 14))).values()
    items, licences = daily["series"]
    assert items["data"] == [15, 10, 10, 5, 6, *[None] * 25]
    assert licences["data"] == [None, None, None, 40, *[None] * 26]
    this, last = total["series"]
    assert this["data"] == [15, 25, 35, 40, 46, *[None] * 25]
    assert last["data"] == [5, 12, *[None] * 28]
    assert (daily["unfinished"], daily["unknown"], total["unknown"]) == (5, [], [])


def test_a_longer_month_before_ends_with_this_one(heard: Operation) -> None:
    hear(make_operation("Quito"), "interactions", at(31, month=10), ("Email", "99"))
    quito = Operation.objects.get(name="Quito")
    hear(quito, "interactions", at(1), ("Email", "1"))
    _, total = charts.operation_charts(page(quito, at(1, 13))).values()
    assert [len(series["data"]) for series in total["series"]] == [30, 30]


def test_without_licences_there_is_no_second_axis(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "10"))
    daily, total = charts.operation_charts(page(operation, at(1, 13))).values()
    assert [[series["role"] for series in chart["series"]] for chart in (daily, total)] == [["items"], ["total"]]


def test_durations_come_in_hours(operation: Operation) -> None:
    hear(operation, "rec_screen", at(1), ("Screen", "02:30:00"))
    daily, _ = charts.operation_charts(page(operation, at(1, 13))).values()
    assert daily["isDuration"]
    assert daily["series"][0]["data"][0] == 2.5


def test_gaps_are_bands_with_words_and_reckoned_days_are_named(heard: Operation) -> None:
    MonthlyUsage.objects.filter(month=NOVEMBER).update(gaps=[[43_200, 216_000]], reckoned_days=[1, 2])
    MonthlyUsage.objects.exclude(month=NOVEMBER).update(reckoned_days=[2])
    daily, total = charts.operation_charts(page(heard, at(5, 13))).values()
    assert daily["gaps"] == total["gaps"] == [[0.5, 2.5]]
    assert daily["notes"] == {"1": "No answer for 12 h", "2": "No answer for 24 h", "3": "No answer for 12 h"}
    assert daily["series"][0]["reckoned"] == [1, 2]
    assert [series["reckoned"] for series in total["series"]] == [[1, 2], [2]]


def test_labels_are_in_the_readers_language(heard: Operation) -> None:
    with translation.override("es"):
        _, total = charts.operation_charts(page(heard, at(5, 14))).values()
    assert [series["label"] for series in total["series"]] == ["noviembre", "octubre"]
    assert "noviembre" in total["titles"][0]


def test_charts_are_plain_json(heard: Operation) -> None:
    drawn = charts.operation_charts(page(heard, at(5, 14)))
    assert json.loads(json.dumps(drawn)) == drawn


def test_what_is_of_this_month_leads_to_its_days_and_nothing_else_leads(heard: Operation) -> None:
    daily, total = charts.operation_charts(page(heard, at(5, 14))).values()
    email = Product.objects.get(name="Email").pk
    days = f"/operations/bogot-norte/products/{email}/2026-11-{{}}/"
    assert [series.get("leads") for chart in (daily, total) for series in chart["series"]] == [days, None, days, None]
    rows = product_page(Product.objects.get(pk=email), Operation.objects.all(), NOVEMBER, at(5, 14))
    assert charts.comparison(charts.lines_of(rows))["series"][0]["leads"] == days


def test_a_comparison_draws_the_eight_largest(operation: Operation) -> None:
    for number in range(10):
        hear(make_operation(f"Operation {number}"), "interactions", at(1), ("Email", str(number)))
    rows = product_page(Product.objects.get(), Operation.objects.all(), NOVEMBER, at(1, 13))
    series = charts.comparison(charts.lines_of(rows))["series"]
    assert [line["label"][-1] for line in series] == list("98765432")
    assert [line["slot"] for line in series] == list(range(1, 9))


def test_a_sparkline_is_a_path_of_finished_days_and_one_of_today(heard: Operation) -> None:
    row = page(heard, at(5, 14)).cards[0].row
    assert charts.sparkline(row.line) == (
        '<svg class="spark" viewBox="0 0 124 24" aria-hidden="true">'
        '<path d=""/><path class="reckoned" d="M2 24v-24M6 24v-16M10 24v-16M14 24v-8"/>'
        '<path class="today" d="M18 24v-10"/></svg>'
    )


def test_reckoned_days_have_a_path_of_their_own_in_the_sparkline(heard: Operation) -> None:
    row = page(heard, at(5, 14)).cards[0].row
    row.usage.items_by_day, row.usage.reckoned_days = ["10", "5", "5", "5", "6"], [2, 3, 5]
    assert charts.sparkline(row.line) == (
        '<svg class="spark" viewBox="0 0 124 24" aria-hidden="true"><path d="M2 24v-24M14 24v-12"/>'
        '<path class="reckoned" d="M6 24v-12M10 24v-12"/><path class="today" d="M18 24v-14"/></svg>'
    )


def test_a_day_of_nothing_is_a_tick_in_the_sparkline(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "0"))
    row = page(operation, at(3)).cards[0].row
    assert 'd="M2 24v-1"' in charts.sparkline(row.line)


def test_a_product_keeps_its_colour() -> None:
    assert [charts.slot(Product(pk=pk)) for pk in (1, 8, 9, 16, 17, 1001)] == [1, 8, 9, 16, 1, 9]


@pytest.mark.parametrize("line", (LIBRARIES / "VERSIONS").read_text().splitlines())
def test_the_library_is_the_one_that_was_checked(line: str) -> None:
    name, _, sha256 = line.split()
    assert hashlib.sha256((LIBRARIES / name).read_bytes()).hexdigest() == sha256
