from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.conftest import NOW, SignIn, hear, text
from usage.models import Operation, Product

pytestmark = [pytest.mark.usefixtures("now"), pytest.mark.django_db]


@pytest.fixture(params=["operation", "product"])
def path(request: pytest.FixtureRequest, operation: Operation, sign_in: SignIn) -> str:
    """A page with figures of September, October and November, which a manager sees."""
    for days in (80, 35, 33, 1, 0):
        at = NOW - timedelta(days=days)
        hear(operation, "interaction_licenses", at, ("Interaction licences", "40"))
        hear(operation, "interactions", at, ("Email", f"{at.day * 100}"), ("Chat", f"{at.day}"))
    sign_in("Managers")
    return (
        "/operations/bogot-norte/"
        if request.param == "operation"
        else Product.objects.get(name="Email").get_absolute_url()
    )


def test_a_page_is_held_against_the_month_before_by_day_and_in_all(client: Client, path: str) -> None:
    shown = text(client.get(path))
    assert '<option value="2026-10" selected>October 2026</option>' in shown
    assert shown.count(" selected>") == 1
    assert "Against October" in shown
    assert "is moved so that weekdays meet" not in shown


def test_a_link_that_is_shared_is_the_page_that_was_seen(client: Client, path: str) -> None:
    shown = text(client.get(f"{path}?month=2026-10&against=2026-09&align=weekday&per=licence"))
    assert '<input type="hidden" name="month" value="2026-10">' in shown
    assert '<option value="2026-09" selected>September 2026</option>' in shown
    assert '<option value="weekday" selected>' in shown
    assert '<option value="licence" selected>' in shown
    assert "September is moved so that weekdays meet: Thu 1 Oct stands beside Thu 3 Sep." in shown
    assert "per licence" in shown.partition('id="charts"')[2]
    assert 'month=2026-11&amp;against=2026-09&amp;align=weekday&amp;per=licence"' in shown


def test_a_month_is_never_held_against_itself(client: Client, path: str) -> None:
    shown = text(client.get(f"{path}?month=2026-10&against=2026-10"))
    assert '<option value="2026-09" selected>' in shown
    assert '<option value="2026-10"' not in shown


def test_the_month_before_can_be_chosen_though_nothing_is_known_of_it(client: Client, path: str) -> None:
    shown = text(client.get(f"{path}?month=2026-09&against=2026-08"))
    assert '<option value="2026-08" selected>August 2026</option>' in shown


def test_what_the_first_month_was_held_against_is_no_reason_to_refuse_the_next(client: Client, path: str) -> None:
    shown = text(client.get(f"{path}?month=2026-10&against=2026-08&align=weekday"))
    assert '<option value="2026-09" selected>September 2026</option>' in shown
    assert '<option value="weekday" selected>' in shown


def test_a_comparison_in_spanish(client: Client, path: str) -> None:
    shown = text(client.get(f"{path}?align=weekday", headers={"accept-language": "es"}))
    assert "Octubre se desplaza para que coincidan los días de la semana: dom 1 nov queda junto a dom 4 oct." in shown


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("against=2026-05", 404, "There are no figures for May 2026."),
        ("against=2026-13", 400, "such as ?against=2026-11."),
        ("against=", 400, "such as ?against=2026-11."),
        ("align=week", 400, "What can be asked for here: ?align=day, ?align=weekday."),
        ("per=", 400, "What can be asked for here: ?per=all, ?per=licence."),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(
    client: Client, path: str, query: str, status: int, sentence: str
) -> None:
    response = client.get(f"{path}?{query}")
    assert response.status_code == status
    assert sentence in text(response)


def test_a_comparison_asks_as_often_as_the_page_without_one(
    client: Client, path: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    number = 8 if "operations" in path else 10
    for query in ("", "?against=2026-09&align=weekday&per=licence"):
        with django_assert_num_queries(number):
            assert client.get(f"{path}{query}").status_code == 200
