from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from datetime import timedelta
from threading import Event
from time import monotonic
from typing import Any

import pytest
from django.utils import timezone

from tests.conftest import make_operation
from usage import tasks
from usage.collecting import polling
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


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the operations whose round has begun."""
    ids: list[int] = []
    monkeypatch.setattr(polling, "poll_operation", lambda operation_id, **_: ids.append(operation_id))
    return ids


def test_what_no_poller_is_free_for_is_left_to_the_next_tick(begun: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TICK", 0.2)
    is_over = Event()
    busy = [tasks.pollers.submit(is_over.wait, 60) for _ in range(tasks.AT_ONCE)]
    tasks.poll_operations([1, 2])
    is_over.set()
    wait(busy)
    tasks.poll_operations([3])
    assert begun == [3]


def test_a_worker_told_to_stop_begins_nothing(begun: list[int]) -> None:
    tasks.begin_no_more()
    try:
        tasks.poll_operations([1])
    finally:
        tasks.is_stopping.clear()
    assert begun == []


@pytest.mark.django_db
def test_a_poller_outlives_a_fault(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WOLKVOX_URL = "nowhere"
    tasks.poll(1, until=monotonic() + 60)
    assert "operation 1 was not polled" in caplog.text
