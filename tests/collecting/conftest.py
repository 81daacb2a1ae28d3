"""A simulated vendor on a socket, under a clock that a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from usage.forms import TOKEN_COLUMNS
from usage.models import Feed, Operation
from usage.wolkvox.client import BillingClient
from usage.wolkvox.simulator import Simulator, SimulatorServer, provoking, serve

NOON = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def simulator(clock: Clock) -> Simulator:
    return Simulator(clock=clock)


@pytest.fixture
def vendor(simulator: Simulator) -> Iterator[SimulatorServer]:
    with serve(simulator) as server:
        yield server


@pytest.fixture
def client(vendor: SimulatorServer, clock: Clock) -> BillingClient:
    return BillingClient(vendor.url, now=clock)


def give_token(operation: Operation, what: str) -> None:
    operation.token = provoking(what)
    operation.save(update_fields=TOKEN_COLUMNS)


def due_at(feed: Feed) -> datetime:
    assert feed.next_due_at
    return feed.next_due_at


def feed_of(operation: Operation, api: str = "interactions") -> Feed:
    return Feed.objects.select_related("operation").get(operation=operation, api=api)
