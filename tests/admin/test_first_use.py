"""An operation's first use in admin: add it, test it, see its first figures, and at each step what to do next."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from tests.admin.conftest import ADD, LIST, REFUSED, TOKEN, errors, feed_of, form, page, whole_form
from tests.conftest import hear
from usage.collecting import polling
from usage.models import Feed, Operation, Snapshot
from usage.presenting.first_use import NEWS, TAKEN_WITHIN, Steps
from usage.wolkvox.simulator import Simulator, provoking

pytestmark = pytest.mark.django_db

NEEDED = {name: form()[name] for name in ("name", "server", "token", "time_zone")}


def steps(client: Client, operation: Operation, language: str = "en") -> Steps:
    response = client.get(page(operation), headers={"Accept-Language": language})
    shown, html = response.context["steps"], unescape(response.content.decode())
    assert all(step.said in html for step in (shown.adding, shown.testing, shown.seeing))
    assert isinstance(shown, Steps)
    return shown


def trouble(client: Client, operation: Operation) -> list[str]:
    html = unescape(client.get(page(operation)).content.decode())
    return re.findall("<p>(.*?)</p>", html.partition('<div class="trouble">')[2].partition("</div>")[0])


def stages(shown: Steps) -> list[str]:
    return [shown.adding.stage, shown.testing.stage, shown.seeing.stage]


# Adding


def test_four_fields_add_an_operation_and_its_short_name_is_made_of_its_name(admin: Client) -> None:
    response = admin.get(ADD)
    asked, folded = response.context["adminform"].fieldsets
    assert asked[1]["fields"] == list(NEEDED)
    assert folded[1]["classes"] == ["collapse"]
    assert stages(response.context["steps"]) == ["next", "later", "later"]
    admin.post(ADD, NEEDED)
    operation = Operation.objects.get()
    assert (operation.slug, operation.is_active, operation.token) == ("medellin", True, TOKEN)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("客服", "The name has no letters for it: write one of letters, digits and hyphens."),
        ("Bogotá, Norte", "Operation with this Slug already exists."),
    ],
)
def test_a_name_that_makes_no_short_name_of_its_own_asks_for_one(
    admin: Client, operation: Operation, name: str, sentence: str
) -> None:
    Operation.objects.update(slug="bogota-norte")
    assert errors(admin.post(ADD, NEEDED | {"name": name})) == {"slug": [sentence]}
    assert admin.post(ADD, NEEDED | {"name": name, "slug": "other"}).status_code == 302


def test_an_empty_list_says_how_to_begin(admin: Client) -> None:
    assert "Add the first one" in admin.get(LIST).content.decode()
    assert "Add the first one" not in admin.get(f"{LIST}?q=nothing").content.decode()


# Testing, and the first figures


def test_an_added_operation_is_led_to_its_first_figures(admin: Client, vendor: Simulator) -> None:
    admin.post(ADD, NEEDED)
    operation = Operation.objects.get()
    assert stages(before := steps(admin, operation)) == ["done", "next", "later"]
    assert before.adding.said.startswith("It is asked for: Omnibox interactions, Interaction licences.")
    assert before.testing.said == "A worker asks wolkvox within a minute; the answer stands here then."
    polling.poll_operation(operation.pk, client=polling.vendor())
    assert stages(after := steps(admin, operation)) == ["done", "done", "done"]
    operation.refresh_from_db()
    assert f"calls this operation “{operation.vendor_name}”. If that is not the one you meant" in after.testing.said
    html = admin.get(page(operation)).content.decode()
    assert f'<a href="{operation.get_absolute_url()}">Open it</a>' in html
    assert TOKEN not in html
    Snapshot.objects.update(first_seen=timezone.now() - NEWS)
    assert admin.get(page(operation)).context["steps"] is None


@pytest.mark.parametrize(
    ("token", "english", "spanish"),
    [
        (
            "token_refused",
            "– “FORBIDDEN: PLEASE VALIDATE TOKEN”. An administrator has to act. Paste a valid token",
            "– «FORBIDDEN: PLEASE VALIDATE TOKEN». Debe intervenir un administrador. Pegue un token válido",
        ),
        (
            "maintenance",
            "It usually passes by itself. The vendor switches the API off now and then: there is nothing to do. It is",
            "Suele resolverse por sí solo. El proveedor suspende la API de vez en cuando: no hay nada que hacer. Pr",
        ),
        ("no_data", "The vendor has no figures for this month yet", "El proveedor aún no tiene cifras de este mes"),
        ("server_error", "passes by itself. The fault is the vendor's;", "por sí solo. El fallo es del proveedor;"),
        ("bad_row", "so no figure changed; if it lasts, tell the developers.", "avise a los desarrolladores"),
    ],
)
def test_a_test_that_fails_says_what_to_do(
    admin: Client, vendor: Simulator, token: str, english: str, spanish: str
) -> None:
    admin.post(ADD, NEEDED | {"token": provoking(token)})
    operation = Operation.objects.get()
    polling.poll_operation(operation.pk, client=polling.vendor())
    shown = steps(admin, operation)
    assert stages(shown) == ["done", "next", "later"]
    assert english in shown.testing.said
    assert spanish in steps(admin, operation, "es").testing.said
    html = admin.get(page(operation)).content.decode()
    assert html.count("Test the connection</button>") == 1
    assert provoking(token) not in html


def test_a_new_token_is_yet_to_be_tested(admin: Client, operation: Operation, vendor: Simulator) -> None:
    operation.token = REFUSED
    operation.save()
    polling.poll_operation(operation.pk, client=polling.vendor())
    assert "Token refused" in steps(admin, operation).testing.said
    admin.post(page(operation), whole_form(admin, operation, token=TOKEN))
    assert "A worker asks wolkvox within a minute" in steps(admin, operation).testing.said


def test_a_vendor_out_of_reach_is_told_from_one_that_gives_no_answer(
    admin: Client, operation: Operation, settings: Any
) -> None:
    settings.WOLKVOX_URL = "http://127.0.0.1:1"
    polling.poll_operation(operation.pk, client=polling.vendor())
    assert "check the server number and this server's network" in steps(admin, operation).testing.said
    operation.feeds.update(failing_outcome="timed_out")
    assert "allow this server's IP address in wolkvox Manager" in steps(admin, operation).testing.said


def test_what_keeps_an_operation_from_being_tested_is_said(admin: Client, operation: Operation) -> None:
    now, feeds = timezone.now(), operation.feeds.filter(is_enabled=True)
    feeds.update(next_due_at=now)
    assert "A worker asks wolkvox within a minute" in steps(admin, operation).testing.said
    feeds.update(next_due_at=now - TAKEN_WITHIN)
    assert "see to it that a worker and beat run" in steps(admin, operation).testing.said
    feeds.update(is_enabled=False)
    assert "No feed is polled: tick one" in steps(admin, operation).testing.said
    assert "Any of the 27 APIs can be ticked" in steps(admin, operation).adding.said
    Operation.objects.update(is_active=False)
    assert "tick “active” and save" in steps(admin, operation).testing.said


def test_figures_that_are_held_say_until_when(admin: Client, operation: Operation) -> None:
    now = timezone.now()
    operation.feeds.filter(api="interactions").update(last_poll_at=now, last_good_poll_at=now, held_since=now)
    shown = steps(admin, operation)
    assert stages(shown) == ["done", "done", "later"]
    assert shown.seeing.said == "Waits until the old month and the new one can be told apart."


def test_a_name_that_changed_at_the_vendor_is_to_be_checked(admin: Client, operation: Operation) -> None:
    hear(operation, "interactions", timezone.now(), ("Email", "1"))
    operation.feeds.filter(api="interactions").update(last_poll_at=timezone.now())
    Operation.objects.update(vendor_name="Bogotá", other_vendor_name="<b>Lima</b>")
    shown = steps(admin, operation)
    assert shown.testing.is_next
    assert "The vendor calls this operation “<b>Lima</b>”, and called it “Bogotá” before." in shown.testing.said
    assert "<b>Lima" not in admin.get(page(operation)).content.decode()


def test_who_may_only_look_is_offered_no_test(client: Client, operation: Operation) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_operation"))
    client.force_login(viewer)
    assert steps(client, operation).testing.is_next
    assert "Test the connection" not in client.get(page(operation)).content.decode()


def test_one_feed_that_fails_beside_one_that_does_not_is_told_too(
    admin: Client, operation: Operation, vendor: Simulator
) -> None:
    polling.poll_operation(operation.pk, client=polling.vendor())
    failing = {"failing_since": timezone.now(), "failing_outcome": "no_data"}
    operation.feeds.filter(api="interaction_licenses").update(**failing)
    assert stages(steps(admin, operation)) == ["done", "done", "done"]
    [told] = trouble(admin, operation)
    assert "It usually passes by itself. The vendor has no figures for this month yet" in told


# Later


def test_later_on_only_trouble_is_told_with_what_to_do(admin: Client, operation: Operation) -> None:
    hear(operation, "interactions", timezone.now() - timedelta(minutes=1), ("Email", "1"))
    Snapshot.objects.update(first_seen=timezone.now() - NEWS)
    assert not trouble(admin, operation)
    Feed.objects.filter(pk=feed_of(operation).pk).update(failing_since=timezone.now(), failing_outcome="token_refused")
    Operation.objects.update(vendor_name="Bogotá", other_vendor_name="Lima")
    failing, named = trouble(admin, operation)
    assert "Paste a valid token for this operation" in failing
    assert "The vendor calls this operation “Lima”" in named
    assert admin.get(page(operation)).content.decode().count("Test the connection</button>") == 1


def test_each_trouble_is_explained_once_and_each_feed_says_whether_its_own_passes(
    admin: Client, operation: Operation
) -> None:
    hear(operation, "interactions", timezone.now(), ("Email", "1"))
    Snapshot.objects.update(first_seen=timezone.now() - NEWS)
    for outcome, apis in {
        "no_data": ["interactions"],
        "request_refused": ["ivr_calls", "vision"],
    }.items():
        failing = {"failing_since": timezone.now(), "failing_outcome": outcome}
        operation.feeds.filter(api__in=apis).update(is_enabled=True, **failing)
    refused, without = trouble(admin, operation)
    assert "An administrator has to act. Check whether the vendor still offers this API" in refused
    assert "It usually passes by itself. The vendor has no figures for this month yet" in without
    html = unescape(admin.get(page(operation)).content.decode())
    rows = re.findall(r'field-state">\s*<p>(.*?)</p>', html)
    assert [row.partition(". ")[2] for row in rows if "since" in row] == [
        "It usually passes by itself.",
        "An administrator has to act.",
        "An administrator has to act.",
    ]


def test_the_vendors_clock_and_the_days_calls_are_shown(admin: Client, operation: Operation) -> None:
    assert "clock" not in unescape(admin.get(page(operation)).content.decode()).partition("Its clock:")[2]
    hear(operation, "interactions", timezone.now(), ("Email", "1"))
    today = timezone.now().astimezone(operation.zone).date()
    Operation.objects.update(clock_skew=-39, calls=214, calls_day=today, call_limit=8_000)
    html = unescape(admin.get(page(operation)).content.decode())
    assert "The vendor's clock is 39 s behind this server's." in html
    assert "Calls to the vendor today: 214 of 8,000. The schedule needs 312 a day." in html
    Operation.objects.update(clock_skew=0, call_limit=None)
    html = unescape(admin.get(page(operation)).content.decode())
    assert "The vendor's clock agrees with this server's." in html
    assert "the vendor's limit isn't known." in html
