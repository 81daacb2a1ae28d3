"""SQLite that can't be written to: its disk is full, or another program holds it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.faults.conftest import TOKEN, HoldingVendor, Site
from tests.faults.test_servers import what_is_wrong
from tests.installation import Valkey
from usage.wolkvox.simulator import SimulatorServer

pytestmark = pytest.mark.process


class SmallDisk:
    """A file system of 16 MB."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ballast = folder, folder / "ballast"

    def fill(self, *, but: int = 0) -> None:
        """Leave `but` bytes, and no more."""
        with suppress(OSError), self.ballast.open("wb", buffering=0) as file:
            while (free := shutil.disk_usage(self.folder).free - but) > 0:
                file.write(b"\0" * min(free, 2**16))

    def make_room(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode and "CI" not in os.environ:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr}")
    assert mounted.returncode == 0, mounted.stderr
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_site(tmp_path: Path, address: SimulatorServer, valkey: Valkey, database_file: Path, disk: SmallDisk) -> Site:
    """On SQLite, on the small disk, of which it wants 4 MB to be free."""
    (disk.folder / "data").mkdir()
    file = shutil.copy(database_file, disk.folder / "data")
    valkey.flush()
    places = {"DATABASE_URL": f"sqlite:///{file}", "REDIS_URL": valkey.url}
    settings = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "KEEP_FREE_MEGABYTES": "4"}
    return Site(tmp_path, address.url, places, **settings)


def test_a_disk_that_is_nearly_full_holds_back_calls(
    small_site: Site, disk: SmallDisk, simulator: HoldingVendor
) -> None:
    site = small_site
    disk.fill(but=2 * 2**20)
    with site.running("web", "worker", "beat"):
        site.until("the worker's noticing", lambda: site.says("the disk has less than 4 MB left"))
        site.until("the pages", lambda: bool(what_is_wrong(site)))
        assert what_is_wrong(site) == "The disk is nearly full: nothing is polled until there is room on it."
        assert simulator.calls[TOKEN] == 0
        disk.make_room()
        site.until("polls", lambda: site.count("poll", "outcome = 'good'") == 2)
        assert site.is_healthy()


def test_an_answer_waits_for_room_on_a_disk_that_filled_up_meanwhile(
    small_site: Site, disk: SmallDisk, simulator: HoldingVendor
) -> None:
    site = small_site
    simulator.hold()
    with site.running("worker", "beat"):
        site.until("a call", lambda: simulator.at_work == 1)
        disk.fill()
        simulator.let_go()
        site.until("the worker's noticing", lambda: site.says("what was heard waits for it"))
        assert site.says("disk is full")
        assert not any(site.figures())
        disk.make_room()
        site.until("the record", lambda: site.count("poll", "outcome = 'good'") == 2)
        assert simulator.calls[TOKEN] == 2
    assert site.manage("rebuild", "--check") == "0 differences\n"


def test_nothing_is_sent_while_another_program_holds_sqlite_and_what_was_heard_waits(
    site: Site, simulator: HoldingVendor
) -> None:
    site.environment["SQLITE_TIMEOUT"] = "0.5"
    file = site.folder / "data" / "billing.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None)) as other, site.running("web", "worker", "beat"):
        other.execute("BEGIN IMMEDIATE")
        site.until("the worker's noticing", lambda: site.says("database is locked"))
        assert simulator.calls[TOKEN] == 0
        site.until("the pages", site.is_healthy)
        simulator.hold()
        other.execute("COMMIT")
        site.until("a call", lambda: simulator.at_work == 1)
        other.execute("BEGIN IMMEDIATE")
        simulator.let_go()
        site.until("the answer's waiting", lambda: site.says("what was heard waits for it"))
        assert not any(site.figures())
        other.execute("COMMIT")
        site.until("the record", lambda: site.count("poll", "outcome = 'good'") == 2)
        assert simulator.calls[TOKEN] == 2
