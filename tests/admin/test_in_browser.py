"""An administrator adds an operation and tests its connection, in a real browser under the real policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, sync_playwright

from tests.admin.conftest import REFUSED, TOKEN
from usage.wolkvox.simulator import Simulator

pytestmark = pytest.mark.browser

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAGES = ["", "usage/operation/", "usage/poll/", "usage/product/", "auth/user/", "auth/group/"]


@pytest.fixture
def complaints() -> list[str]:
    """What the browser had to say: console messages, a failed request among them, and errors of scripts."""
    return []


@pytest.fixture
def browser_page(live_server: Any, complaints: list[str]) -> Iterator[Page]:
    """A page of somebody who may do everything. The database is left alone while the browser runs."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    cookie: Any = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        context = browser.new_context(base_url=live_server.url)
        context.add_cookies([cookie])
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{page.url}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        yield page
        browser.close()


def test_an_operation_is_added_and_its_connection_tested(
    browser_page: Page, complaints: list[str], vendor: Simulator
) -> None:
    page = browser_page
    page.goto("/admin/usage/operation/add/")
    page.get_by_role("textbox", name="Name").fill("Medellín Soporte")
    page.get_by_label("Server").fill("0012")
    page.get_by_label("Token").fill(REFUSED)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("A worker asks wolkvox within a minute").wait_for()
    assert page.get_by_label("Token").input_value() == ""
    page.get_by_role("button", name="Test the connection").click()
    page.locator(".steps").get_by_text("Paste a valid token for this operation").wait_for()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("button", name="Test the connection").click()
    page.get_by_text("Omnibox interactions: Good.").wait_for()
    page.get_by_text("They are on its page.").wait_for()
    page.get_by_role("button", name="Poll now").click()
    page.get_by_text("Interaction licences: Good.").wait_for()
    for where in PAGES:
        page.goto(f"/admin/{where}")
        assert TOKEN not in page.content()
    page.goto("/admin/usage/poll/")
    page.locator("#result_list tbody th a").first.click()
    page.get_by_text("View poll").wait_for()
    assert complaints == []
