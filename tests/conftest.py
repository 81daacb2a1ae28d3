"""What the tests share: operations, people, and answers recorded the way live ones are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from django.utils import translation

from billing_dashboard.celery import app
from tests.wolkvox.conftest import proxy, vendor  # noqa: F401  every test may have one
from usage.collecting import operations, recording
from usage.models import Feed, Operation, Poll
from usage.wolkvox import answers
from usage.wolkvox.client import Reply

NOW = datetime(2026, 11, 23, 19, 35, tzinfo=UTC)
"""When the tests of pages take place: on a Monday afternoon in Bogotá."""

SignIn = Callable[[str], User]

Row = tuple[str, str] | tuple[str, str, str]
"""A product's description, its items, and the vendor's date where it gives one."""


def token_of(name: str) -> str:
    """52 hex digits that no vendor gave out."""
    return name.encode().hex().ljust(52, "0")[:52]


def body_of(rows: Sequence[Row], operation: str = "Bogotá") -> bytes:
    """An answer's bytes, as the vendor writes them."""
    data = [
        {
            "operation": operation,
            "description": row[0],
            "items": row[1],
            "date": row[2] if len(row) > 2 else "",
        }
        for row in rows
    ]
    return json.dumps({"code": 200, "error": None, "msg": "Information found", "data": data}).encode()


def make_operation(
    name: str = "Bogotá Norte", *, server: str = "0012", groups: Sequence[str] = (), pk: int | None = None
) -> Operation:
    """An operation with its 27 feeds, `interactions` and `interaction_licenses` polled."""
    operation = Operation(
        pk=pk, name=name, slug=name.lower().replace(" ", "-").encode("ascii", "ignore").decode(), server=server
    )
    operation.token = token_of(name)
    operation.save()
    operation.groups.set(Group.objects.get_or_create(name=group)[0] for group in groups)
    operations.add_feeds(operation, datetime(2026, 1, 1, tzinfo=UTC))
    return operation


def hear(operation: Operation, api: str, at: datetime, *rows: Row, name: str = "Bogotá") -> Poll:
    """Record an answer that the vendor gave at `at`, through the parsing and recording of a live poll."""
    feed = Feed.objects.select_related("operation").get(operation=operation, api=api)
    body = body_of(rows, name)
    reply = Reply(body=body, http_status=200, vendor_clock=at, started_at=at, ended_at=at + timedelta(seconds=1))
    with transaction.atomic():
        poll = recording.record(feed, reply, answers.parse(body, feed.about))
        feed.save()
    return poll


def text(response: Any) -> str:
    return str(response.content.decode())


def make_user(name: str, role: str | None = None) -> User:
    """A person with a role of the migration: Managers, Finance or Administrators (who are staff)."""
    user = User.objects.create_user(name, password="a long enough password", is_staff=role == "Administrators")
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def operation(db: None) -> Operation:
    return make_operation()


@pytest.fixture
def now() -> Iterator[None]:
    """The clock stands still."""
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def sign_in(client: Client, db: None) -> SignIn:
    """Signs the test client in as somebody with a role."""

    def sign_in(role: str) -> User:
        user = make_user(role.lower(), role)
        client.force_login(user)
        return user

    return sign_in


@pytest.fixture
def queue() -> Iterator[Callable[[], list[tuple[Any, ...]]]]:
    """A broker in memory, of which one may ask what was sent to it."""
    url = app.conf.broker_url
    app.conf.update(broker_url="memory://")
    with app.connection_for_read() as broker:
        waiting = broker.SimpleQueue("celery")
        waiting.clear()

        def sent() -> list[tuple[Any, ...]]:
            messages = [waiting.get(block=False) for _ in range(waiting.qsize())]
            return [(message.headers["task"], *message.payload[0]) for message in messages]

        yield sent
        waiting.clear()
        waiting.close()
    app.conf.update(broker_url=url)


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """A page that a test asks for in Spanish leaves its language to nobody."""
    with translation.override("en"):
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """What asks the database is marked, to be run on each. After a test that commits, the database is flushed: what
    migrations brought is put back before the next.
    """
    for item in items:
        mark, fixtures = item.get_closest_marker("django_db"), set(item.fixturenames)
        commits = (mark and mark.kwargs.get("transaction")) or fixtures & {"transactional_db", "live_server"}
        if commits:
            item.fixturenames.insert(0, "django_db_serialized_rollback")
        if mark or commits or "db" in fixtures:
            item.add_marker("database")
