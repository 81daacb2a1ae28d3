"""Clocks that jump, and clocks that differ."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone, translation

from tests.collecting.conftest import NOON, Clock
from usage.collecting import polling
from usage.models import Operation, Poll
from usage.wolkvox.client import BillingClient
from usage.wolkvox.errors import TimedOut
from usage.wolkvox.simulator import Simulator, provoking, serve, token_of

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def poll(operation: Operation, clock: Clock, *, vendor_ahead: timedelta = timedelta()) -> list[Poll]:
    with serve(Simulator(clock=lambda: clock() + vendor_ahead)) as vendor:
        return polling.poll_operation(operation.pk, client=BillingClient(vendor.url, now=clock), clock=clock)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_deadline_does_not_heed_a_clock_that_jumps(step: timedelta) -> None:
    steps = count()

    def jumping() -> datetime:
        return NOON + next(steps) * step

    with serve(Simulator()) as vendor:
        BillingClient(vendor.url, now=jumping).fetch("interactions", server="0012", token=token_of("Lima"))
        slow = BillingClient(vendor.url, now=jumping, deadline=0.3)
        with pytest.raises(TimedOut):
            slow.fetch("interactions", server="0012", token=provoking("slow"))


def test_polling_goes_on_when_our_clock_is_set_back(operation: Operation) -> None:
    clock = Clock(NOON + 30 * 24 * HOUR)
    assert [one.outcome for one in poll(operation, clock)] == ["good", "good"]
    clock.now = NOON
    assert polling.due_operations(clock()) == [operation.pk]
    assert [one.outcome for one in poll(operation, clock)] == ["good", "good"]
    assert polling.due_operations(clock()) == [], "once is enough"


@pytest.mark.parametrize(
    ("ahead", "language", "said"),
    [
        (timedelta(minutes=5), "en", "The vendor's clock is 5 min ahead of this server's."),
        (timedelta(minutes=-5), "en", "The vendor's clock is 5 min behind this server's."),
        (timedelta(minutes=5), "es", "El reloj del proveedor va 5 min adelantado respecto al de este servidor."),
        (timedelta(minutes=-5), "es", "El reloj del proveedor va 5 min atrasado respecto al de este servidor."),
        (timedelta(seconds=50), "en", ""),
        (timedelta(), "en", ""),
    ],
)
def test_status_tells_of_clocks_that_differ(  # noqa: PLR0917
    operation: Operation,
    client: Client,
    sign_in: Callable[[str], User],
    ahead: timedelta,
    language: str,
    said: str,
) -> None:
    sign_in("Managers")
    poll(operation, Clock(timezone.now()), vendor_ahead=ahead)
    with translation.override(language):
        page = client.get("/status/", headers={"Accept-Language": language}).content.decode().replace("&#x27;", "'")
    if said:
        assert said in page
    else:
        assert "clock" not in page


def test_a_clock_that_was_set_right_is_no_longer_told_of(operation: Operation) -> None:
    clock = Clock(NOON)
    poll(operation, clock, vendor_ahead=timedelta(minutes=5))
    operation.refresh_from_db()
    assert operation.clock_skew == pytest.approx(300, abs=2)
    clock.now += HOUR
    poll(operation, clock)
    operation.refresh_from_db()
    assert operation.clock_skew == 0


def test_a_slow_answer_is_not_taken_for_a_clock_that_differs(operation: Operation) -> None:
    clock = Clock(NOON)

    class Slow(Simulator):
        """A minute passes in each call, before the vendor looks at its clock."""

        def answer(self, token: str, api: str, at: datetime) -> bytes:
            clock.now += timedelta(minutes=1)
            return super().answer(token, api, at)

    with serve(Slow(clock=clock)) as vendor:
        polling.poll_operation(operation.pk, client=BillingClient(vendor.url, now=clock), clock=clock)
    operation.refresh_from_db()
    assert operation.clock_skew == 0
