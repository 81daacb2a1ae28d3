"""Where a token might stand: logs, the database and its dump, kept answers, Valkey's dump, every page and CSV."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from redis import Redis

from billing_dashboard.launch import ROOT
from usage import tasks
from usage.models import Feed, MonthlyUsage, Operation, Poll, Product
from usage.presenting import reports

from .checks import TokenSearch, kept_answers
from .running import Clock

PATIENCE = 60.0
ADMIN_PAGES = 40
"""Of each model: a change page for so many of its rows, the newest."""


def through_celery(folder: Path, clock: Clock) -> Iterator[str]:
    """The same operations once more as they are polled in earnest: beat's tasks, a Valkey, a worker of Celery's."""
    clock.set(now := datetime.now(UTC))
    Feed.objects.filter(is_enabled=True).update(next_due_at=now)
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "billing_dashboard", "worker", "--loglevel", "debug"]
    with (folder / "celery.log").open("wb") as log:
        celery = subprocess.Popen(
            [*command, "--concurrency", "4", "--without-gossip", "--without-mingle"],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        for task in (tasks.dispatch, tasks.close_months, tasks.prune):
            task.delay()
        wanted = Feed.objects.filter(is_enabled=True).count()
        deadline = time.monotonic() + PATIENCE
        while (heard := Poll.objects.filter(started_at__gte=now, outcome="good").count()) < wanted:
            if time.monotonic() > deadline:
                yield f"{heard} of {wanted} polls came through Celery"
                break
            time.sleep(0.1)
        celery.terminate()
        celery.wait(30)
    for operation in Operation.objects.all():
        tasks.poll_operations.apply_async(([operation.pk],))  # stays queued, and so in the dump
    with Redis.from_url(os.environ["REDIS_URL"]) as valkey:
        valkey.save()


def tokens(folder: Path, known: Iterable[str]) -> Iterator[str]:
    search = TokenSearch(known)
    for what, data in everything(folder):
        if hits := search(data):
            yield f"{what} holds a token, or part of one, {len(hits)} times, at first after “{hits[0]}”"


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from pages()
    for answer in kept_answers():
        yield "a kept answer", answer
    if connection.vendor == "postgresql":
        dump = subprocess.run(["pg_dump", "--dbname", os.environ["DATABASE_URL"]], capture_output=True, check=True)
        yield "the database's dump", with_bytes(dump.stdout)
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes()


def with_bytes(dump: bytes) -> bytes:
    """What pg_dump writes in hex, as the bytes that they are: among so many digits some are a token's by chance."""
    return re.sub(rb"\\\\x((?:[0-9a-f]{2})+)", lambda its: bytes.fromhex(its[1].decode()), dump)


def pages() -> Iterator[tuple[str, bytes]]:
    """Every page and CSV, as somebody sees them who may see everything."""
    browser = Client(raise_request_exception=False)
    browser.force_login(User.objects.create_superuser("everyone"), backend="django.contrib.auth.backends.ModelBackend")
    for path in paths():
        response = browser.get(path)
        if response.status_code != 200:
            yield f"{path} answers {response.status_code}, and", response.content
        else:
            yield path, response.getvalue()


def paths() -> Iterator[str]:
    months = [
        f"{month:%Y-%m}" for month in MonthlyUsage.objects.order_by("month").values_list("month", flat=True).distinct()
    ]
    yield from ("/", "/products/", "/reports/", "/status/", "/healthz", "/admin/", "/accounts/login/")
    for month in months:
        yield from (f"/?month={month}", f"/products/?month={month}")
        yield from (f"/reports/{name}.csv?month={month}" for name in reports.COLUMNS)
        yield from (f"/reports/{name}.csv?month={month}&dialect=excel-es" for name in reports.COLUMNS)
    for slug in Operation.objects.values_list("slug", flat=True):
        yield from (f"/operations/{slug}/?month={month}" for month in {months[0], months[len(months) // 2], months[-1]})
    for product in Product.objects.values_list("pk", flat=True):
        yield f"/products/{product}/"
    for model in admin.site._registry:
        place = f"/admin/{model._meta.app_label}/{model._meta.model_name}"
        yield f"{place}/"
        for pk in model._default_manager.order_by("-pk").values_list("pk", flat=True)[:ADMIN_PAGES]:
            yield f"{place}/{pk}/change/"
