"""An installation with one operation, whose parts may all be stopped, and a vendor that can hold its answers back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests

from tests.installation import Installation, Valkey
from tests.wolkvox.conftest import certificate, tls
from usage.wolkvox.simulator import Simulator, SimulatorServer, serve, token_of

__all__ = ["certificate", "tls"]  # what a vendor over TLS has

TOKEN = token_of("Bogotá")
PASSWORD = "a long enough password"

FIGURES = ("answer", "poll", "snapshot", "dailyusage", "monthlyusage")
"""The tables that a poll writes to."""


class HoldingVendor(Simulator):
    """Holds calls while told to. One that is held is under way, whether or not the caller still lives."""

    def __init__(self) -> None:
        super().__init__(latency=0.02)
        self._may_answer = threading.Event()
        self._may_answer.set()

    @property
    def at_work(self) -> int:
        return self._under_way.total()

    def hold(self) -> None:
        self._may_answer.clear()

    def let_go(self) -> None:
        self._may_answer.set()

    def answer(self, token: str, api: str, at: datetime) -> bytes:
        self._may_answer.wait(120)
        return super().answer(token, api, at)


class Site(Installation):
    """An installation with an operation whose two feeds are due."""

    def make_due(self) -> None:
        self.sql("UPDATE usage_feed SET next_due_at = '2026-01-01 00:00:00', last_poll_at = NULL WHERE is_enabled")

    def figures(self) -> list[list[tuple[object, ...]]]:
        return [self.sql(f"SELECT * FROM usage_{table} ORDER BY id") for table in FIGURES]

    def age_claim(self, seconds: int) -> None:
        """Move the claim back in time, instead of waiting."""
        [(claimed_at,)] = self.sql("SELECT claimed_at FROM usage_operation")
        earlier = datetime.fromisoformat(str(claimed_at)) - timedelta(seconds=seconds)
        self.sql(f"UPDATE usage_operation SET claimed_at = '{earlier.isoformat(' ')}'")

    @property
    def is_claimed(self) -> bool:
        return self.count("operation", "claimed_by <> ''") > 0

    def says(self, text: str) -> bool:
        return text in self.output.read_text()


def set_up(site: Site) -> None:
    site.manage("migrate")
    site.manage("add_operation", "Bogotá", "--server", "0012", said=f"{TOKEN}\n")
    code = f"from django.contrib.auth.models import User; User.objects.create_superuser('ana', password='{PASSWORD}')"
    site.manage("shell", "--no-imports", "-c", code)
    site.sql("UPDATE usage_operation SET limit_due_at = '2100-01-01 00:00:00'")  # so that each call is a poll's


def sign_in(site: Site) -> requests.Session:
    """The administrator, at the real web server."""
    session = requests.Session()
    page = f"http://127.0.0.1:{site.port}/accounts/login/"
    session.get(page)
    person = {"username": "ana", "password": PASSWORD, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    assert session.post(page, person, headers={"Referer": page}).url == page.replace("accounts/login/", "")
    return session


@pytest.fixture
def simulator() -> HoldingVendor:
    return HoldingVendor()


@pytest.fixture
def address(simulator: HoldingVendor) -> Iterator[SimulatorServer]:
    with serve(simulator) as server:
        yield server
        simulator.let_go()


@pytest.fixture(scope="package")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture(scope="package")
def database_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the operation in it, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    file = folder / "billing.sqlite3"
    set_up(Site(folder, "http://127.0.0.1:9", {"DATABASE_URL": f"sqlite:///{file}"}))
    return file


@pytest.fixture
def site(tmp_path: Path, address: SimulatorServer, valkey: Valkey, database_file: Path) -> Site:
    """On SQLite. Its broker is emptied."""
    (tmp_path / "data").mkdir()
    file = shutil.copy(database_file, tmp_path / "data")
    valkey.flush()
    return Site(
        tmp_path,
        address.url,
        {"DATABASE_URL": f"sqlite:///{file}", "REDIS_URL": valkey.url},
        DJANGO_SETTINGS_MODULE="tests.faults.settings",
    )
