from datetime import UTC, datetime, timedelta

import pytest
from django.utils import translation

from tests.conftest import hear, make_operation
from usage.models import Certificate, Correction, Feed, MonthlyUsage, Operation, Product
from usage.presenting import charts, queries, years

pytestmark = pytest.mark.django_db


def at(day: int, month: int, year: int = 2026) -> datetime:
    """Noon in Bogotá, which is five hours behind UTC."""
    return datetime(year, month, day, 12, tzinfo=UTC) + timedelta(hours=5)


def year_of(operation: Operation, number: int = 2026, now: datetime | None = None) -> years.Year:
    found = queries.operation_with_months(Operation.objects.all(), operation.slug)
    assert found is not None
    return years.operation_year(*found[:1], number, found[1], now or at(23, 11))


@pytest.fixture
def heard(operation: Operation) -> Operation:
    """August, October and November 2026, of a feed that is read daily; October has licences too."""
    Feed.objects.update(interval=1440)
    for month, email, chat in ((8, "100.5", "7"), (10, "300", None), (11, "50", "1")):
        rows = [(name, items) for name, items in (("Email", email), ("Chat", chat)) if items]
        hear(operation, "interactions", at(20, month), *rows)
    hear(operation, "interaction_licenses", at(20, 10), ("Interaction licences", "40"))
    return operation


def test_months_stand_side_by_side_from_the_first_with_figures_until_now(heard: Operation) -> None:
    page = year_of(heard)
    assert [product.name for product in page.products] == ["Chat", "Email", "Interaction licences"]
    assert [(row.month.month, [usage and usage.items for usage in row.usages]) for row in page.months] == [
        (8, [7, 100.5, None]),
        (9, [None, None, None]),
        (10, [None, 300, 40]),
        (11, [1, 50, None]),
    ]
    assert page.has_unknown


def test_a_year_sums_usage_and_no_gauge(heard: Operation) -> None:
    totals = {product.name: total for product, total in year_of(heard).totals}
    assert totals == {"Chat": 8, "Email": 450.5, "Interaction licences": None}


def test_a_month_has_the_states_of_its_products(heard: Operation) -> None:
    MonthlyUsage.objects.filter(month="2026-08-01").update(state="closed", closed_at=at(1, 9))
    MonthlyUsage.objects.filter(month="2026-10-01").update(state="closing")
    MonthlyUsage.objects.filter(month="2026-10-01", product__name="Email").update(state="closed", closed_at=at(1, 11))
    page = year_of(heard)
    assert [row.states for row in page.months] == [["closed"], [], ["closing", "closed"], ["open"]]
    assert page.has_open


def test_a_month_tells_its_gaps_its_certificate_and_what_was_corrected(heard: Operation) -> None:
    poll = hear(heard, "interactions", at(23, 11), ("Email", "60"))
    MonthlyUsage.objects.update(gap_seconds=0)
    Feed.objects.filter(api="interaction_licenses").update(last_good_poll_at=at(23, 11))
    august = MonthlyUsage.objects.filter(month="2026-08-01", product__name="Email")
    august.update(state="closed", closed_at=at(1, 9), gap_seconds=7200)
    for items in (101, 102):
        Correction.objects.create(usage=august.get(), poll_id=poll.pk - (items - 101), items=items, seen_at=at(2, 9))
    for usage, seconds in (
        (august.get(), 39),
        (MonthlyUsage.objects.get(month="2026-08-01", product__name="Chat"), 61),
    ):
        Certificate.objects.create(usage=usage, last_good_poll_at=at(31, 8), seconds_unheard=seconds, pace="unknown")
    rows = year_of(heard).months
    assert [(row.unheard, row.seconds_unheard) for row in rows] == [(7200, 61), (0, None), (0, None), (0, None)]
    assert [[product.name for product in row.corrected] for row in rows] == [["Email"], [], [], []]


def test_a_gap_that_still_runs_counts_in_its_month(heard: Operation) -> None:
    MonthlyUsage.objects.update(gap_seconds=60)
    Feed.objects.filter(api="interaction_licenses").update(last_good_poll_at=at(20, 11))
    assert [row.unheard for row in year_of(heard, now=at(22, 11)).months] == [60, 0, 60, 60]
    assert [row.unheard for row in year_of(heard, now=at(23, 11)).months] == [60, 0, 60, 60 + 3 * 86_400]


def test_a_year_leads_to_those_with_figures_beside_it(heard: Operation) -> None:
    hear(heard, "interactions", at(1, 2, 2027), ("Email", "1"))
    hear(heard, "interactions", at(1, 4, 2029), ("Email", "1"))
    page = year_of(heard, 2027, at(2, 4, 2029))
    assert (page.previous, page.next) == (2026, 2029)
    assert [row.month.month for row in page.months] == list(range(1, 13))
    assert [row.month.month for row in year_of(heard, 2029, at(2, 4, 2029)).months] == [1, 2, 3, 4]


def test_only_what_is_counted_of_this_operation_is_in_its_year(heard: Operation) -> None:
    hear(make_operation("Quito"), "interactions", at(20, 11), ("Secret", "1"))
    Product.objects.filter(name="Chat").update(is_counted=False)
    assert [product.name for product in year_of(heard).products] == ["Email", "Interaction licences"]


def test_an_operation_without_figures_has_an_empty_year(operation: Operation) -> None:
    page = year_of(operation)
    assert (page.products, page.totals, page.previous, page.next) == ([], [], None, None)
    assert charts.year_charts(page) == {}


def test_a_years_chart_has_a_bar_for_each_month_paler_until_it_is_closed(heard: Operation) -> None:
    MonthlyUsage.objects.filter(month="2026-08-01").update(state="closed", closed_at=at(1, 9))
    hear(heard, "rec_screen", at(20, 11), ("Screen", "02:30:00"))
    drawn = charts.year_charts(year_of(heard))
    email, screen = (drawn[f"year-{Product.objects.get(name=name).pk}"] for name in ("Email", "Screen"))
    assert email["series"][0]["data"] == [*[None] * 7, 100.5, None, 300, 50, None]
    assert (email["unfinished"], email["unknown"]) == ([10, 11], [9])
    assert (email["labels"][0], email["titles"][0]) == ("Jan", "January 2026")
    assert email["series"][0]["leads"] == "/operations/bogot-norte/?month=2026-{}"
    assert (screen["series"][0]["data"][10], screen["isDuration"]) == (2.5, True)
    assert len(drawn) == 3
    with translation.override("es"):
        drawn = charts.year_charts(year_of(heard))
    assert drawn.popitem()[1]["titles"][0] == "enero de 2026"
