"""The whole dashboard as it runs: launcher, Valkey, beat, worker and web server, against a vendor on a socket."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, Valkey, zone_at_noon
from tests.with_postgres import cluster
from usage.wolkvox.simulator import Simulator, SimulatorServer, serve, token_of

pytestmark = pytest.mark.process

TOKEN = token_of("Bogotá")

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


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """PostgreSQL and a Valkey on TCP, as an installation over several machines has them."""
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    valkey.start()
    with cluster() as database_url:
        yield {"DATABASE_URL": database_url, "REDIS_URL": valkey.url}
    valkey.stop()


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
    installation.until("the first polls", lambda: installation.count("poll", "outcome = 'good'") >= 2)
    installation.until("the web server", installation.is_healthy)
    assert installation.count("monthlyusage") >= 3
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
    zone = zone_at_noon()  # 20 minutes ago are of the same month there
    installation.manage("add_operation", "Bogotá", "--server", "0012", "--time-zone", zone, said=f"{TOKEN}\n")
    cookie = f"sessionid={installation.manage('shell', '--no-imports', '-c', SIGN_IN).strip()}"
    running()
    installation.until("the first polls", lambda: installation.count("poll", "outcome = 'good'") >= 2)
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
    assert installation.count("poll") == 2

    execute(database, "UPDATE usage_operation SET claimed_at = '2026-01-01'")  # the call that may be under way is over
    installation.until("the next polls", lambda: installation.count("poll", "outcome = 'good'") == 4)
    assert (
        installation.count(
            "gap JOIN usage_feed f ON f.id = feed_id", f"api = 'interactions' AND began_at = '{began:%F %T}'"
        )
        == 1
    )
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
