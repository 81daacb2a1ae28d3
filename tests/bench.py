"""The figures to reach, measured in one run on a database of its own: python -m tests.bench

DATABASE_URL names the server (PostgreSQL: a new database there; else a new SQLite file). A report covers one month, so
the 1,000,000 daily rows are one month of 200 operations x 162 products; the pages' two months have 8 products each.
Times are medians. Nothing here fails: it prints each ratio with its absolute figures, and whether the goal holds.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from calendar import monthrange
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from billing_dashboard.launch import ROOT, free_port

OPERATIONS, PRODUCTS, MANY_PRODUCTS = 200, 8, 162
LONG, BEFORE, MONTH = date(2026, 8, 1), date(2026, 9, 1), date(2026, 10, 1)
DOWNLOADS, POLLS = 3, 100
VIEWING = 3.0
"""Seconds for which a page is asked for again and again."""
BLOCK = 256 * 1024
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
    """The URL of a new, empty database, which goes when the bench ends."""
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgres"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield f"sqlite:///{folder}/bench.sqlite3"
        return
    import psycopg

    name = f"billing_bench_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def start_django(url: str) -> None:
    """The project's own settings, with secrets for the run."""
    from cryptography.fernet import Fernet

    os.environ |= {
        "DATABASE_URL": url,
        "DEBUG": "no",
        "DJANGO_SETTINGS_MODULE": "billing_dashboard.settings",
        "SECRET_KEY": secrets.token_hex(32),
        "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": "127.0.0.1,testserver",
        "CSRF_TRUSTED_ORIGINS": "",
        "LANGUAGE_CODE": "en",
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


# Its figures


DAYS = """
    INSERT INTO usage_dailyusage
        (operation_id, product_id, day, items, month_to_date, highest, lowest, as_of, is_restated, is_reckoned)
    SELECT operation.id, product.id, %(day)s, {items},
        CASE WHEN product.kind = 'usage' THEN {items} * %(number)s END, {items}, {items}, %(as_of)s,
        %(never)s, %(never)s
    FROM usage_operation operation CROSS JOIN usage_product product
    WHERE product.id IN (SELECT id FROM usage_product ORDER BY id LIMIT %(products)s)
"""
ITEMS = "(10.25 + (operation.id * 31 + product.id * 17) %% 997)"


def items_of(operation: int, product: int) -> float:
    """What each day uses, as in ITEMS."""
    return 10.25 + (operation * 31 + product * 17) % 997


def make_figures() -> None:
    from django.db import connection

    make_operations_and_products()
    for month, products in ((LONG, MANY_PRODUCTS), (BEFORE, PRODUCTS), (MONTH, PRODUCTS)):
        make_days(month, products)
        make_months(month, products)
    progress("analysing")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def make_operations_and_products() -> None:
    from usage.collecting.operations import add_feeds
    from usage.models import Feed, Operation, Product

    heard = datetime.now(tz=UTC) - timedelta(minutes=1)
    for number in range(1, OPERATIONS + 1):
        operation = Operation(name=f"Operation {number:03}", slug=f"operation-{number:03}", server="0012")
        operation.token = f"{number:052}"
        operation.save()
        add_feeds(operation, heard)
    Feed.objects.filter(is_enabled=True).update(last_poll_at=heard, last_good_poll_at=heard)
    named = Product(api="interaction_licenses", kind="licences", unit="licences")
    named.name = named.description = "Interaction licences"
    named.save()
    Product.objects.bulk_create(
        Product(
            api="interactions",
            kind="usage",
            unit="interactions",
            name=f"Product {number:03}",
            description=f"Product {number:03}",
            licensed_by=named,
        )
        for number in range(2, MANY_PRODUCTS + 1)
    )


def days_of(month: date) -> list[date]:
    return [month.replace(day=number + 1) for number in range(monthrange(month.year, month.month)[1])]


def midnight_after(day: date) -> datetime:
    """Shortly before, in Bogotá."""
    return datetime(day.year, day.month, day.day, 4, 59, tzinfo=UTC) + timedelta(days=1)


def make_days(month: date, products: int) -> None:
    from django.db import connection

    for day in days_of(month):
        if day.day % 10 == 1:
            progress(f"daily rows of {day}, {products} products")
        with connection.cursor() as cursor:
            cursor.execute(
                DAYS.format(items=ITEMS),
                {"day": day, "number": day.day, "as_of": midnight_after(day), "products": products, "never": False},
            )


def make_months(month: date, products: int) -> None:
    from usage.models import MonthlyUsage, Operation, Product

    progress(f"monthly rows of {month:%Y-%m}")
    days = days_of(month)
    shared = {
        "month": month,
        "state": "closed",
        "as_of": midnight_after(days[-1]),
        "closed_at": midnight_after(days[-1]),
    }
    rows = []
    for operation in Operation.objects.values_list("pk", flat=True):
        for product, kind in Product.objects.order_by("pk").values_list("pk", "kind")[:products]:
            items = items_of(operation, product)
            to_date = [f"{items * day.day:g}" if kind == "usage" else None for day in days]
            rows.append(
                MonthlyUsage(
                    operation_id=operation,
                    product_id=product,
                    items=items * len(days) if kind == "usage" else items,
                    highest=items,
                    lowest=items,
                    items_by_day=[f"{items:g}"] * len(days),
                    to_date_by_day=to_date,
                    **shared,
                )
            )
    MonthlyUsage.objects.bulk_create(rows, batch_size=2000)


def session_cookie() -> str:
    """Of somebody in Finance, who sees pages and reports."""
    from django.contrib.auth.models import Group, User
    from django.test import Client

    user = User.objects.create_user("finance")
    user.groups.add(Group.objects.get(name="Finance"))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return f"sessionid={client.cookies['sessionid'].value}"


# The web server


def hello() -> Any:
    """The floor: Django with one view and nothing around it. gunicorn is started on this."""
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    def greet(request: HttpRequest) -> HttpResponse:
        return HttpResponse("hello")

    settings.configure(ROOT_URLCONF=(path("", greet),), ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
    return get_wsgi_application()


@dataclass(frozen=True)
class Served:
    """A gunicorn of one worker."""

    port: int
    worker: int
    cookie: str

    def get(self, connection: HTTPConnection, path: str) -> HTTPResponse:
        connection.request("GET", path, headers={"Cookie": self.cookie})
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"bench: {path} answers {response.status}")
        return response

    def page_seconds(self, path: str) -> float:
        """The median of many views over one connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        return median_within(VIEWING, lambda: seconds_of(lambda: self.get(connection, path).read()))

    def memory(self, figure: str) -> int:
        """`VmRSS` or `VmHWM` of the worker, in bytes."""
        for line in Path(f"/proc/{self.worker}/status").read_text().splitlines():
            if line.startswith(figure):
                return int(line.split()[1]) * 1024
        raise LookupError(figure)


@contextmanager
def served(application: str, cookie: str = "") -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    threads = ["--worker-class", "gthread", "--workers", "1", "--threads", "4", "--no-control-socket"]
    master = subprocess.Popen([*command, *threads], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                HTTPConnection("127.0.0.1", port, timeout=30).request("GET", "/healthz")
                break
            except OSError:
                if time.monotonic() > deadline or master.poll() is not None:
                    raise SystemExit("bench: gunicorn does not start") from None
                time.sleep(0.05)
        (worker,) = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
        yield Served(port, int(worker), cookie)
    finally:
        master.terminate()
        master.wait(30)


# The long report


@dataclass(frozen=True)
class Download:
    first_byte: float
    first_rows: float
    total: float
    rows: int
    size: int


def download(server: Served) -> Download:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=120)
    began = time.perf_counter()
    response = server.get(connection, f"/reports/daily.csv?month={LONG:%Y-%m}")
    size, rows = len(response.read(1)), 0
    first_byte = time.perf_counter() - began
    first_rows = 0.0
    while block := response.read1(BLOCK):
        size, rows = size + len(block), rows + block.count(b"\n")
        if rows > 1 and not first_rows:
            first_rows = time.perf_counter() - began
    return Download(first_byte, first_rows, time.perf_counter() - began, rows - 1, size)


def copy_statement() -> str:
    """The COPY that the report runs."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from usage.models import Operation
    from usage.presenting import reports

    begun = closing(reports.stream("daily", month=LONG, operations=Operation.objects.all()))
    with CaptureQueriesContext(connection) as queries, begun as stream:
        next(stream), next(stream)
    (statement,) = [query["sql"] for query in queries.captured_queries if query["sql"].startswith("COPY")]
    return statement


def psql_seconds(statement: str, url: str) -> float:
    """`\\copy (SELECT …) TO '/dev/null'` is this, without the need to fit on a line."""
    command = ["psql", "--no-psqlrc", "--quiet", "--output", "/dev/null", "--dbname", url, "--file", "-"]
    return seconds_of(lambda: subprocess.run(command, input=f"{statement};", text=True, check=True))


def bench_long_report(server: Served, url: str) -> None:
    progress("the long report")
    server.get(HTTPConnection("127.0.0.1", server.port), f"/reports/monthly.csv?month={MONTH:%Y-%m}").read()
    before = server.memory("VmRSS")
    Path(f"/proc/{server.worker}/clear_refs").write_text("5")  # the high-water mark begins anew
    downloads = [download(server) for _ in range(DOWNLOADS)]
    grown = server.memory("VmHWM") - before
    total = statistics.median(each.total for each in downloads)
    first_byte = max(each.first_byte for each in downloads)
    first_rows = max(each.first_rows for each in downloads)
    rows, size = downloads[0].rows, downloads[0].size
    what = f"daily.csv, {rows:,} rows ({size / MB:.0f} MB)"
    if url.startswith("postgres"):
        statement = copy_statement()
        psql = median_of(DOWNLOADS, lambda: psql_seconds(statement, url))
        report(f"{what} / psql", f"{total / psql:.2f}", "≤ 2.0", total <= 2 * psql, f"{total:.2f} s / {psql:.2f} s")
        bare = f"SELECT * FROM usage_dailyusage WHERE day BETWEEN '{LONG}' AND '{days_of(LONG)[-1]}'"
        table = median_of(DOWNLOADS, lambda: psql_seconds(f"COPY ({bare}) TO STDOUT (FORMAT csv)", url))
        report("  the same / psql of the bare table's rows", f"{total / table:.2f}", "", None, f"{table:.2f} s")
    else:
        report(what, f"{total:.2f} s", "", None, "the goal is PostgreSQL's")
    report("  first byte", f"{first_byte * 1000:.0f} ms", "≤ 200 ms", first_byte <= 0.2, "slowest of the downloads")
    report("  first rows", f"{first_rows * 1000:.0f} ms", "", None, "slowest of the downloads")
    report(
        "  growth of the server's memory",
        f"{grown / MB:.1f} MB",
        "≤ 30 MB",
        grown <= 30 * MB,
        f"from {before / MB:.0f} MB",
    )


# The pages


def queries_of(path: str, cookie: str) -> list[str]:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client()
    client.cookies.load(cookie)
    client.get(path)
    with CaptureQueriesContext(connection) as queries:
        if (status := client.get(path).status_code) != 200:
            raise SystemExit(f"bench: {path} answers {status}")
    return [query["sql"] for query in queries.captured_queries]


def sql_seconds(queries: list[str]) -> float:
    """The queries alone, read to their ends."""
    from django.db import connection

    def read() -> None:
        with connection.cursor() as cursor:
            for query in queries:
                if query.startswith("SELECT"):
                    cursor.execute(query)
                    cursor.fetchall()

    return median_within(VIEWING, lambda: seconds_of(read))


def bench_pages(server: Served, cookie: str) -> None:
    with served("tests.bench:hello()") as bare:
        floor = bare.page_seconds("/")
    pages = [
        ("the month page of an operation", f"/operations/operation-100/?month={MONTH:%Y-%m}", 8),
        (f"the overview, {OPERATIONS} x {PRODUCTS}", f"/?month={MONTH:%Y-%m}", 12),
    ]
    for what, path, most in pages:
        progress(what)
        queries = queries_of(path, cookie)
        page, sql = server.page_seconds(path), sql_seconds(queries)
        absolute = f"{page * 1000:.1f} ms / ({floor * 1000:.1f} + {sql * 1000:.1f} ms)"
        report(f"{what} / (hello + its SQL)", f"{page / (floor + sql):.2f}", "", None, absolute)
        report("  queries", str(len(queries)), f"≤ {most}", len(queries) <= most, "log-in and session included")


# Recording


def bench_recording() -> None:
    progress("recording on SQLite")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        environment = os.environ | {"DATABASE_URL": f"sqlite:///{folder}/recording.sqlite3"}
        command = [sys.executable, "-m", "tests.bench", "recording"]
        run = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    median, worst = json.loads(run.stdout)
    report(
        "an answer of 30 rows, recorded on SQLite",
        f"{median:.1f} ms",
        "≤ 30 ms",
        median <= 30,
        f"95 in 100 under {worst:.1f} ms",
    )


def record_answers() -> None:
    """Prints the median and the 95th percentile, in ms, of parsing and recording answers whose every figure is new."""
    start_django(os.environ["DATABASE_URL"])
    from tests.conftest import hear, make_operation

    operation = make_operation()
    began = datetime(2026, 11, 1, 10, tzinfo=UTC)
    seconds = []
    for number in range(POLLS):
        rows = [(f"Product {row:02}", f"{1000 + number * 7 + row}.5") for row in range(30)]
        at = began + timedelta(minutes=5 * number)
        seconds.append(seconds_of(lambda at=at, rows=rows: hear(operation, "interactions", at, *rows)))  # type: ignore[misc]
    print(json.dumps([statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[-1] * 1000]))


def main() -> None:
    with database() as url:
        start_django(url)
        from django.core.management import call_command
        from django.db import connection

        call_command("collectstatic", interactive=False, verbosity=0)
        make_figures()
        cookie = session_cookie()
        print(f"\n{'':<52} {'':>9}   goal                 ({connection.vendor}, {os.cpu_count()} cores)")
        try:
            with served("billing_dashboard.wsgi", cookie) as server:
                bench_long_report(server, url)
                bench_pages(server, cookie)
            bench_recording()
        finally:
            connection.close()


if __name__ == "__main__":
    record_answers() if sys.argv[1:] == ["recording"] else main()
