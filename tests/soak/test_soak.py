"""A short soak on each database; the long one is `make soak`."""

import os
import subprocess
import sys

import pytest

from billing_dashboard.launch import ROOT
from tests.soak.checks import TokenSearch
from tests.soak.leaks import with_bytes
from tests.with_postgres import cluster

pytestmark = pytest.mark.process

SHORT = ["--months", "1", "--operations", "7", "--kill", "0.02", "--pause", "0.01"]


def soak(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *SHORT],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_month_on_sqlite_loses_and_invents_nothing() -> None:
    soak("")


def test_a_month_on_postgresql_loses_and_invents_nothing() -> None:
    with cluster() as url:
        soak(url)


def test_a_token_is_found_among_a_dumps_bytes() -> None:
    token = "0f3a9c" * 9
    dump = rb"17	\\x" + token.encode().hex().encode() + rb"	\\x" + bytes(range(256)).hex().encode()
    assert len(TokenSearch([token])(with_bytes(dump))) == len(token) - TokenSearch.LENGTH + 1
    assert not TokenSearch(["ab" * 26])(with_bytes(dump))
