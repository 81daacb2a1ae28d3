import pytest

from tests.conftest import hear, make_operation
from tests.presenting.in_bogota import NOVEMBER, OCTOBER, at, everything, hear_days
from usage.models import Feed, MonthlyUsage, Operation, Product
from usage.presenting.operation import operation_page
from usage.presenting.overview import operation_months
from usage.presenting.products import api_totals

pytestmark = pytest.mark.django_db


def test_the_overview_has_usage_and_gauges_only_where_nothing_is_used(operation: Operation) -> None:
    quito = make_operation("Quito")
    for its in (operation, quito):
        hear(its, "interaction_licenses", at(1), ("Interaction licences", "40"))
    hear(operation, "interactions", at(1), ("Email", "10"))
    rows = operation_months(everything(), NOVEMBER, at(1, 13))
    assert [[row.product.name for row in its.rows] for its in rows] == [["Email"], ["Interaction licences"]]


def test_an_operation_that_was_switched_off_stays_where_it_has_figures(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "10"))
    Operation.objects.update(is_active=False)
    assert len(operation_months(everything(), NOVEMBER, at(2))) == 1
    assert operation_months(everything(), OCTOBER, at(2)) == []


def test_trouble_of_now_says_nothing_about_a_month_that_is_over(operation: Operation) -> None:
    hear_days(operation, 10, {31: "10"})
    Feed.objects.filter(api="interactions").update(failing_since=at(2), failing_outcome="token_refused")
    assert [its.is_trouble for its in operation_months(everything(), OCTOBER, at(2))] == [False]
    assert [its.is_trouble for its in operation_months(everything(), NOVEMBER, at(2))] == [True]


def test_heard_is_the_feed_read_most_often(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 9), ("Email", "10"))
    hear(operation, "interaction_licenses", at(1, 12), ("Interaction licences", "40"))
    assert operation_months(everything(), NOVEMBER, at(1, 13))[0].heard == at(1, 9)


def test_a_summary_row_that_an_admin_stopped_counting_is_not_shown(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "10"), ("Sum", "10"))
    Product.objects.filter(name="Sum").update(is_counted=False)
    assert [row.product.name for row in operation_months(everything(), NOVEMBER, at(2))[0].rows] == ["Email"]
    assert len(operation_page(operation, NOVEMBER, at(2)).cards) == 1
    assert [total.product.name for api in api_totals(everything(), NOVEMBER) for total in api.totals] == ["Email"]


def test_a_closed_month_says_when_its_figures_were_heard(operation: Operation) -> None:
    hear_days(operation, 10, {31: "10"})
    MonthlyUsage.objects.update(state="closed", closed_at=at(1, 0, 5))
    assert operation_months(everything(), OCTOBER, at(20))[0].heard == at(31, 23, 59, month=10)
