"""Where there is nothing to see yet, a page says why, what to do next, and who can."""

from __future__ import annotations

from html import unescape

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from tests.conftest import SignIn, make_operation, make_user
from usage.models import Operation

pytestmark = pytest.mark.django_db


EMPTY = ["/", "/products/", "/reports/", "/status/"]
ADD = 'href="/admin/usage/operation/add/"'


def text(client: Client, path: str, language: str = "en") -> str:
    response = client.get(path, headers={"Accept-Language": language})
    assert response.status_code == 200
    return unescape(response.content.decode())


@pytest.mark.parametrize("path", EMPTY)
def test_an_administrator_is_led_to_the_first_operation(client: Client, sign_in: SignIn, path: str) -> None:
    sign_in("Administrators")
    assert ADD in text(client, path)
    assert "Añada la primera: bastan su nombre, su número de servidor y un token." in text(client, path, "es")


@pytest.mark.parametrize("path", EMPTY)
def test_who_can_not_add_one_is_told_whom_to_ask(client: Client, sign_in: SignIn, path: str) -> None:
    sign_in("Finance")
    assert "Administrators add operations and choose who may see them: ask one of them." in text(client, path)
    assert ADD not in text(client, path)


@pytest.mark.parametrize("path", EMPTY)
def test_another_teams_operation_changes_nothing_of_that(client: Client, sign_in: SignIn, path: str) -> None:
    sign_in("Finance")
    before = text(client, path).partition("<main")[2]
    make_operation("Quito", groups=["Others"])
    assert before == text(client, path).partition("<main")[2]
    User.objects.get().groups.add(Group.objects.get(name="Others"))
    assert "ask one of them" not in text(client, path)


@pytest.mark.parametrize("path", ["/products/", "/reports/"])
def test_before_the_first_figures_a_page_leads_to_the_status(
    client: Client, sign_in: SignIn, operation: Operation, path: str
) -> None:
    sign_in("Finance")
    assert '<a class="button" href="/status/">To the status</a>' in text(client, path)


def test_a_new_operation_says_what_its_figures_wait_for(client: Client, sign_in: SignIn, operation: Operation) -> None:
    sign_in("Managers")
    page, feeds = "/operations/bogot-norte/", operation.feeds.filter(is_enabled=True)
    assert "First figures are on their way" in text(client, "/")
    assert "They come with the first good poll, which takes minutes." in text(client, page)
    assert '<a class="button" href="/status/#bogot-norte">See its status</a>' in text(client, page)
    feeds.update(failing_since=timezone.now(), failing_outcome="token_refused")
    assert "They come by themselves once what stands above is settled." in text(client, page)
    assert "An administrator has to act." in text(client, page)
    Operation.objects.update(is_active=False)
    assert "Polling is switched off." in text(client, page)
    assert "They come by themselves once what stands above is settled." in text(client, page)
    Operation.objects.update(is_active=True)
    feeds.update(is_enabled=False)
    assert "No API of it is polled: an administrator chooses which." in text(client, page)


def test_an_administrator_opens_a_new_operation_in_the_admin(
    client: Client, sign_in: SignIn, operation: Operation
) -> None:
    sign_in("Administrators")
    assert f'<a class="button" href="/admin/usage/operation/{operation.pk}/change/">' in text(
        client, "/operations/bogot-norte/"
    )


def test_before_the_first_account_the_log_in_says_who_makes_it(client: Client) -> None:
    assert "makes the first one with manage.py createsuperuser" in text(client, "/accounts/login/")
    make_user("manager", "Managers")
    assert "createsuperuser" not in text(client, "/accounts/login/")
