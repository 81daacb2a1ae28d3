"""“Test the connection”, “Poll now” and “Accept the name” on an operation's page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from tests.admin.conftest import REFUSED, TOKEN, feed_of, page, said, whole_form
from tests.conftest import make_user
from usage.collecting import claims
from usage.models import Operation, Poll
from usage.wolkvox.simulator import Simulator, provoking

pytestmark = pytest.mark.django_db


def test_the_connection_is_tested_with_one_call(admin: Client, operation: Operation, vendor: Simulator) -> None:
    response = admin.post(page(operation, "test"))
    assert response["Location"] == page(operation)
    assert "Omnibox interactions: Good. Rows: 3, products: 3." in said(response) or "Rows: 2" in said(response)
    assert "The vendor calls this operation “" in said(response)
    assert sum(vendor.calls.values()) == 1
    assert feed_of(operation).last_good_poll_at


def test_a_button_keeps_to_the_vendors_pace(admin: Client, operation: Operation, vendor: Simulator) -> None:
    admin.post(page(operation, "test"))
    again = said(admin.post(page(operation, "test")))
    assert "Omnibox interactions: Good at" in again
    assert "The vendor lets it be polled again at" in again
    assert sum(vendor.calls.values()) == 1
    admin.post(page(operation, "poll"))  # the licences alone
    assert sum(vendor.calls.values()) == 2
    admin.post(page(operation), whole_form(admin, operation, token=TOKEN))
    admin.post(page(operation, "test"))  # a new token may be tried at once
    assert vendor.calls[TOKEN] == 1


def test_what_failed_may_be_tried_again_at_once(admin: Client, operation: Operation, vendor: Simulator) -> None:
    operation.token = REFUSED
    operation.save()
    for _ in range(2):
        words = said(admin.post(page(operation, "poll")))
        assert "Token refused – “FORBIDDEN: PLEASE VALIDATE TOKEN”. An administrator has to act. Paste a" in words
        assert "It is tried again at " in words
        assert "Interaction licences: not called" in words
    assert vendor.calls[REFUSED] == 2


def test_a_button_leaves_interactions_their_calls(admin: Client, operation: Operation, vendor: Simulator) -> None:
    today = timezone.now().astimezone(operation.zone).date()
    Operation.objects.update(call_limit=1_000, calls=999, calls_day=today)
    words = said(admin.post(page(operation, "poll")))
    assert "Omnibox interactions: Good" in words
    assert "Interaction licences: not called, for the day's calls run short." in words
    assert sum(vendor.calls.values()) == 1
    Operation.objects.update(calls=1_000)
    Operation.objects.get().feeds.update(last_poll_at=None)
    assert "Omnibox interactions: not called, for the day's calls run short." in said(
        admin.post(page(operation, "test"))
    )


def test_a_full_disk_is_said(admin: Client, operation: Operation, vendor: Simulator) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a server minds its own disk")
    with override_settings(KEEP_FREE_MEGABYTES=10**9):
        assert "The disk is nearly full: nothing is polled" in said(admin.post(page(operation, "poll")))
    assert not vendor.calls
    operation.refresh_from_db()
    assert operation.claimed_by == ""


def test_a_vendor_that_asks_to_wait_is_not_called_again(admin: Client, operation: Operation, vendor: Simulator) -> None:
    operation.token = provoking("rate_limited")
    operation.save()
    assert "”. It usually passes by itself. The vendor asks for a pause" in said(admin.post(page(operation, "test")))
    assert "polled again at" in said(admin.post(page(operation, "test")))
    assert vendor.calls[provoking("rate_limited")] == 1


def test_more_than_three_feeds_go_to_a_worker(
    admin: Client, operation: Operation, vendor: Simulator, queue: Any
) -> None:
    later = timezone.now() + timedelta(hours=1)
    operation.feeds.filter(pk__in=operation.feeds.values("pk")[:6]).update(is_enabled=True, next_due_at=later)
    assert "feeds are being polled one after another" in said(admin.post(page(operation, "poll")))
    assert not vendor.calls
    assert queue() == [("usage.tasks.poll_operations", [operation.pk])]
    assert not operation.feeds.filter(is_enabled=True, next_due_at__gt=timezone.now()).exists()


def test_a_token_in_use_and_what_can_not_be_polled_are_said(
    admin: Client, operation: Operation, vendor: Simulator
) -> None:
    claim = claims.Claim(operation.pk)
    claim.take(timezone.now)
    assert "Another poll is using the token" in said(admin.post(page(operation, "test")))
    claim.give_back()
    operation.feeds.update(is_enabled=False)
    assert "No feed is polled" in said(admin.post(page(operation, "poll")))
    Operation.objects.update(is_active=False)
    assert "not active" in said(admin.post(page(operation, "test")))
    assert not vendor.calls


@pytest.mark.parametrize("act", ["test", "poll", "accept_name"])
def test_a_button_takes_a_post_of_an_administrator_with_a_csrf_token(
    client: Client, operation: Operation, act: str
) -> None:
    assert client.post(page(operation, act))["Location"].startswith("/accounts/login/")
    client.force_login(make_user("manager", "Managers"))
    assert client.post(page(operation, act))["Location"].startswith("/admin/login/")
    administrator = make_user("administrator", "Administrators")
    client.force_login(administrator)
    back = client.get(page(operation, act))  # as after a log-in that the button led to
    assert (back.status_code, back["Location"]) == (302, page(operation))
    assert said(back) == ""
    assert client.post(f"/admin/usage/operation/999/{act}/").status_code == 404
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(administrator)
    assert strict.post(page(operation, act)).status_code == 403
    assert not Poll.objects.exists()


def test_another_name_at_the_vendor_is_accepted_once(admin: Client, operation: Operation) -> None:
    Operation.objects.update(vendor_name="Bogotá", other_vendor_name="<b>Lima</b>")
    assert "Accept the name" in admin.get(page(operation)).content.decode()
    response = admin.post(page(operation, "accept_name"))
    assert "“<b>Lima</b>” is its name" in said(response)
    assert b"&lt;b&gt;Lima" in admin.get(page(operation)).content
    operation.refresh_from_db()
    assert (operation.vendor_name, operation.other_vendor_name) == ("<b>Lima</b>", "")
    assert "given no other name" in said(admin.post(page(operation, "accept_name")))
