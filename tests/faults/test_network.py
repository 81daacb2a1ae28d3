"""The network is gone, and comes back: the vendor is asked again within a minute, and never in a hurry."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest

from tests.collecting.conftest import NOON, Clock, due_at, feed_of, give_token
from usage.collecting import pacing, polling
from usage.models import Operation, Poll
from usage.wolkvox.client import BillingClient
from usage.wolkvox.simulator import Simulator, serve

pytestmark = pytest.mark.django_db

TICK = timedelta(seconds=30)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@contextmanager
def refused(clock: Clock) -> Iterator[BillingClient]:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    yield BillingClient(f"http://127.0.0.1:{port}", now=clock)


@contextmanager
def swallowed(clock: Clock) -> Iterator[BillingClient]:
    """No answer comes, not even to the wish for a connection."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield BillingClient(f"http://127.0.0.1:{full.getsockname()[1]}", deadline=0.06, now=clock)


def tick(operation: Operation, client: BillingClient, clock: Clock) -> list[str]:
    """What `dispatch` and a worker do, half a minute after the last time. The outcomes."""
    clock.now += TICK
    if operation.pk not in polling.due_operations(clock()):
        return []
    return [poll.outcome for poll in polling.poll_operation(operation.pk, client=client, clock=clock)]


@pytest.mark.parametrize(("gone", "outcome"), [(refused, "not_reached"), (swallowed, "timed_out")])
def test_the_first_tick_after_an_outage_polls_all_that_is_due(
    operation: Operation, clock: Clock, gone: Callable[[Clock], Iterator[BillingClient]], outcome: str
) -> None:
    with gone(clock) as nobody:  # type: ignore[attr-defined]
        tries = [tick(operation, nobody, clock) for _ in range(30)]
    assert tries == [[outcome]] * 30, "one call at each tick, for all feeds together"
    simulator = Simulator(clock=clock)
    with serve(simulator) as back:
        assert tick(operation, BillingClient(back.url, now=clock), clock) == ["good", "good"]
    operation.refresh_from_db()
    assert operation.calls < 10, "what never left is not counted against the day's calls"


def test_an_outage_does_not_lengthen_what_the_vendor_causes_after_it(operation: Operation, clock: Clock) -> None:
    with refused(clock) as nobody:
        for _ in range(30):
            tick(operation, nobody, clock)
    give_token(operation, "unavailable")
    with serve(Simulator(clock=clock)) as back:
        assert tick(operation, BillingClient(back.url, now=clock), clock) == ["server_failed", "server_failed"]
    assert max(due_at(feed) for feed in operation.feeds.filter(is_enabled=True)) == clock() + pacing.SOON


def test_a_call_that_was_sent_and_never_answered_backs_off_from_its_start(operation: Operation, clock: Clock) -> None:
    give_token(operation, "slow")

    class Minute(BillingClient):
        """Its time is up soon, and the clock says that a minute has passed."""

        def fetch(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            try:
                return super().fetch(*args, **kwargs)  # type: ignore[arg-type]
            finally:
                clock.now += timedelta(minutes=1)

    waits = []
    with serve(Simulator(clock=clock)) as vendor:
        for _ in range(3):
            started = clock()
            polling.poll_operation(
                operation.pk, client=Minute(vendor.url, deadline=0.3, now=clock), apis=["interactions"], clock=clock
            )
            waits.append((due_at(feed_of(operation)) - started) // timedelta(minutes=1))
            clock.now += timedelta(hours=1)
    assert waits == [1, 2, 4]
    assert Poll.objects.filter(outcome="timed_out").count() == 3
