"""The whole dashboard as it runs: launcher, Valkey, beat, worker and web server, against a vendor on a socket."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest

from billing_dashboard.launch import ROOT, free_port
from usage.wolkvox.simulator import Simulator, SimulatorServer, serve, token_of

pytestmark = pytest.mark.process

TOKEN = token_of("Bogotá")
PATIENCE = 60.0


@pytest.fixture
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
def vendor(simulator: Simulator) -> Iterator[SimulatorServer]:
    with serve(simulator) as server:
        yield server


class Installation:
    """An installation in a folder of its own."""

    def __init__(self, folder: Path, vendor_url: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.output = folder / "output"
        self.database = folder / "data" / "billing.sqlite3"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "LANGUAGE_CODE")
        } | {"WOLKVOX_URL": vendor_url, "PORT": str(self.port)}

    def start(self) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "billing_dashboard.launch", "--folder", self.folder],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def manage(self, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        environment = self.environment | {"DATABASE_URL": f"sqlite:///{self.database}"}
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environment,
            input=said,
            capture_output=True,
            text=True,
            check=False,
        )

    def count(self, query: str) -> int:
        with closing(sqlite3.connect(self.database, timeout=20)) as connection:
            return int(connection.execute(query).fetchone()[0])

    def healthy(self) -> bool:
        with urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as reply:
            return bool(reply.status == 200)

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                if is_so():
                    return
            except (OSError, sqlite3.OperationalError):
                pass
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come; this was said:\n{self.output.read_text()}")


@pytest.fixture
def installation(tmp_path: Path, vendor: SimulatorServer) -> Installation:
    return Installation(tmp_path, vendor.url)


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


GOOD_POLLS = "SELECT count(*) FROM usage_poll WHERE outcome = 'good'"


def test_an_operation_is_polled_by_the_worker(
    installation: Installation, running: Callable[[], None], simulator: Simulator
) -> None:
    assert installation.manage("migrate").returncode == 0
    added = installation.manage("add_operation", "Bogotá", "--server", "0012", said=f"{TOKEN}\n")
    assert added.returncode == 0, added.stderr
    running()
    installation.until("the first polls", lambda: installation.count(GOOD_POLLS) >= 2)
    installation.until("the web server", installation.healthy)
    assert installation.count("SELECT count(*) FROM usage_monthlyusage") >= 3
    assert simulator.most_at_once[TOKEN] == 1
    checked = installation.manage("rebuild", "--check")
    assert (checked.returncode, checked.stdout) == (0, "0 differences\n")
    written = [path for path in installation.folder.rglob("*") if path.is_file()]
    assert installation.database in written
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()], "a token stands in the clear"
