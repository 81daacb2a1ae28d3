"""Polls are to read; products may be named, and held against licences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.admin.conftest import POLLS, errors
from tests.conftest import NOW, hear
from usage.collecting.rebuilding import rebuild
from usage.models import Answer, Feed, MonthlyUsage, Operation, Poll, Product
from usage.presenting import words

pytestmark = pytest.mark.django_db


@pytest.fixture
def polls(operation: Operation) -> list[Poll]:
    at = datetime(2026, 11, 1, 17, tzinfo=UTC)
    good = hear(operation, "interactions", at, ("<script>alert(1)</script>", "1"))
    bad = {"outcome": "timed_out", "message": "Nothing came", "excerpt": "<i>no</i>"}
    later = at + timedelta(minutes=5)
    return [good, Poll.objects.create(feed=good.feed, started_at=later, ended_at=later, **bad)]


def test_a_time_that_is_none_leads_to_the_list_without_it(admin: Client) -> None:
    for time in ("nonsense", "9999-12-31 23:59-10:00"):  # PostgreSQL takes the second one
        answer = admin.get(POLLS, {"started_at__gte": time}, follow=True)
        assert answer.status_code == 200
        assert answer.redirect_chain in ([(f"{POLLS}?e=1", 302)], [])


def test_polls_are_listed_filtered_and_read_only(
    admin: Client, polls: list[Poll], django_assert_num_queries: Any
) -> None:
    html = admin.get(POLLS).content.decode()
    assert "Timed out" in html
    assert "Nothing came" in html
    for query, found in {
        "outcome=good": [polls[0]],
        "outcome=failed": [polls[1]],
        "outcome=nonsense": [],
        "operation=bogot-norte": polls[::-1],
        "operation=other": [],
        "feed__api__exact=ivr_calls": [],
    }.items():
        assert list(admin.get(f"{POLLS}?{query}").context["cl"].queryset) == found, query
    for poll in polls:
        where = f"{POLLS}{poll.pk}/"
        assert admin.post(f"{where}change/", {"message": "x"}).status_code == 403
        assert admin.post(f"{where}delete/", {"post": "yes"}).status_code == 403
    assert admin.get(f"{POLLS}add/").status_code == 403
    with django_assert_num_queries(7):
        admin.get(POLLS)


def test_a_polls_page_shows_its_answer_as_text(admin: Client, polls: list[Poll]) -> None:
    html = admin.get(f"{POLLS}{polls[0].pk}/change/").content.decode()
    assert Answer.objects.get().sha256 in html
    assert "&quot;description&quot;: &quot;&lt;script&gt;" in html
    assert "<script>alert" not in html
    due_at = timezone.now() + timedelta(minutes=30)
    Feed.objects.filter(pk=polls[1].feed_id).update(next_due_at=due_at)
    html = admin.get(f"{POLLS}{polls[1].pk}/change/").content.decode()
    assert "&lt;i&gt;no&lt;/i&gt;" in html
    assert "It usually passes by itself. If it lasts, allow" in html
    assert f'<div class="readonly">{words.moment(due_at, polls[1].feed.operation.zone, timezone.now())}</div>' in html


def test_a_products_name_and_licences_may_be_changed(admin: Client, polls: list[Poll]) -> None:
    hear(polls[0].feed.operation, "interaction_licenses", polls[0].started_at, ("Licences", "5"))
    usage, licences = Product.objects.get(kind="usage"), Product.objects.get(kind="licences")
    where = f"/admin/usage/product/{usage.pk}/change/"
    sent = {"name": "E-mail", "unit": "mails", "kind": "usage", "licensed_by": licences.pk, "is_counted": "on"}
    assert admin.post(where, {**sent, "description": "x", "api": "vision"}).status_code == 302
    usage.refresh_from_db()
    assert (usage.name, usage.licensed_by, usage.api) == ("E-mail", licences, "interactions")
    assert list(errors(admin.post(where, sent | {"kind": "active count"}))) == ["licensed_by"]
    assert list(errors(admin.post(where, sent | {"licensed_by": usage.pk}))) == ["licensed_by"]
    assert admin.post(where.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert admin.get("/admin/usage/product/add/").status_code == 403


def test_licences_that_usage_is_held_against_stay_licences(admin: Client, polls: list[Poll]) -> None:
    licences = Product.objects.create(api="interaction_licenses", description="Agents", name="Agents", kind="licences")
    usage = Product.objects.filter(api="interactions")
    usage.update(licensed_by=licences)
    change = f"/admin/usage/product/{licences.pk}/change/"
    sent = {"name": licences.name, "unit": licences.unit, "kind": "usage", "is_counted": "on"}
    assert "Usage is held against it: choose other licences for " in admin.post(change, sent).content.decode()
    usage.update(licensed_by=None)
    assert admin.post(change, sent).status_code == 302


def test_a_product_of_another_kind_is_folded_anew_in_the_months_that_are_not_closed(
    admin: Client, operation: Operation
) -> None:
    for day, items in ((3, "5"), (4, "6")):
        hear(operation, "wp_connectors", NOW.replace(day=day), ("Connectors", items))
    product = Product.objects.get()
    where = f"/admin/usage/product/{product.pk}/change/"
    sent = {"name": "Connectors", "unit": "uses", "kind": "usage", "is_counted": "on"}
    assert admin.post(where, sent).status_code == 302
    hear(operation, "wp_connectors", NOW.replace(day=5), ("Connectors", "9"))
    row = MonthlyUsage.objects.get()
    assert sum(Decimal(items) for items in row.items_by_day) == row.items == 9
    assert list(rebuild(write=False)) == []
