"""Writes that a database which is away for a while must not undo."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE = 1.0


def insist(write: Callable[[], T], *, until: float) -> T:
    """Do a write; while the database is down, full or busy, again each second until a time on the monotonic clock.

    `write` begins anew each time, in a transaction of its own. Raises what the last try raised.
    """
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or time.monotonic() >= until:
                raise
            logger.warning("the database is away, and what was heard waits for it: %s", " ".join(str(error).split()))
            connection.close_if_unusable_or_obsolete()
            time.sleep(PAUSE)
