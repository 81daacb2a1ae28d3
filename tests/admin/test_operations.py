"""Operations in admin: what goes in, what is shown, and that no token ever comes out."""

from __future__ import annotations

import re
import socket
import time
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone

from billing_dashboard.celery import app
from tests.admin.conftest import ADD, LIST, POLLS, TOKEN, due_at, errors, feed_of, form, page, prefix, said, whole_form
from tests.conftest import NOW, hear, make_operation, token_of
from usage import tasks, tokens
from usage.collecting import claims
from usage.collecting.rebuilding import rebuild
from usage.forms import OperationForm
from usage.models import Feed, MonthlyUsage, Operation, Poll
from usage.wolkvox.simulator import Simulator

HIDDEN = "hunter2"

pytestmark = pytest.mark.django_db

# Adding


def test_an_added_operation_has_27_feeds_and_its_first_poll_is_sent(
    admin: Client, queue: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        response = admin.post(ADD, form(token=f"  {TOKEN}\t"))
    operation = Operation.objects.get()
    assert response["Location"] == page(operation)
    assert operation.token == TOKEN
    assert operation.feeds.count() == 27
    due = operation.feeds.filter(is_enabled=True, next_due_at__lte=timezone.now())
    assert {feed.api for feed in due} == {"interactions", "interaction_licenses"}
    assert queue() == [("usage.tasks.poll_operations", [operation.pk])]


@pytest.mark.parametrize(
    ("given", "field", "sentence"),
    [
        (
            {"server": "12"},
            "server",
            "A server is four digits, such as 0012: the number in https://wv0012.wolkvox.com.",
        ),
        ({"server": "127.0.0.1"}, "server", "A server is four digits"),
        ({"server": "user@host"}, "server", "A server is four digits"),
        ({"server": "[::1]"}, "server", "A server is four digits"),
        ({"server": "00/2"}, "server", "A server is four digits"),
        ({"server": "٠٠١٢"}, "server", "A server is four digits"),
        ({"token": ""}, "token", "This field is required."),
        ({"token": "two words of it"}, "token", "A token is 16 to 256 letters, digits and signs without spaces."),
        ({"token": "fifteen-letters"}, "token", "A token is 16 to 256 letters"),
        ({"token": "x" * 257}, "token", "A token is 16 to 256 letters"),
        ({"time_zone": "Bogota"}, "time_zone", "“Bogota” is not a time zone. Write one such as America/Bogota."),
        ({"time_zone": "../../etc/passwd"}, "time_zone", "is not a time zone"),
        ({"slug": "a b"}, "slug", "Enter a valid “slug”"),
        ({"name": ""}, "name", "This field is required."),
    ],
)
def test_a_bad_field_gets_one_sentence(admin: Client, given: dict[str, str], field: str, sentence: str) -> None:
    found = errors(admin.post(ADD, form(**given)))
    assert list(found) == [field]
    assert len(found[field]) == 1
    assert found[field][0].startswith(sentence) or sentence in found[field][0]
    assert not Operation.objects.exists()


def test_a_token_belongs_to_one_operation(admin: Client) -> None:
    make_operation("Quito")
    found = errors(admin.post(ADD, form(token=token_of("Quito"))))
    assert found == {"token": ["This token is already the one of “Quito”."]}


def test_a_broker_that_is_down_fails_no_save(transactional_db: None, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    app.conf.update(broker_url="redis://127.0.0.1:1/0")
    response = client.post(ADD, form())
    assert response.status_code == 302
    assert Operation.objects.get().feeds.count() == 27
    assert "polling starts by itself when it is back" in said(response)


def test_a_broker_that_never_answers_is_left_after_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app.conf.update(broker_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        assert not tasks.poll_soon(1)
        assert time.monotonic() - began < 8


# Changing


def test_an_empty_token_keeps_the_one_that_is_there(admin: Client, operation: Operation, queue: Any) -> None:
    before = operation.token_encrypted
    response = admin.post(page(operation), whole_form(admin, operation, name="Bogotá Sur", token="  "))
    assert response.status_code == 302
    operation.refresh_from_db()
    assert (operation.name, operation.token_encrypted) == ("Bogotá Sur", before)
    assert queue() == []


def test_a_new_token_makes_all_feeds_due_and_is_polled_at_once(
    admin: Client, operation: Operation, queue: Any, django_capture_on_commit_callbacks: Any
) -> None:
    later = timezone.now() + timedelta(hours=1)
    operation.feeds.filter(is_enabled=True).update(next_due_at=later, last_poll_at=timezone.now(), failures=3)
    Operation.objects.update(vendor_name="Bogotá", other_vendor_name="Lima")
    with django_capture_on_commit_callbacks(execute=True):
        response = admin.post(page(operation), whole_form(admin, operation, token=TOKEN))
    assert response.status_code == 302
    operation.refresh_from_db()
    assert (operation.token, operation.vendor_name, operation.other_vendor_name) == (TOKEN, "", "")
    feed = feed_of(operation)
    assert (feed.failures, feed.last_poll_at) == (0, None)
    assert due_at(operation) < later
    assert queue() == [("usage.tasks.poll_operations", [operation.pk])]


def test_a_save_leaves_alone_what_a_worker_writes_meanwhile(operation: Operation) -> None:
    bound = OperationForm(form(name="Other", slug=operation.slug), instance=Operation.objects.get())
    assert bound.is_valid()
    claim = claims.Claim(operation.pk)
    claim.take(timezone.now)
    bound.instance.save(update_fields=bound.columns)
    operation.refresh_from_db()
    assert (operation.name, operation.token, operation.claimed_by) == ("Other", TOKEN, claim.holder)
    assert set(bound.columns).isdisjoint({"claimed_by", "claimed_at"})


def test_an_operation_whose_groups_were_deleted_says_who_sees_it_and_what_to_do(
    admin: Client, operation: Operation
) -> None:
    sales = Group.objects.create(name="Sales")
    operation.groups.set([sales])
    said = "Its groups were deleted, so administrators alone see it"
    assert said not in admin.get(page(operation)).content.decode()
    sales.delete()
    assert said in admin.get(page(operation)).content.decode()
    any_group = Group.objects.create(name="Any")
    for groups in ({"groups": str(any_group.pk)}, {}):  # as it says
        sent = whole_form(admin, operation) | groups
        assert admin.post(page(operation), sent).status_code == 302
        operation.refresh_from_db()
        assert operation.is_kept_to_groups is bool(groups)


def test_groups_that_were_chosen_beside_an_error_are_saved_once_it_is_mended(
    admin: Client, operation: Operation
) -> None:
    sales = Group.objects.create(name="Sales")
    sent = whole_form(admin, operation, groups=str(sales.pk), server="12")
    hidden = r'<input type="hidden" name="initial-groups"([^>]*)>'
    first = re.findall(hidden, admin.get(page(operation)).content.decode())
    again = re.findall(hidden, admin.post(page(operation), sent | {"initial-groups": ""}).content.decode())
    assert len(first) == len(again) == 1
    assert f'value="{sales.pk}"' not in again[0]
    assert admin.post(page(operation), sent | {"initial-groups": "", "server": "0012"}).status_code == 302
    assert list(operation.groups.all()) == [sales]


def test_a_page_that_was_opened_before_undoes_no_change_of_another(admin: Client, operation: Operation) -> None:
    sales = Group.objects.create(name="Sales")
    opened_before = whole_form(admin, operation, name="Cali")
    ivr = prefix(admin, operation, "ivr_calls")
    others = {"server": "0034", "time_zone": "America/Lima", "groups": str(sales.pk), f"{ivr}-is_enabled": "on"}
    assert admin.post(page(operation), whole_form(admin, operation, **others)).status_code == 302
    assert admin.post(page(operation), opened_before).status_code == 302
    operation.refresh_from_db()
    assert (operation.name, operation.server, operation.time_zone) == ("Cali", "0034", "America/Lima")
    assert list(operation.groups.all()) == [sales]
    assert feed_of(operation, "ivr_calls").is_enabled


def test_a_ticked_feed_is_due_now_and_writes_nothing_of_the_polls(admin: Client, operation: Operation) -> None:
    ivr = prefix(admin, operation, "ivr_calls")
    sent = whole_form(admin, operation, **{f"{ivr}-is_enabled": "on", f"{ivr}-counts": "day"})
    with connection.execute_wrapper(lambda run, sql, *rest: run(_unwritten(sql), *rest)):
        assert admin.post(page(operation), sent).status_code == 302
    feed = feed_of(operation, "ivr_calls")
    assert (feed.is_enabled, feed.counts) == (True, "day")
    assert due_at(operation, "ivr_calls") <= timezone.now()


def _unwritten(sql: str) -> str:
    if sql.startswith('UPDATE "usage_feed"'):
        assert "last_good_poll_at" not in sql
    if sql.startswith('UPDATE "usage_operation"'):
        assert "claimed" not in sql
    return sql


@pytest.mark.parametrize(("polled_ago", "waits"), [(2, 3), (20, 0)])
def test_a_shorter_interval_counts_at_once_as_far_as_the_vendor_allows(
    admin: Client, operation: Operation, polled_ago: int, waits: int
) -> None:
    now = timezone.now()
    due = {"next_due_at": now + timedelta(hours=20), "last_poll_at": now - timedelta(minutes=polled_ago)}
    Feed.objects.filter(operation=operation, api="interaction_licenses").update(**due)
    changed = prefix(admin, operation, "interaction_licenses")
    admin.post(page(operation), whole_form(admin, operation, **{f"{changed}-interval": "5"}))
    assert feed_of(operation, "interaction_licenses").interval == 5
    assert abs(due_at(operation, "interaction_licenses") - now - timedelta(minutes=waits)) < timedelta(seconds=10)


def test_a_schedule_that_does_not_fit_the_vendors_limit_is_saved_and_warned_about(
    admin: Client, operation: Operation
) -> None:
    Operation.objects.update(call_limit=1_000)
    assert "This schedule" not in said(admin.post(page(operation), whole_form(admin, operation)))
    often = {"is_enabled": "on", "interval": "5"}
    ticked = {
        f"{prefix(admin, operation, api)}-{name}": value
        for api in ("ivr_calls", "vision", "nlp_ai")
        for name, value in often.items()
    }
    words = said(admin.post(page(operation), whole_form(admin, operation, **ticked)))
    assert "needs 1,176 calls a day. The vendor allows 1,000, of which 50 are kept in reserve" in words
    assert operation.feeds.filter(is_enabled=True).count() == 5


def test_for_want_of_the_vendors_limit_a_schedule_is_held_against_the_licences(
    admin: Client, operation: Operation
) -> None:
    operation.feeds.update(is_enabled=True, interval=5)
    assert "This schedule" not in said(admin.post(page(operation), whole_form(admin, operation)))
    hear(operation, "interaction_licenses", timezone.now(), ("Interaction licences", "8"))
    words = said(admin.post(page(operation), whole_form(admin, operation)))
    assert "needs 7,776 calls a day. The vendor hasn't told its limit; 1,000 for each licence would be 8,000" in words


def test_feeds_are_neither_added_nor_deleted(admin: Client, operation: Operation) -> None:
    first = prefix(admin, operation, "interactions")
    sent = whole_form(
        admin, operation, **{f"{first}-DELETE": "on", "feeds-TOTAL_FORMS": "28", "feeds-27-api": "vision"}
    )
    admin.post(page(operation), sent)
    assert operation.feeds.count() == 27


def test_an_operation_with_polls_is_kept_and_so_is_its_slug(admin: Client, operation: Operation) -> None:
    quito = make_operation("Quito")
    hear(operation, "interactions", datetime(2026, 11, 1, 17, tzinfo=UTC), ("Email", "1"))
    assert admin.post(page(operation, "delete"), {"post": "yes"}).status_code == 403
    admin.post(page(operation), whole_form(admin, operation, slug="other"))
    assert admin.post(page(quito, "delete"), {"post": "yes"}).status_code == 302
    assert list(Operation.objects.values_list("slug", flat=True)) == [operation.slug]


# What is shown


def test_a_token_shows_its_last_four_and_nothing_more(admin: Client, operation: Operation) -> None:
    token = "A7" * 24 + "WXYZ"
    html = admin.post(page(operation), whole_form(admin, operation, token=token, server="x")).content.decode()
    assert 'type="password"' in html
    assert 'autocomplete="new-password"' in html
    admin.post(page(operation), whole_form(admin, operation, token=token))
    hear(operation, "interactions", datetime(2026, 11, 1, 17, tzinfo=UTC), (f"echo {token}", "1"))
    html += admin.get(page(operation)).content.decode()
    assert "It ends in …WXYZ." in html
    html += admin.get(f"{POLLS}{Poll.objects.get().pk}/change/").content.decode()
    assert "echo •••" in html
    html += admin.get(page(operation, "history")).content.decode()
    assert "Changed Token." in html
    html += admin.get(LIST).content.decode() + admin.get("/admin/").content.decode()
    assert token not in html + repr(LogEntry.objects.values_list("change_message", "object_repr"))
    assert token not in repr(Operation.objects.get())


def test_who_may_only_look_sees_the_last_four_too(client: Client, operation: Operation) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_operation", "view_poll"]))
    client.force_login(viewer)
    html = client.get(page(operation)).content.decode()
    assert f"It ends in …{operation.token[-4:]}." in html
    assert operation.token not in html
    for act in ("test", "poll", "accept_name"):
        assert client.post(page(operation, act)).status_code == 403
    hear(operation, "interactions", datetime(2026, 11, 1, 17, tzinfo=UTC), ("Email", "1"))
    assert operation.name in client.get(POLLS).content.decode()
    operation.groups.add(Group.objects.create(name="Others"))
    assert client.get(page(operation)).status_code == 302  # as if there were none
    assert "Bogotá" not in client.get(POLLS).content.decode() + client.get(LIST).content.decode()


def test_a_token_that_no_key_opens_is_said_and_can_be_pasted_again(
    admin: Client, operation: Operation, settings: Any, vendor: Simulator
) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    html = unescape(admin.get(page(operation)).content.decode())
    assert "No key in TOKEN_ENCRYPTION_KEYS opens the stored token" in html
    assert operation.token_encrypted not in html
    assert "Token can't be decrypted" in said(admin.post(page(operation, "test")))
    assert not vendor.calls
    admin.post(page(operation), whole_form(admin, operation, token=TOKEN))
    operation.refresh_from_db()
    assert tokens.decrypt(operation.token_encrypted) == TOKEN


@pytest.mark.parametrize("is_debug", [True, False])
@pytest.mark.parametrize("changes", [True, False])
def test_a_token_is_in_no_error_page_nor_is_a_password_of_an_address(
    admin: Client, operation: Operation, settings: Any, is_debug: bool, changes: bool
) -> None:
    settings.DEBUG, admin.raise_request_exception = is_debug, False
    settings.WOLKVOX_PROXY, settings.CELERY_BROKER_URL = f"http://me:{HIDDEN}@proxy", f"redis://:{HIDDEN}@broker/0"

    def fail(run: Any, sql: str, *rest: Any) -> Any:
        assert not sql.startswith(("UPDATE", "INSERT")), "the disk is full"
        return run(sql, *rest)

    where = page(operation) if changes else ADD
    sent = whole_form(admin, operation, token=TOKEN) if changes else form()
    with connection.execute_wrapper(fail):
        response = admin.post(where, sent)
    assert response.status_code == 500
    assert TOKEN.encode() not in response.content
    assert HIDDEN.encode() not in response.content
    assert (b"WOLKVOX_PROXY" in response.content) is is_debug


def test_the_list_says_how_each_operation_is_and_costs_the_same_for_many(
    admin: Client, operation: Operation, django_assert_num_queries: Any
) -> None:
    feed = feed_of(operation)
    at = timezone.now()
    Feed.objects.filter(pk=feed.pk).update(failing_since=at, failing_outcome="token_refused")
    make_operation("Quito").feeds.update(is_enabled=False)
    Operation.objects.filter(pk=operation.pk).update(other_vendor_name="Lima & Sons")
    html = admin.get(LIST).content.decode()
    assert "Omnibox interactions: Token refused since" in html
    assert "No feed is polled" in html
    assert "Lima &amp; Sons" in html
    admin.get(page(operation))  # Django remembers content types from here on
    for number in range(20):
        make_operation(f"Operation {number}")
    with django_assert_num_queries(8):
        admin.get(LIST)
    with django_assert_num_queries(14):
        admin.get(page(operation))


def test_how_the_vendor_behaves_is_shown_with_what_to_do(admin: Client, operation: Operation) -> None:
    shown = unescape(admin.get(page(operation)).content.decode())
    assert "seen to begin" not in shown
    assert "behaved as if" not in shown
    operation.feeds.filter(api="interactions").update(contrary_midnights=2)
    Operation.objects.update(reset_after=18_000, reset_before=18_300)
    shown = unescape(admin.get(page(operation)).content.decode())
    assert "seen to begin between 05:00 and 05:05, Bogotá time. Midnight is not in between" in shown
    assert "an administrator sets “figures count” to “the day”." in shown


def test_another_time_zone_folds_the_months_that_are_not_closed_anew(admin: Client, operation: Operation) -> None:
    hear(operation, "interactions", NOW - timedelta(days=9), ("Email", "500"))
    before = MonthlyUsage.objects.get().gaps
    Operation.objects.update(reset_after=-60, reset_before=60)
    sent = whole_form(admin, operation, time_zone="America/Mexico_City")
    assert admin.post(page(operation), sent).status_code == 302
    assert MonthlyUsage.objects.get().gaps != before
    assert not Operation.objects.exclude(reset_after=None, reset_before=None).exists()
    assert list(rebuild(write=False)) == []


def test_it_is_said_of_which_feeds_nobody_will_notice_what_they_count(admin: Client, operation: Operation) -> None:
    where = prefix(admin, operation, "interactions")
    for interval, is_told in (("360", False), ("1440", True)):
        response = admin.post(page(operation), whole_form(admin, operation, **{f"{where}-interval": interval}))
        assert ("these count what they are set to: Omnibox interactions." in said(response)) == is_told
    licences = prefix(admin, operation, "interaction_licenses")
    response = admin.post(page(operation), whole_form(admin, operation, **{f"{licences}-interval": "1440"}))
    assert "set to" not in said(response)
