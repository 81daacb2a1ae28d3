"""What Celery runs. Tasks pass ids; the database knows what is due."""

import logging

from celery import shared_task
from celery.signals import beat_embedded_init, beat_init
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from .collecting import claims, closing, pacing, polling, pruning
from .disk import DiskFull

logger = logging.getLogger(__name__)

TICK = pacing.TICK.total_seconds()

BRIEFLY = {"socket_connect_timeout": 2, "socket_timeout": 2}
"""How long a person waits for the broker, in seconds."""


@shared_task
def dispatch() -> None:
    for operation_id in polling.due_operations(timezone.now()):
        poll_operation.apply_async((operation_id,), expires=TICK)


@shared_task
def poll_operation(operation_id: int) -> None:
    try:
        polling.poll_operation(operation_id, client=polling.vendor())
    except claims.TokenInUse:
        logger.info("operation %s is being polled already", operation_id)
    except claims.ClaimLost:
        logger.warning("operation %s: the claim on its token ran out, nothing was recorded", operation_id)
    except DiskFull as error:
        logger.warning("operation %s: %s", operation_id, error)


def poll_soon(operation_id: int) -> bool:
    """Have a worker poll what is due now, not at the next tick. False where the broker isn't reached within seconds."""
    try:
        with poll_operation.app.connection_for_write(transport_options=BRIEFLY) as connection:
            poll_operation.apply_async((operation_id,), expires=TICK, connection=connection, retry=False)  # type: ignore[call-arg]
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
