from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.conftest import NOW, SignIn, hear, make_operation, text
from usage.models import Correction, MonthlyUsage, Operation, Poll

pytestmark = [pytest.mark.usefixtures("now"), pytest.mark.django_db]

PATH = "/operations/bogot-norte/year/"


@pytest.fixture
def filled(operation: Operation) -> Operation:
    for at in (NOW - timedelta(days=365), NOW - timedelta(days=33), NOW):
        hear(operation, "interactions", at, ("Email", f"{at.month}00"))
        hear(operation, "interaction_licenses", at, ("Interaction licences", "40"))
    return operation


def test_a_year_has_its_months_with_their_states_and_leads_to_them(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    october = MonthlyUsage.objects.filter(month="2026-10-01", product__name="Email")
    october.update(state="closed", closed_at=NOW)
    MonthlyUsage.objects.filter(month="2026-10-01").update(gap_seconds=7200)
    Correction.objects.create(usage=october.get(), poll=Poll.objects.all()[0], items=1001, seen_at=NOW)
    sign_in("Managers")
    shown = text(client.get(PATH))
    assert '<a href="/operations/bogot-norte/?month=2026-10">October</a>' in shown
    for tag in (' closed">closed', ' warn">corrected: Email', '">No answer for 2 h', ' open">open'):
        assert f'<span class="tag{tag}</span>' in shown
    assert '<td class="number main">2,100</td>' in shown
    assert '<a href="?year=2025" rel="prev"' in shown
    earlier = text(client.get(f"{PATH}?year=2025"))
    assert '<a href="?year=2026" rel="next"' in earlier
    assert "month=2025-10" not in earlier


def test_an_operation_leads_to_the_year_of_its_month(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    for query, year in (("", 2026), ("?month=2025-11", 2025)):
        assert f'href="{PATH}?year={year}"' in text(client.get(f"/operations/bogot-norte/{query}"))


def test_a_year_in_spanish(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    shown = text(client.get(PATH, headers={"accept-language": "es"}))
    assert "Bogotá Norte en 2026" in shown
    assert "Mes a mes" in shown


def test_a_year_without_figures_is_not_found(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    response = client.get(f"{PATH}?year=2024")
    assert response.status_code == 404
    assert "There are no figures for 2024. The years with figures: 2026, 2025." in text(response)


@pytest.mark.parametrize("year", ["", "26", "0000", "2026-11", "-026", "２０２６", "2026%00"])
def test_what_is_no_year_is_refused_in_a_sentence(
    client: Client, sign_in: SignIn, filled: Operation, year: str
) -> None:
    sign_in("Managers")
    response = client.get(f"{PATH}?year={year}")
    assert response.status_code == 400
    assert "such as ?year=2026" in text(response)


def test_a_new_operation_has_an_empty_year(client: Client, sign_in: SignIn, operation: Operation) -> None:
    sign_in("Managers")
    assert 'class="empty"' in text(client.get(PATH))


def test_another_teams_year_is_not_found(client: Client, sign_in: SignIn, filled: Operation) -> None:
    make_operation("Quito", groups=["Quito"])
    sign_in("Managers")
    assert client.get("/operations/quito/year/").status_code == 404


@pytest.mark.parametrize("products", [1, 30])
def test_a_year_asks_as_often_whatever_the_number_of_its_products(
    client: Client,
    sign_in: SignIn,
    filled: Operation,
    django_assert_num_queries: DjangoAssertNumQueries,
    products: int,
) -> None:
    hear(filled, "interactions", NOW, *[(f"Product {number}", "1") for number in range(products)])
    sign_in("Managers")
    with django_assert_num_queries(7):
        assert client.get(PATH).status_code == 200
