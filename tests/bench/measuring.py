"""What every bench uses: a database of its own, medians, and a line of the report."""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from billing_dashboard.launch import ROOT

MB = 1024 * 1024


def progress(line: str) -> None:
    print(f"  … {line}", file=sys.stderr, flush=True)


def report(what: str, figure: str, goal: str, holds: bool | None, absolute: str) -> None:
    verdict = {True: "holds", False: "MISSED", None: ""}[holds]
    print(f"{what:<52} {figure:>9}   {goal:<12} {verdict:<7} {absolute}", flush=True)


def median_of(runs: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(runs))


def median_within(seconds: float, measure: Callable[[], float]) -> float:
    """Of as many runs as fit, after some to warm up."""
    median_of(5, measure)
    end, figures = time.perf_counter() + seconds, [measure()]
    while time.perf_counter() < end:
        figures.append(measure())
    return statistics.median(figures)


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


# A database of its own


@contextmanager
def database() -> Iterator[str]:
    """The URL of a new, empty database, which goes when the context ends."""
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgres"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield f"sqlite:///{folder}/bench.sqlite3"
        return
    import psycopg

    name = f"billing_bench_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def asked(module: str, *arguments: str, url: str) -> Any:
    """What a bench prints as JSON that runs in a process of its own, on a database of its own."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    environment = os.environ | {"DATABASE_URL": url}
    run = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout)


def own_settings(url: str) -> dict[str, str]:
    """The environment of the project's own settings, with secrets for the run."""
    from cryptography.fernet import Fernet

    return {
        "DATABASE_URL": url,
        "DEBUG": "no",
        "DJANGO_SETTINGS_MODULE": "billing_dashboard.settings",
        "SECRET_KEY": secrets.token_hex(32),
        "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": "127.0.0.1,testserver",
        "CSRF_TRUSTED_ORIGINS": "",
        "LANGUAGE_CODE": "en",
    }


def start_django(url: str) -> None:
    os.environ |= own_settings(url)
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
