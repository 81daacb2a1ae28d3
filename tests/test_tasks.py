from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from django.utils import timezone

from tests.conftest import make_operation
from usage import tasks
from usage.models import Feed


@pytest.mark.django_db
def test_a_message_names_twenty_operations_those_first_that_have_waited_longest(
    queue: Callable[[], list[tuple[Any, ...]]],
) -> None:
    now = timezone.now()
    waiting = [make_operation(f"Operation {number}").pk for number in range(21)]
    for number, operation_id in enumerate(waiting):
        Feed.objects.filter(operation=operation_id).update(next_due_at=now - timedelta(minutes=number))
    tasks.dispatch()
    waiting.reverse()
    assert queue() == [
        ("usage.tasks.poll_operations", waiting[:20]),
        ("usage.tasks.poll_operations", waiting[20:]),
    ]


def test_what_no_poller_is_free_for_is_left_to_the_next_tick() -> None:
    until = monotonic() + 60
    for _ in range(tasks.AT_ONCE):
        assert tasks.is_poller_free(until)
    try:
        assert not tasks.is_poller_free(monotonic() + 0.1)
    finally:
        tasks.free_pollers.release(tasks.AT_ONCE)


def test_a_worker_told_to_stop_begins_nothing() -> None:
    tasks.begin_no_more()
    try:
        assert not tasks.is_poller_free(monotonic() + 60)
    finally:
        tasks.is_stopping.clear()


@pytest.mark.django_db
def test_a_poller_outlives_a_fault(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WOLKVOX_URL = "nowhere"
    tasks.poll(1)
    assert "operation 1 was not polled" in caplog.text
