"""What the tests of admin share: an administrator, a vendor and a broker, and forms as a browser sends them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from tests.conftest import make_user
from usage.models import Feed, Operation
from usage.wolkvox import simulator
from usage.wolkvox.simulator import Simulator, provoking, serve

ADD = "/admin/usage/operation/add/"
LIST = "/admin/usage/operation/"
POLLS = "/admin/usage/poll/"
TOKEN = simulator.token_of("Medellín")
REFUSED = provoking("token_refused")


@pytest.fixture(autouse=True)
def has_a_queue(queue: object) -> None:
    """What admin sends to the workers stays in memory."""


@pytest.fixture
def vendor(settings: Any) -> Iterator[Simulator]:
    simulated = Simulator()
    with serve(simulated) as server:
        settings.WOLKVOX_URL = server.url
        yield simulated


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_user("administrator", "Administrators"))
    return client


def form(**given: str) -> dict[str, str]:
    return {
        "name": "Medellín",
        "slug": "medellin",
        "server": "0012",
        "time_zone": "America/Bogota",
        "is_active": "on",
        "token": TOKEN,
    } | given


def page(operation: Operation, act: str = "change") -> str:
    return f"/admin/usage/operation/{operation.pk}/{act}/"


def whole_form(client: Client, operation: Operation, **given: str) -> dict[str, str]:
    """The change page's form as a browser would send it, with what was changed in it."""
    context = client.get(page(operation)).context
    inline = context["inline_admin_formsets"][0].formset
    whole = context["adminform"].form
    fields = {field.html_name: field.value() for one in [inline.management_form, *inline.forms] for field in one}
    fields |= {
        field.html_initial_name: str(field.initial)
        for one in [whole, *inline.forms]
        for field in one
        if field.field.show_hidden_initial and field.initial not in (None, [])
    }
    sent = {name: "on" if value is True else str(value) for name, value in fields.items() if value not in (None, False)}
    named = {"name": operation.name, "slug": operation.slug, "server": operation.server}
    return {**sent, **form(token="", **named), **given}


def prefix(client: Client, operation: Operation, api: str) -> str:
    forms = client.get(page(operation)).context["inline_admin_formsets"][0].formset.forms
    return str(next(one.prefix for one in forms if one.instance.api == api))


def errors(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def feed_of(operation: Operation, api: str = "interactions") -> Feed:
    return Feed.objects.get(operation=operation, api=api)


def due_at(operation: Operation, api: str = "interactions") -> datetime:
    at = feed_of(operation, api).next_due_at
    assert at is not None
    return at
