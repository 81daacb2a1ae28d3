from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.conftest import NOW, SignIn, hear, make_operation, text
from usage.collecting import closing
from usage.models import DailyUsage, Feed, MonthlyUsage, Operation, Poll, Product

pytestmark = [pytest.mark.usefixtures("now"), pytest.mark.django_db]


@pytest.fixture
def filled(operation: Operation) -> Operation:
    """Figures of yesterday and today."""
    Feed.objects.update(interval=1440)
    for at in (NOW - timedelta(days=1), NOW - timedelta(minutes=4)):
        hear(operation, "interaction_licenses", at, ("Interaction licences", "40"))
        hear(operation, "interactions", at, ("Email", f"{at.day * 100}", f"{at:%Y-%m-%d}"))
    return operation


def path(day: str = "2026-11-23", product: str = "Email", operation: str = "bogot-norte") -> str:
    return f"/operations/{operation}/products/{Product.objects.get(name=product).pk}/{day}/"


def test_a_day_shows_its_figures_the_polls_and_the_hashes_of_their_answers(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    sign_in("Managers")
    poll = Poll.objects.select_related("answer").get(feed__api="interactions", started_at=NOW - timedelta(minutes=4))
    assert poll.answer is not None
    shown = text(client.get(path()))
    assert "<h1>Monday 23 November 2026</h1>" in shown
    assert "It was last heard of at 14:31, Bogotá time, before the day had ended." in shown
    assert "2,200 when the day began" in shown
    assert f'<td class="hash">{poll.answer.sha256}</td>' in shown
    assert f'<td>{poll.pk} <small class="soft">14:31 · Good</small></td>' in shown
    assert f'href="{path("2026-11-22")}" rel="prev"' in shown
    assert f'href="/operations/bogot-norte/#product-{poll.snapshots.get().product_id}"' in shown


def test_a_poll_leads_to_the_admin_only_for_who_may_see_it_there(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    link = "/admin/usage/poll/"
    sign_in("Managers")
    assert link not in text(client.get(path()))
    sign_in("Administrators")
    assert link in text(client.get(path()))


def test_a_day_says_what_is_not_as_usual_about_it(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    sentences: dict[str, dict[str, Any]] = {
        "What the day used is reckoned": {"is_reckoned": True},
        "The vendor lowered its figure": {"is_restated": True},
        "What the day used is not known, because the day before is not.": {"items": None},
    }
    for sentence, columns in sentences.items():
        DailyUsage.objects.update(items=1, is_reckoned=False, is_restated=False)
        DailyUsage.objects.update(**columns)
        assert [other for other in sentences if other in text(client.get(path("2026-11-22")))] == [sentence]


@pytest.mark.parametrize(
    ("day", "sentence"),
    [("2026-11-24", "It has not begun yet."), ("2026-11-23", "the first figure of today is still to come")],
)
def test_a_day_of_which_nothing_is_known_says_why(
    client: Client, sign_in: SignIn, filled: Operation, day: str, sentence: str
) -> None:
    DailyUsage.objects.filter(day="2026-11-23").delete()
    sign_in("Managers")
    shown = text(client.get(path(day)))
    assert "Nothing is known of this day" in shown
    assert sentence in shown


def test_a_day_without_an_answer_says_from_when_until_when(client: Client, sign_in: SignIn, filled: Operation) -> None:
    MonthlyUsage.objects.update(gaps=[[9 * 86_400 - 3_600, 10 * 86_400 + 90 * 60]])
    DailyUsage.objects.filter(day__lt="2026-11-22").delete()
    MonthlyUsage.objects.update(to_date_by_day=["1"])
    sign_in("Managers")
    shown = text(client.get(path("2026-11-10")))
    assert "There was no good poll" in shown
    assert "No answer from 00:00 to 11 Nov 00:00." in shown
    in_part = text(client.get(path("2026-11-11")))
    assert "The vendor answered, but told nothing of this product." in in_part
    assert "No answer from 00:00 to 01:30." in in_part


def test_what_came_after_a_closing_is_marked(client: Client, sign_in: SignIn, filled: Operation) -> None:
    hear(filled, "interactions", NOW + timedelta(days=10), ("Email", "9", "2026-12-03"))
    closing.close_months(NOW + timedelta(days=10))
    MonthlyUsage.objects.filter(month="2026-11-01").update(closed_at=NOW - timedelta(minutes=30))
    sign_in("Managers")
    shown = text(client.get(path()))
    assert shown.count("after the closing: a correction") == 1
    assert "changed no figure: it stands here as it came" in shown
    assert "after the closing" not in text(client.get(path("2026-11-22")))


def test_a_gauges_day_has_no_use(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    shown = text(client.get(path(product="Interaction licences")))
    assert "The day's last figure" in shown
    assert "Use in the day" not in shown


def test_a_day_in_spanish(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    shown = text(client.get(path(), headers={"accept-language": "es"}))
    assert "<h1>Lunes 23 de noviembre de 2026</h1>" in shown
    assert "Los últimos datos son de las 14:31, hora de Bogotá, antes de que terminara el día." in shown


@pytest.mark.parametrize(
    ("day", "sentence"),
    [
        ("2026-10-31", "There are no figures for October 2026. The latest months with figures: November 2026."),
        ("2026-11-31", "There is no page at this address."),
        ("2026-13-01", "There is no page at this address."),
        ("0000-00-00", "There is no page at this address."),
        ("2026-11", "There is no page at this address."),
        ("٢٠٢٦-11-01", "There is no page at this address."),
    ],
)
def test_a_day_that_cannot_be_is_not_found(
    client: Client, sign_in: SignIn, filled: Operation, day: str, sentence: str
) -> None:
    sign_in("Managers")
    response = client.get(path(day))
    assert response.status_code == 404
    assert sentence in text(response)


@pytest.mark.parametrize("product", ["99999", "99999999999999999999999"])
def test_a_product_that_is_not_there_is_not_found(
    client: Client, sign_in: SignIn, filled: Operation, product: str
) -> None:
    sign_in("Managers")
    response = client.get(f"/operations/bogot-norte/products/{product}/2026-11-23/")
    assert response.status_code == 404
    assert "There is no such product" in text(response)


def test_another_teams_day_is_not_found(client: Client, sign_in: SignIn, filled: Operation) -> None:
    hear(make_operation("Quito", groups=["Quito"]), "interactions", NOW, ("Email", "1"))
    sign_in("Managers")
    assert client.get(path(operation="quito")).status_code == 404


def test_without_a_role_no_day_is_open(client: Client, filled: Operation) -> None:
    assert client.get(path()).status_code == 302


@pytest.mark.parametrize("figures", [1, 100])
def test_a_day_asks_as_often_whatever_the_number_of_its_figures(
    client: Client,
    sign_in: SignIn,
    filled: Operation,
    django_assert_num_queries: DjangoAssertNumQueries,
    figures: int,
) -> None:
    for number in range(figures):
        hear(filled, "interactions", NOW + timedelta(minutes=number), ("Email", f"{2300 + number}"))
    sign_in("Managers")
    address = path()
    with django_assert_num_queries(8):
        assert client.get(address).status_code == 200
