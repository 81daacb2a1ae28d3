"""The run: a clock that leaps from one due time to the next, workers that poll, and what befalls them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any

from django.db.models import Min

from usage.collecting import claims, operations, polling
from usage.models import Feed, Operation

from . import worker
from .accounts import Account
from .vendor import Vendor

TICK = timedelta(seconds=30)
"""How often beat dispatches; so it does here for a day around the end of each month."""

LATE = timedelta(hours=1)
"""The ticks at other times: one that comes late changes nothing, and saves hours of the soak."""

SETTLED = 5
"""The day of a month by which the month before is closed, whatever happened."""


class Clock:
    """The time that all processes share."""

    def __init__(self, now: datetime) -> None:
        self.microseconds: Any = multiprocessing.get_context("forkserver").Value(ctypes.c_int64, lock=False)
        self.set(now)

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.microseconds.value / 1_000_000, UTC)

    def set(self, now: datetime) -> None:
        self.microseconds.value = round(now.timestamp() * 1_000_000)


@dataclass
class Worker:
    process: Any
    jobs: Connection
    account: Account | None = None
    is_busy: bool = True  # it tells first how durable its commits are
    asleep_until: datetime | None = None


class Workers:
    """A handful of processes. The vendor has some of them killed or put to sleep in the middle of a call."""

    def __init__(self, count: int, clock: Clock, folder: Path) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.soak.worker"])
        self.clock, self.folder, self.count = clock, folder, count
        self.seen: Counter[str] = Counter()
        self.killed = self.paused = 0
        self.workers: list[Worker] = []
        self.lock = threading.RLock()

    def start(self) -> Worker:
        ours, theirs = self.context.Pipe()
        log = str(self.folder / "workers.log")
        process = self.context.Process(target=worker.work, args=(theirs, self.clock.microseconds, log), daemon=True)
        process.start()
        theirs.close()
        self.workers.append(started := Worker(process, ours))
        return started

    # What befalls them

    def kill(self, account: Account) -> bool:
        with self.lock:
            victims = [each for each in self.workers if each.account is account and not each.asleep_until]
            for victim in victims:
                victim.process.kill()
                victim.process.join()
                self.killed += 1
        return bool(victims)

    def pause(self, account: Account) -> bool:
        with self.lock:
            sleepers = [each for each in self.workers if each.account is account and not each.asleep_until]
            for sleeper in sleepers:
                os.kill(sleeper.process.pid, signal.SIGSTOP)
                sleeper.asleep_until = self.clock() + 1.5 * claims.CLAIM_LASTS
                self.paused += 1
        return bool(sleepers)

    def wake(self, *, all_of_them: bool = False) -> None:
        """Those whose claim has gone meanwhile: they must neither send nor commit."""
        with self.lock:
            for each in self.workers:
                if each.asleep_until and (all_of_them or each.asleep_until <= self.clock()):
                    os.kill(each.process.pid, signal.SIGCONT)
                    each.asleep_until = None

    # What they do

    def do(self, jobs: Sequence[tuple[worker.Job, Account | None]]) -> None:
        """Have all jobs done; those of a worker that dies or falls asleep stay due."""
        left = list(jobs)
        while True:
            self._collect()
            idle = [each for each in self.workers if not each.is_busy]
            while left and idle:
                self._give(idle.pop(), *left.pop(0))
            if not left and not any(each.is_busy and not each.asleep_until for each in self.workers):
                return
            awake = [each for each in self.workers if each.is_busy and not each.asleep_until]
            if len([*awake, *idle]) < self.count:
                self.start()
            elif awake:
                wait([each.jobs for each in awake], timeout=0.1)

    def _give(self, to: Worker, job: worker.Job, account: Account | None) -> None:
        with self.lock:
            to.account, to.is_busy = account, True
        with suppress(OSError):  # it died at the end of its last job
            to.jobs.send(job)

    def _collect(self) -> None:
        for each in list(self.workers):
            try:
                while each.jobs.poll():
                    self.seen[each.jobs.recv()] += 1
                    with self.lock:
                        each.account, each.is_busy = None, False
            except (EOFError, OSError):
                with self.lock:
                    self.workers.remove(each)
                each.jobs.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.wake(all_of_them=True)
            for each in self.workers:
                each.jobs.close()
            for each in self.workers:
                each.process.join(5)
                each.process.kill()
            self.workers.clear()


def add_operations(accounts: Sequence[Account], now: datetime) -> dict[int, Account]:
    """The accounts' operations in the dashboard, by id."""
    added = {}
    for account in accounts:
        operation = Operation(name=account.name, slug=f"operation-{account.number}", server=account.server)
        operation.time_zone = account.zone.key
        operation.token = account.token
        operation.save()
        operations.add_feeds(operation, now, account.apis)
        for api, interval in account.apis.items():
            counts = Feed.Counts.DAY if account.style.counts_day and api == account.api else Feed.Counts.MONTH
            operation.feeds.filter(api=api).update(interval=interval, counts=counts)
        added[operation.pk] = account
    return added


@dataclass
class Run:
    vendor: Vendor
    workers: Workers
    clock: Clock
    accounts: dict[int, Account]
    chance: Random
    when_closed: Callable[[datetime], None]
    troubles: dict[tuple[int, datetime], str] = field(default_factory=dict)
    doubled: int = 0

    def until(self, end: datetime, each_month: Callable[[], None]) -> None:
        month = self.clock().month
        while self.clock() < end:
            self.tick()
            self.clock.set(self.next_tick())
            if self.clock().month != month and self.clock().day >= SETTLED:
                month = self.clock().month
                each_month()
                self.workers.do([(("prune", 0, ""), None)])

    def tick(self) -> None:
        """What beat has done at this time: everything due is polled, by one worker or by two, and months are closed."""
        now = self.clock()
        jobs: list[tuple[worker.Job, Account | None]] = []
        self.vendor.contested.clear()
        for operation_id in polling.due_operations(now):
            account = self.accounts[operation_id]
            url = self.way_to_the_vendor(operation_id, now)
            jobs.append((("poll", operation_id, url), account))
            if self.chance.random() < 0.03 and url == self.vendor.url:
                self.vendor.contested.add(account.number)
                jobs.append(jobs[-1])
                self.doubled += 1
        self.workers.do(jobs)
        if now.day < SETTLED or is_near_a_boundary(now):
            self.workers.do([(("close", 0, ""), None)])
            self.when_closed(now)
        self.workers.wake()
        self.workers.do([])

    def way_to_the_vendor(self, operation_id: int, now: datetime) -> str:
        """Its address; at times one where TLS or the connection fails."""
        if self.chance.random() > 0.02 * (self.vendor.odds.fault > 0):
            return self.vendor.url
        url, outcome = self.chance.choice(
            (
                (self.vendor.url.replace("http", "https"), "tls_failed"),
                ("http://127.0.0.1:9", "not_reached"),
            )
        )
        self.troubles[operation_id, now] = outcome
        return url

    def next_tick(self) -> datetime:
        due = Feed.objects.filter(is_enabled=True).aggregate(at=Min("next_due_at"))["at"]
        earliest = max(due, self.clock() + TICK)
        if self.sleepers_wake_at:
            earliest = min(earliest, self.sleepers_wake_at)
        return rounded_up(earliest, TICK if is_near_a_boundary(earliest) else LATE)

    @property
    def sleepers_wake_at(self) -> datetime | None:
        return min((each.asleep_until for each in self.workers.workers if each.asleep_until), default=None)


def is_near_a_boundary(at: datetime) -> bool:
    """Within a day, wherever on Earth a month may end."""
    day = timedelta(days=1)
    return (at - day).month != (at + day).month


def rounded_up(at: datetime, step: timedelta) -> datetime:
    """To the next tick: a whole number of steps, less the half minute by which it comes before a boundary."""
    begin = datetime(2000, 1, 1, tzinfo=UTC) - TICK
    return begin + -((begin - at) // step) * step
