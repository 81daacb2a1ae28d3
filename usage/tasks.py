"""What Celery runs. Tasks pass ids; the database knows what is due."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from time import monotonic

from celery import shared_task
from celery.signals import beat_embedded_init, beat_init, worker_init, worker_shutting_down
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone
from kombu.exceptions import OperationalError

from .collecting import claims, closing, pacing, polling, pruning
from .disk import DiskFull

logger = logging.getLogger(__name__)

TICK = pacing.TICK.total_seconds()

IN_A_MESSAGE = 20
"""Operations. A message costs Celery as much as a poll costs us."""

AT_ONCE = 40
"""Operations that a worker polls at a time (docs/decisions/0008-throughput.md)."""

pollers = ThreadPoolExecutor(AT_ONCE, "poller")
is_stopping = Event()

BRIEFLY = {"socket_connect_timeout": 2, "socket_timeout": 2}
"""How long a person waits for the broker, in seconds."""


@shared_task
def dispatch() -> None:
    due = polling.due_operations(timezone.now())
    for start in range(0, len(due), IN_A_MESSAGE):
        poll_operations.apply_async((due[start : start + IN_A_MESSAGE],), expires=TICK)


@shared_task
def poll_operations(operation_ids: Sequence[int]) -> None:
    """Hand them to the pollers. It ends when the last has begun; what hasn't by the next tick is sent again then."""
    until = monotonic() + TICK
    for operation_id in operation_ids:
        pollers.submit(poll, operation_id, until)
    wait([pollers.submit(int)], TICK)  # its turn comes after theirs


def poll(operation_id: int, until: float) -> None:
    """On a poller, if one was free by that time on the monotonic clock, and the worker is not told to stop.

    Its connection to the database is looked after as Celery does it for a task.
    """
    if is_stopping.is_set() or monotonic() > until:
        return
    close_old_connections()
    try:
        polling.poll_operation(operation_id, client=polling.vendor())
    except claims.TokenInUse:
        logger.info("operation %s is being polled already", operation_id)
    except claims.ClaimLost:
        logger.warning("operation %s: the claim on its token ran out, nothing was recorded", operation_id)
    except DiskFull as error:
        logger.warning("operation %s: %s", operation_id, error)
    except Exception:
        logger.exception("operation %s was not polled", operation_id)
    finally:
        close_old_connections()


def poll_soon(operation_id: int) -> bool:
    """Have a worker poll what is due now, not at the next tick. False where the broker isn't reached within seconds."""
    try:
        with poll_operations.app.connection_for_write(transport_options=BRIEFLY) as connection:
            poll_operations.apply_async(([operation_id],), expires=TICK, connection=connection, retry=False)  # type: ignore[call-arg]
    except OperationalError:
        return False
    return True


@shared_task
def close_months() -> None:
    closing.close_months(timezone.now())


@shared_task
def prune() -> None:
    pruning.prune(timezone.now(), keep_days=settings.KEEP_POLLS_DAYS)


@beat_init.connect
@beat_embedded_init.connect
def dispatch_at_once(**kwargs: object) -> None:
    """The first tick comes with the start, not half a minute after it."""
    dispatch.delay()


@worker_init.connect
def keep_to_one_core(**kwargs: object) -> None:
    """Python runs one thread at a time, and to hand that over between cores takes longer than the polls themselves.

    Where there is such a call; threads that start later stay on it too. Two workers seldom choose the same core.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


@worker_shutting_down.connect
def begin_no_more(**kwargs: object) -> None:
    """The polls that have begun are finished: the process waits for its pollers."""
    is_stopping.set()
