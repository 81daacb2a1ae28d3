from datetime import date

import pytest
from django.contrib.auth.models import Group

from tests.conftest import hear, make_operation, make_user
from tests.presenting.in_bogota import NOVEMBER, OCTOBER, at, everything, hear_days
from usage.models import Operation, Product
from usage.presenting import queries
from usage.presenting.figures import Months, choose_month
from usage.presenting.products import api_totals

pytestmark = pytest.mark.django_db


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


def test_another_teams_products_are_nowhere(operation: Operation) -> None:
    hear(make_operation("Quito", groups=["Quito"]), "interactions", at(1), ("Secret", "9"))
    operations = Operation.objects.visible_to(make_user("manager", "Managers"))
    assert api_totals(operations, NOVEMBER) == []
    assert not queries.products_with_figures(operations).exists()
    theirs = make_user("theirs", "Managers")
    theirs.groups.add(Group.objects.get(name="Quito"))
    assert queries.products_with_figures(Operation.objects.visible_to(theirs)).get().name == "Secret"
