"""A process that polls: it does what it is told, through the real `collecting`, by the soak's clock.

The fork server imports this module once, so that a worker that was killed is replaced in milliseconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import django

from usage.wolkvox.client import BillingClient

django.setup()

logger = logging.getLogger(__name__)

DEADLINE = 2.0
"""Seconds of a call, instead of 60: silences and drips are waited for in earnest."""

KEEP_DAYS = 20
"""How long polls are kept: short, so that pruning is at work all along."""

Job = tuple[str, int, str]
"""`poll`, an operation's id and the vendor's address; or `close` or `prune`."""


def work(jobs: Connection, microseconds: Any, log: str) -> None:
    """Until the other end of `jobs` is closed. `microseconds` is shared: the clock, since 1970."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)

    def clock() -> datetime:
        return datetime.fromtimestamp(microseconds.value / 1_000_000, UTC)

    jobs.send(durability())
    while True:
        try:
            job: Job = jobs.recv()
        except EOFError:
            return
        try:
            jobs.send(done(job, clock))
        except Exception as error:
            logger.exception("a fault of ours")
            jobs.send(f"fault: {error!r}")


def done(job: Job, clock: Callable[[], datetime]) -> str:
    """What became of a job, in a word."""
    from usage.collecting import claims, closing, polling, pruning

    what, operation_id, url = job
    if what == "close":
        closing.close_months(clock())
    elif what == "prune":
        pruning.prune(clock(), keep_days=KEEP_DAYS)
    else:
        client = BillingClient(url, deadline=DEADLINE, now=clock)
        try:
            polling.poll_operation(operation_id, client=client, clock=clock)
        except (claims.TokenInUse, claims.ClaimLost) as lost:
            return type(lost).__name__
    return "done"


def durability() -> str:
    """What this process's connection promises of a commit. No kill can show it: only a loss of power would."""
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT source FROM pg_settings WHERE name IN ('synchronous_commit', 'fsync')")
            is_ours = {source for (source,) in cursor.fetchall()} & {"client", "database", "session", "user"}
            return "weakened" if is_ours else "durable"
        said = {}
        for pragma in ("synchronous", "journal_mode", "foreign_keys"):
            cursor.execute(f"PRAGMA {pragma}")
            said[pragma] = cursor.fetchone()[0]
    return "durable" if said == {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1} else f"weakened: {said}"
