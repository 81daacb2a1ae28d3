"""A worker process as the launcher starts it: polls a second, and 1,000 operations of a slow vendor."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import requests

from billing_dashboard.launch import GUARD, ROOT, SOCKET, free_port, programs
from tests.bench.measuring import asked, database, progress, report, start_django

QUICK_OPERATIONS, ROUNDS = 400, 5
SLOW_OPERATIONS = 1000
SLOW = 5.0
"""Seconds that the slow vendor takes for a call."""
INTERVAL = 300.0
REQUESTS = 1000


def bench() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        servers = [("SQLite", f"sqlite:///{folder}/polling.sqlite3")]
        with ExitStack() as stack:
            if os.environ.get("DATABASE_URL"):
                servers.insert(0, ("PostgreSQL", stack.enter_context(database())))
            for name, url in servers:
                progress(f"polls a second on {name}")
                bench_speed(name, asked("polling", "speed", url=url))
    with database() as url:
        progress(f"{SLOW_OPERATIONS:,} operations of a vendor that takes {SLOW:g} s a call")
        bench_slow(asked("polling", "slow", url=url))


def bench_speed(name: str, of: dict[str, float]) -> None:
    polls, bare = of["polls"], of["requests"]
    absolute = f"{polls:.0f} polls/s at {of['cpu'] * 1000:.1f} ms of CPU; requests alone {bare:.0f}/s"
    holds = polls >= 200 if name == "PostgreSQL" else None
    report(f"a worker's polls / bare requests, {name}", f"{polls / bare:.2f}", "≥ 200/s", holds, absolute)


def bench_slow(of: dict[str, float]) -> None:
    report(
        f"{SLOW_OPERATIONS:,} operations, {SLOW:g} s a call, polled in 5 min",
        f"{of['operations']:.0f}",
        f"{SLOW_OPERATIONS}",
        of["operations"] == SLOW_OPERATIONS,
        f"{of['polls']:.0f} polls, the last after {of['seconds']:.0f} s",
    )


# What runs


@contextmanager
def running(command: Sequence[str | Path], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as file:
        process = subprocess.Popen([*GUARD, *command], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class Installation:
    vendor: str
    processes: dict[str, int]

    def seconds_of_cpu(self, name: str) -> float:
        """What a program's process has taken so far, by Linux's account."""
        stat = Path(f"/proc/{self.processes[name]}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def installation(*names: str, operations: int, vendor_seconds: float) -> Iterator[Installation]:
    """The vendor, and of the launcher's programs those that are named."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        os.environ |= {"REDIS_URL": f"unix://{quote(str(folder / SOCKET))}", "WOLKVOX_URL": url}
        start_django(os.environ["DATABASE_URL"])
        vendor = [sys.executable, "-m", "tests.bench.vendor", str(port), str(vendor_seconds)]
        stack.enter_context(running(vendor, folder / "vendor"))
        make_operations(operations, is_limit_known=not vendor_seconds)
        processes = {}
        for program in programs(folder, port, None, has_own_broker=True):
            if program.name in names:
                process = stack.enter_context(running(program.command, folder / program.name))
                processes[program.name] = process.pid
                if program.name == "broker":
                    until((folder / SOCKET).exists, seconds=10)
        yield Installation(url, processes)


def make_operations(count: int, *, is_limit_known: bool) -> None:
    from usage.collecting.operations import add_feeds
    from usage.models import Operation

    tomorrow = datetime.now(tz=UTC) + timedelta(days=1)
    for number in range(count):
        operation = Operation(name=f"Operation {number:04}", slug=f"operation-{number:04}", server="0012")
        operation.token = f"{number:052}"
        if is_limit_known:
            operation.call_limit, operation.limit_due_at = 100_000, tomorrow
        operation.save()
        add_feeds(operation, datetime.now(tz=UTC))


def until(is_so: Callable[[], bool], *, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


# At once


def speed() -> dict[str, float]:
    """Polls a second in rounds of all operations, of whose two feeds one is due; and bare requests a second."""
    with installation("broker", "worker", operations=QUICK_OPERATIONS, vendor_seconds=0) as ours:
        poll_all("interactions", "interaction_licenses")
        cpu = ours.seconds_of_cpu("worker")
        seconds = [poll_all("interactions") for _ in range(ROUNDS)]
        cpu = ours.seconds_of_cpu("worker") - cpu
        began = time.perf_counter()
        for number in range(REQUESTS):
            headers = {"wolkvox-token": f"{number:052}"}
            requests.get(
                f"{ours.vendor}/api/v2/billing.php?api=interactions", headers=headers, timeout=60
            ).raise_for_status()
        return {
            "polls": QUICK_OPERATIONS / statistics.median(seconds),
            "cpu": cpu / QUICK_OPERATIONS / ROUNDS,
            "requests": REQUESTS / (time.perf_counter() - began),
        }


def poll_all(*apis: str) -> float:
    """Seconds from the tick on which feeds of all operations are due until the last of them is polled."""
    from usage.models import Feed
    from usage.tasks import TICK, dispatch

    now = datetime.now(tz=UTC)
    feeds = Feed.objects.filter(is_enabled=True)
    feeds.update(next_due_at=now + timedelta(days=1))
    feeds.filter(api__in=apis).update(next_due_at=now, last_poll_at=None)
    began = time.perf_counter()
    dispatch.delay()
    while not until(lambda: not feeds.filter(next_due_at__lte=now).exists(), seconds=TICK):
        dispatch.delay()
    return time.perf_counter() - began


# Slowly


def slow() -> dict[str, float]:
    """How many operations were polled within their interval, all of whose feeds are due at the start.

    As at a full hour, on the first day: the vendor's limit is to be asked for, too.
    """
    from django.db.models import Max

    with installation("broker", "worker", "beat", operations=SLOW_OPERATIONS, vendor_seconds=SLOW):
        from usage.models import Feed, Poll

        began = datetime.now(tz=UTC)
        until(
            lambda: not Feed.objects.filter(is_enabled=True, last_good_poll_at=None).exists(),
            seconds=INTERVAL,
        )
        polled = Poll.objects.filter(outcome="good", ended_at__lte=began + timedelta(seconds=INTERVAL))
        last = polled.aggregate(Max("ended_at"))["ended_at__max"] or began
        return {
            "operations": polled.values("feed__operation").distinct().count(),
            "polls": polled.count(),
            "seconds": (last - began).total_seconds(),
        }


if __name__ == "__main__":
    print(json.dumps({"speed": speed, "slow": slow}[sys.argv[1]]()))
