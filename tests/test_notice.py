"""The line that an installation may set to stand on every page; the demo says by it that it is one."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from billing_dashboard.launch import DEMO
from tests.conftest import make_user
from usage.management.commands.demo import PASSWORD, PEOPLE

pytestmark = pytest.mark.django_db

PAGES = ["/", "/status/", "/operations/none/", "/admin/", "/admin/usage/operation/add/"]
WITHOUT_A_LOG_IN = ["/accounts/login/", "/admin/login/"]


def shown(client: Client, path: str, language: str = "en") -> str:
    return client.get(path, headers={"Accept-Language": language}, follow=True).content.decode()


def test_a_notice_stands_on_every_page_as_text(client: Client, settings: Any) -> None:
    settings.NOTICE = "Ask <b>Laura</b>, extension 12"
    line = '<aside class="announcement" aria-label="Notice">Ask &lt;b&gt;Laura&lt;/b&gt;, extension 12</aside>'
    for path in WITHOUT_A_LOG_IN:
        assert line in shown(client, path), path
    client.force_login(make_user("administrator", "Administrators"))
    for path in PAGES:
        assert line in shown(client, path), path


def test_without_a_notice_there_is_no_line(client: Client, settings: Any) -> None:
    assert settings.NOTICE == ""
    assert "announcement" not in shown(client, "/accounts/login/")


def test_the_demo_says_that_it_is_one_and_how_to_log_in(client: Client, settings: Any) -> None:
    settings.NOTICE = DEMO
    assert all(name in DEMO for name in [*PEOPLE, PASSWORD])
    assert DEMO in shown(client, "/accounts/login/")
    assert "Demostración: todas las cifras son simuladas. Usuarios:" in shown(client, "/accounts/login/", "es")
