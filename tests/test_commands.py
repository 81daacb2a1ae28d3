"""The commands as processes, on a database of their own, against a vendor on a socket."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from usage.wolkvox.catalogue import APIS
from usage.wolkvox.simulator import RESERVED, Simulator, SimulatorServer, provoking, serve, token_of

ROOT = Path(__file__).resolve().parent.parent
TOKEN = token_of("Medellín")
REFUSED, BAD_ROW = provoking("token_refused"), provoking("bad_row")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    error: str


@dataclass(frozen=True)
class Installation:
    database: Path
    key: str
    vendor: str = "http://127.0.0.1:9"

    def run(self, *arguments: str, given: bytes = b"", **variables: str) -> Ran:
        """Run manage.py. Whatever it does: no traceback, and no token in what it says."""
        ran = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment() | variables,
            input=given,
            capture_output=True,
            check=False,
        )
        out, error = ran.stdout.decode(), ran.stderr.decode()
        assert "Traceback" not in error
        for token in (TOKEN, *RESERVED):
            assert token not in out + error
        return Ran(ran.returncode, out, error)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "SECRET_KEY": "for the tests alone",
            "TOKEN_ENCRYPTION_KEYS": self.key,
            "DATABASE_URL": f"sqlite:///{self.database}",
            "WOLKVOX_URL": self.vendor,
        }

    def add(self, name: str = "Medellín", token: str = TOKEN, *more: str) -> Ran:
        return self.run("add_operation", name, "--server", "0012", *more, given=f"{token}\n".encode())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as database, database:
            return database.execute(sql).fetchall()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    new = Installation(tmp_path_factory.mktemp("commands") / "new.sqlite3", Fernet.generate_key().decode())
    assert new.run("migrate", "--verbosity=0").code == 0
    return new


@pytest.fixture
def vendor() -> Iterator[SimulatorServer]:
    with serve(Simulator()) as server:
        yield server


@pytest.fixture
def manage(migrated: Installation, tmp_path: Path, vendor: SimulatorServer) -> Installation:
    """An installation of its own for a test: a copy of one that is migrated."""
    return Installation(Path(shutil.copy(migrated.database, tmp_path / "db.sqlite3")), migrated.key, vendor.url)


# add_operation


def test_add_operation_takes_its_token_from_standard_input(manage: Installation) -> None:
    ran = manage.add(token=f"  {TOKEN}  ")
    assert (ran.code, ran.out, ran.error) == (0, "medellin added; it is polled from now on\n", "")
    (stored,) = manage.rows("SELECT name, slug, server, time_zone, token_encrypted FROM usage_operation")
    assert stored[:4] == ("Medellín", "medellin", "0012", "America/Bogota")
    assert Fernet(manage.key).decrypt(stored[4].encode()).decode() == TOKEN
    assert TOKEN.encode() not in manage.database.read_bytes()
    due = manage.rows("SELECT api FROM usage_feed WHERE is_enabled AND next_due_at IS NOT NULL ORDER BY api")
    assert due == [("interaction_licenses",), ("interactions",)]
    assert manage.rows("SELECT count(*) FROM usage_feed") == [(27,)]


def test_add_operation_polls_the_apis_that_are_named(manage: Installation) -> None:
    options = ["--api", "ivr_calls", "--api", "vision", "--slug", "other", "--time-zone", "America/Lima"]
    assert manage.add("Lima", TOKEN, *options).code == 0
    assert manage.rows("SELECT api FROM usage_feed WHERE is_enabled ORDER BY api") == [("ivr_calls",), ("vision",)]
    assert manage.rows("SELECT slug, time_zone FROM usage_operation") == [("other", "America/Lima")]


@pytest.mark.parametrize(
    ("arguments", "given", "sentence"),
    [
        ([], TOKEN, "the following arguments are required: name, --server"),
        (["Cali"], TOKEN, "the following arguments are required: --server"),
        (["Cali", "--server", "12"], TOKEN, "server: A server is four digits, such as 0012"),
        (["Cali", "--server", "٠٠١٢"], TOKEN, "server: A server is four digits"),
        (["Cali", "--server", "0012", "--time-zone", "Cali"], TOKEN, "“Cali” is not a time zone."),
        (["Cali", "--server", "0012", "--slug", "a b"], TOKEN, "slug: Enter a valid “slug”"),
        (["Cali", "--server", "0012", "--slug", ""], TOKEN, "give a --slug"),
        (["日本", "--server", "0012"], TOKEN, "give a --slug of letters, digits and hyphens"),
        ([" ", "--server", "0012"], TOKEN, "name: This field cannot be blank."),
        (["x" * 101, "--server", "0012"], TOKEN, "name: Ensure this value has at most 100 characters"),
        (["Cali", "--server", "0012", "--api", "faxes"], TOKEN, "invalid choice: 'faxes' (choose from 'agent_script'"),
        (["Cali", "--server", "0012"], "", "no token came on standard input"),
        (["Cali", "--server", "0012"], "two words", "A token is 16 to 256 letters, digits and signs without spaces."),
        (["Cali", "--server", "0012"], "\udcff\udcfe", "what came on standard input is no text"),
    ],
)
def test_add_operation_refuses_in_one_sentence(
    manage: Installation, arguments: Sequence[str], given: str, sentence: str
) -> None:
    ran = manage.run(
        "add_operation", *arguments, given=given.encode(errors="surrogateescape"), PYTHONIOENCODING="utf-8:strict"
    )
    assert ran.code == 2
    assert sentence in ran.error
    assert not manage.rows("SELECT 1 FROM usage_operation")


def test_add_operation_refuses_what_is_taken(manage: Installation) -> None:
    manage.add()
    for name, token, sentence in (
        ("Other", TOKEN, "This token is already the one of “Medellín”."),
        ("Medellín", REFUSED, "name: Operation with this Name already exists.; slug: "),
    ):
        ran = manage.add(name, token)
        assert (ran.code, ran.out) == (2, "")
        assert sentence in ran.error


# poll


def test_poll_prints_a_line_a_call(manage: Installation) -> None:
    manage.add()
    ran = manage.run("poll")
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert first.startswith("medellin interactions: good, ")
    assert second.startswith("medellin interaction_licenses: good, 1 rows, ")
    assert manage.run("poll", "--due").out == "medellin: nothing is due\n"
    again = manage.run("poll", "--operation", "medellin", "--api", "interactions")
    assert (again.code, again.out) == (0, "medellin: polled less than 5 minutes ago, the vendor's pace\n")
    manage.rows("UPDATE usage_operation SET call_limit = 0")
    manage.rows("UPDATE usage_feed SET last_poll_at = NULL")
    assert manage.run("poll").out == "medellin: the day's calls run short, so nothing is called out of turn\n"
    assert manage.run("poll", "--api", "vision").out == "medellin: nothing of it is polled\n"


@pytest.mark.parametrize(("token", "outcome"), [(REFUSED, "token_refused"), (BAD_ROW, "answer_refused")])
def test_poll_exits_1_when_a_call_failed(manage: Installation, token: str, outcome: str) -> None:
    manage.add(token=token)
    manage.add("Cali")
    ran = manage.run("poll")
    assert ran.code == 1
    assert f"medellin interactions: {outcome}, 0 rows" in ran.out
    assert "cali interactions: good" in ran.out
    assert "not every poll was good" in ran.error


def test_poll_sends_nothing_without_the_right_key_nor_beside_another_poll(
    manage: Installation, vendor: SimulatorServer
) -> None:
    manage.add()
    ran = manage.run("poll", TOKEN_ENCRYPTION_KEYS=Fernet.generate_key().decode())
    assert ran.code == 1
    assert "medellin interactions: token_unreadable" in ran.out
    manage.rows("UPDATE usage_operation SET claimed_by = 'another', claimed_at = datetime('now')")
    ran = manage.run("poll")
    assert (ran.code, ran.out) == (1, "medellin: another poll is using the token; try again in a minute\n")
    assert not vendor.get_app().calls  # type: ignore[union-attr]


def test_poll_names_what_there_is_instead(manage: Installation) -> None:
    assert manage.run("poll").out == "there is no active operation to poll; add_operation adds one\n"
    ran = manage.run("poll", "--operation", "lima")
    assert (ran.code, ran.error) == (2, "CommandError: there is no active operation lima; there is: none yet\n")
    manage.add()
    ran = manage.run("poll", "--operation", "lima", "--operation", "medellin")
    assert (ran.code, ran.error) == (2, "CommandError: there is no active operation lima; there is: medellin\n")
    ran = manage.run("poll", "--api", "faxes")
    assert ran.code == 2
    assert all(api in ran.error for api in APIS)


# close_months and rebuild


def test_close_months_says_how_many(manage: Installation) -> None:
    manage.add()
    manage.run("poll")
    assert manage.run("close_months").out == "0 months of feeds closed\n"
    manage.rows("UPDATE usage_monthlyusage SET month = '2020-01-01'")
    assert manage.run("close_months").out == "2 months of feeds closed\n"
    assert manage.run("close_months").out == "0 months of feeds closed\n"


def test_rebuild_finds_and_mends_what_differs(manage: Installation) -> None:
    manage.add()
    manage.run("poll")
    assert (manage.run("rebuild", "--check").code, manage.run("rebuild").out) == (0, "0 differences\n")
    manage.rows("UPDATE usage_dailyusage SET items = 1, highest = 1 WHERE id = 1")
    ran = manage.run("rebuild", "--check")
    assert ran.code == 1
    assert "DailyUsage.highest of " in ran.out
    assert manage.run("rebuild").code == 0
    assert manage.run("rebuild", "--check").out == "0 differences\n"


# All of them


@pytest.mark.parametrize(
    "command", ["add_operation", "poll", "close_months", "rebuild", "backup", "restore", "rotate_token_keys"]
)
def test_a_command_has_help_and_refuses_what_it_does_not_know(manage: Installation, command: str) -> None:
    ran = manage.run(command, "--help")
    assert ran.code == 0
    assert "\n\n" in ran.out
    arguments = {"add_operation": ["Cali", "--server=0012"], "backup": ["file"], "restore": ["file"]}.get(command, [])
    ran = manage.run(command, *arguments, "--nonsense")
    assert ran.code == 2
    assert "unrecognized arguments: --nonsense" in ran.error


@pytest.mark.parametrize("command", ["poll", "close_months", "rebuild"])
def test_a_database_that_can_not_be_used_is_one_line(manage: Installation, tmp_path: Path, command: str) -> None:
    for database in ("new.sqlite3", "broken.sqlite3"):
        (tmp_path / "broken.sqlite3").write_bytes(b"no database at all, but long enough to be looked at" * 20)
        ran = manage.run(command, DATABASE_URL=f"sqlite:///{tmp_path / database}")
        assert ran.code == 2
        assert ran.error.startswith("billing dashboard: the database can't be used: ")
        assert ran.error.count("\n") == 1


def test_the_demo_keeps_away_from_a_real_vendor(manage: Installation) -> None:
    refused = manage.run("demo", WOLKVOX_URL="https://wv{server}.wolkvox.com")
    assert refused.code == 2
    assert "make run" in refused.error
    assert refused.error.count("\n") == 1


def test_an_argument_that_is_no_text_is_refused_in_a_line(manage: Installation) -> None:
    refused = manage.run("poll", "--operation", b"\xff".decode(errors="surrogateescape"))
    assert (refused.code, refused.error.count("\n")) == (2, 1)
