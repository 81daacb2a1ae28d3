"""The worst bodies that a vendor can send: polled by the real command, in a process of its own that is measured."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from billing_dashboard.launch import ROOT
from tests.wolkvox.conftest import Script, VendorFactory, start
from usage.tasks import AT_ONCE
from usage.wolkvox.answers import MAX_ROWS

pytestmark = pytest.mark.process

MOST_MEGABYTES = 512
CAP = 16 * 2**20
"""The client's, in bytes."""

STRUCTURE = MAX_ROWS * 8 - 100
"""How many braces, brackets and commas there may be, but for some."""

EMOJI = "🙂"
"""One of these makes Python keep a whole text at four bytes a character."""


def row(description: str = "Email", **fields: str) -> str:
    whole = {"operation": "", "description": description, "items": "1", "date": ""} | fields
    return json.dumps(whole, ensure_ascii=False)


BAD_ROW = row(items="?")
"""As an answer's last: all of it has been parsed by then, and nothing is recorded."""


def answer(*rows: str, extra: str = "null") -> bytes:
    return f'{{"code": 200, "msg": "{EMOJI}", "extra": {extra}, "data": [{",".join(rows)}]}}'.encode()


def many(number: int, text: Callable[[int, str], str]) -> str:
    """So many texts, each padded so that together they come close to the cap."""
    padding = "x" * (CAP // number - len(text(number, "").encode()) - 2)
    return ",".join(text(each, padding) for each in range(number))


def key(number: int, padding: str) -> str:
    half = padding[: len(padding) // 2]
    return f'"{number:06x}{half}{EMOJI}": "{number:06x}{half}{EMOJI}"'


def objects_of_keys() -> str:
    pairs = iter(many(STRUCTURE - MAX_ROWS, key).split(","))
    return ",".join("{" + ",".join(some) + "}" for some in zip(*[pairs] * 7, strict=False))


BODIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "tiny objects": (lambda: answer(row(), extra="[" + "{}," * (MAX_ROWS - 10) + "0]"), "good"),
    "more tiny objects": (lambda: answer(row(), extra="[" + "{}," * (CAP // 3 - 200) + "0]"), "answer_too_large"),
    "keys": (lambda: answer(row(), extra="{" + many(STRUCTURE, key) + "}"), "good"),
    "keys of many objects": (lambda: answer(row(), extra="[" + objects_of_keys() + "]"), "good"),
    "texts": (lambda: answer(row(), extra="[" + many(STRUCTURE, lambda n, x: f'"{n:06x}{x}{EMOJI}"') + "]"), "good"),
    "one long text": (lambda: answer(row("x" * (CAP - 1000))), "answer_refused"),
    "deep nesting": (lambda: answer(row(), extra="[" * STRUCTURE), "answer_unreadable"),
    "60,000 rows of long texts": (
        lambda: answer(many(MAX_ROWS - 1, lambda n, x: row(f"{n}{x[:190]}{EMOJI}", date=x[190:])), BAD_ROW),
        "answer_refused",
    ),
    "texts of 4,096 characters": (
        lambda: answer(many(CAP // 4200, lambda n, x: row(f"{n}", date=x)), BAD_ROW),
        "answer_refused",
    ),
    "a message of many words": (lambda: b'{"code": 403, "msg": "' + b"a " * (CAP // 2 - 20) + b'"}', "maintenance"),
    "escapes": (lambda: answer(row(), extra='"' + f"{EMOJI}\\u0061" * ((CAP - 200) // 10) + '"'), "good"),
    "60,000 products": (lambda: answer(*[row(f"{n:0200}") for n in range(MAX_ROWS)]), "good"),
}


def stream() -> Script:
    """256 MB and more, without a length."""
    yield start()
    for _ in range(2**28 // 2**18 + 1):
        yield b" " * 2**18


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    secrets = {"SECRET_KEY": "for the tests alone", "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode()}
    unset = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL")
    return {name: value for name, value in os.environ.items() if name not in unset} | secrets


def run(*command: str, said: str = "", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, input=said, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prepared(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with an operation."""
    database = tmp_path_factory.mktemp("memory") / "prepared.sqlite3"
    place = environment | {"DATABASE_URL": f"sqlite:///{database}"}
    run("manage.py", "migrate", "--verbosity", "0", **place)
    run("manage.py", "add_operation", "Quito", "--server", "0012", said="7b22" * 13, **place)
    return database


Poll = Callable[[str], tuple[str, int]]


@pytest.fixture
def poll(environment: dict[str, str], prepared: Path, tmp_path: Path) -> Poll:
    """Polls a vendor once; the outcome, and the peak of memory in megabytes."""

    def poll(url: str) -> tuple[str, int]:
        place = {"DATABASE_URL": f"sqlite:///{shutil.copy(prepared, tmp_path)}", "WOLKVOX_URL": url}
        said = run("-m", "tests.faults.peak", "poll", "--api", "interactions", **environment | place)
        [outcome] = re.findall(r"^quito interactions: (\w+),", said, re.MULTILINE)
        [peak] = re.findall(r"^peak: ([0-9]+) MB$", said, re.MULTILINE)
        return outcome, int(peak)

    return poll


@pytest.mark.parametrize("body", BODIES)
def test_the_worst_bodies_leave_the_process_under_512_megabytes(poll: Poll, vendor: VendorFactory, body: str) -> None:
    make, outcome = BODIES[body]
    found, megabytes = poll(vendor(start() + make()).url)
    assert found == outcome
    assert megabytes < MOST_MEGABYTES


@pytest.mark.parametrize(("body", "count"), [("keys", AT_ONCE), ("60,000 rows of long texts", 5)])
def test_so_do_many_operations_that_a_worker_polls_at_once(
    environment: dict[str, str], prepared: Path, tmp_path: Path, vendor: VendorFactory, *, body: str, count: int
) -> None:
    make, outcome = BODIES[body]
    url = vendor(start() + make()).url
    place = {"DATABASE_URL": f"sqlite:///{shutil.copy(prepared, tmp_path)}", "WOLKVOX_URL": url}
    said = run("-m", "tests.faults.at_once", str(count), **environment | place)
    outcomes = re.findall(r"^outcome: (\w+)$", said, re.MULTILINE)
    assert len(outcomes) > count / 2, "whose turn to begin doesn't come within a tick is polled at the next"
    assert outcome in outcomes
    assert {*outcomes} <= {outcome, "timed_out"}, "the turn of some to be read doesn't come in time"
    [peak] = re.findall(r"^peak: ([0-9]+) MB$", said, re.MULTILINE)
    assert int(peak) < MOST_MEGABYTES


def test_so_does_a_stream_that_does_not_end(poll: Poll, vendor: VendorFactory) -> None:
    outcome, megabytes = poll(vendor(stream).url)
    assert outcome == "answer_too_large"
    assert megabytes < MOST_MEGABYTES / 2
