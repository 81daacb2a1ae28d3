"""The web server, its pages and its long report."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from billing_dashboard.launch import ROOT, free_port
from tests.bench.figures import LONG, MONTH, MONTHS, OPERATIONS, PRODUCTS, days_of
from tests.bench.measuring import MB, median_of, median_within, progress, report, seconds_of

DOWNLOADS = 3
VIEWING = 3.0
"""Seconds for which a page is asked for again and again."""
BLOCK = 256 * 1024


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


def signed_in() -> Any:
    """The floor of the pages: the site, with its log-in, session and permissions, around a page that asks nothing."""
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse
    from django.shortcuts import render
    from django.urls import path

    application = get_wsgi_application()
    from billing_dashboard.urls import urlpatterns
    from usage.views import page

    def bare(request: HttpRequest) -> HttpResponse:
        return render(request, "error.html", {"title": "Bare", "sentence": "Nothing is asked."})

    urlpatterns.insert(0, path("bare/", page(bare)))
    return application


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
        return median_within(VIEWING, lambda: self.view(connection, path))

    def first_seconds(self, paths: Sequence[str]) -> float:
        """The median of one view of each: of pages that no cache of a warm server has met."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        return statistics.median(self.view(connection, path) for path in paths)

    def view(self, connection: HTTPConnection, path: str) -> float:
        return seconds_of(lambda: self.get(connection, path).read())

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
    from django.utils import timezone

    from usage.models import Operation
    from usage.presenting import reports

    begun = closing(reports.stream("daily", month=LONG, operations=Operation.objects.all(), now=timezone.now()))
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
                if query.lstrip().startswith(("SELECT", "WITH")):
                    cursor.execute(query)
                    cursor.fetchall()

    return median_within(VIEWING, lambda: seconds_of(read))


@dataclass(frozen=True)
class Page:
    """A page as it differs by operation or month, with its goals."""

    what: str
    paths: Sequence[str]
    queries: int
    milliseconds: float
    ratio: float | None = None


PAGES = (
    Page(
        "the month page of an operation",
        [f"/operations/operation-{number:03}/?month={MONTH:%Y-%m}" for number in range(1, OPERATIONS + 1)],
        queries=8,
        milliseconds=8,
        ratio=8,
    ),
    Page(
        f"the overview, {OPERATIONS} x {PRODUCTS}",
        [f"/?month={month:%Y-%m}" for month in MONTHS if month != LONG],
        queries=12,
        milliseconds=30,
    ),
)


def bench_pages(server: Served, cookie: str) -> None:
    with served("tests.bench.serving:hello()") as floor:
        hello = floor.page_seconds("/")
    with served("tests.bench.serving:signed_in()", cookie) as floor:
        bare = floor.page_seconds("/bare/")
    report(
        "a bare page, signed in / hello", f"{bare / hello:.2f}", "", None, f"{bare * 1000:.1f} / {hello * 1000:.1f} ms"
    )
    for page in PAGES:
        bench_page(page, server, cookie, hello)


def bench_page(page: Page, server: Served, cookie: str, hello: float) -> None:
    progress(page.what)
    *others, path = page.paths
    queries = queries_of(path, cookie)
    server.page_seconds(path)
    first, again, sql = server.first_seconds(others), server.page_seconds(path), sql_seconds(queries)
    is_fast = first * 1000 < page.milliseconds
    goal, warm = f"< {page.milliseconds} ms", f"seen again: {again * 1000:.1f} ms"
    report(f"{page.what}, p50", f"{first * 1000:.1f} ms", goal, is_fast, warm)
    ratio, asked = again / (hello + sql), len(queries)  # as the SQL is: of rows that the database has at hand
    absolute = f"{again * 1000:.1f} ms / ({hello * 1000:.1f} + {sql * 1000:.1f} ms)"
    goal, is_lean = (f"≤ {page.ratio:.1f}", ratio <= page.ratio) if page.ratio else ("", None)
    report("  / (hello + its SQL)", f"{ratio:.2f}", goal, is_lean, absolute)
    report("  queries", str(asked), f"≤ {page.queries}", asked <= page.queries, "log-in and session included")
