"""A short storm; the whole one is `python -m tests.storm`."""

import os
import subprocess
import sys

import pytest

from billing_dashboard.launch import ROOT

LONGEST = 300
"""Seconds; it takes about twenty."""


@pytest.mark.process
def test_no_two_calls_of_a_token_overlap_while_workers_are_killed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.storm", "--polls", "300", "--kills", "5", "--pauses", "0"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
