"""Recording an answer of 30 rows, and of as many as one may have."""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.measuring import MB, asked, database, progress, report, seconds_of, start_django

if TYPE_CHECKING:
    from tests.conftest import Row
    from usage.wolkvox.answers import Reading

POLLS = 100
NOONS = {"products": datetime(2026, 11, 1, 17, tzinfo=UTC), "days": datetime(2026, 11, 30, 17, tzinfo=UTC)}
"""The 1st for what is told month to date: on a later day a first answer would be spread over those before it."""
MOST = 60_000
DAYS = 30


def bench() -> None:
    progress("recording on SQLite")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        median, worst = asked("recording", "30", url=f"sqlite:///{folder}/recording.sqlite3")
    report(
        "an answer of 30 rows, recorded on SQLite",
        f"{median:.1f} ms",
        "≤ 30 ms",
        median <= 30,
        f"95 in 100 under {worst:.1f} ms",
    )
    for shape, what in (("products", f"{MOST:,} products"), ("days", f"{MOST // DAYS:,} products x {DAYS} days")):
        progress(f"recording {what}")
        with database() as url:
            bench_most(what, asked("recording", shape, url=url))


def bench_most(what: str, of: dict[str, Any]) -> None:
    limit = of["parse"] + of["copy"]
    for when, seconds in (("first heard", of["first"]), ("each changed", of["changed"]), ("the same", of["same"])):
        absolute = f"{seconds:.2f} s / ({of['parse']:.2f} + {of['copy']:.2f} s)"
        ratio = seconds / limit
        report(f"{what}, {when} / (parsing + COPY)", f"{ratio:.2f}", "≤ 4.0", ratio <= 4, absolute)
    plain = (of["parse"] + of["tables"]) / limit
    report("  first heard, were it parsing and COPY alone", f"{plain:.2f}", "", None, "into the four tables")
    report("  memory at most", f"{of['memory'] / MB:.0f} MB", "≤ 400 MB", of["memory"] <= 400 * MB, "of the process")


def thirty_rows() -> list[float]:
    """The median and the 95th percentile, in ms, of parsing and recording answers whose every figure is new."""
    from tests.conftest import hear, make_operation

    operation = make_operation()
    began = datetime(2026, 11, 1, 10, tzinfo=UTC)
    seconds = []
    for number in range(POLLS):
        rows = [(f"Product {row:02}", f"{1000 + number * 7 + row}.5") for row in range(30)]
        at = began + timedelta(minutes=5 * number)
        seconds.append(seconds_of(lambda at=at, rows=rows: hear(operation, "interactions", at, *rows)))  # type: ignore[misc]
    return [statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[-1] * 1000]


def rows_of(shape: str, number: int) -> list[Row]:
    """60,000 rows: of a product each, or of fewer products day by day."""
    if shape == "products":
        return [(f"Product {row:05}", f"{number + row}.25", "2026-11-01") for row in range(MOST)]
    days = range(1, DAYS + 1)
    return [
        (f"Product {row:04}", f"{number + row + day}.25", f"2026-11-{day:02}")
        for row in range(MOST // DAYS)
        for day in days
    ]


def most_rows(shape: str) -> dict[str, float]:
    """Seconds of parsing and recording such an answer, three times; of parsing and COPYing it; bytes of memory."""
    from django.db import transaction

    from tests.conftest import body_of, make_operation
    from usage.collecting import recording
    from usage.models import Feed
    from usage.wolkvox import answers
    from usage.wolkvox.catalogue import APIS
    from usage.wolkvox.client import Reply

    operation = make_operation()

    def record(number: int, minutes: int) -> float:
        at = NOONS[shape] + timedelta(minutes=minutes)
        reply = Reply(body_of(rows_of(shape, number)), 200, at, at, at + timedelta(seconds=1))
        feed = Feed.objects.select_related("operation").get(operation=operation, api="interactions")

        def parse_and_record() -> None:
            with transaction.atomic():
                recording.record(feed, reply, answers.parse(reply.body, feed.about))
                feed.save()

        return seconds_of(parse_and_record)

    figures = {"first": record(1, 0), "changed": record(2, 5), "same": record(2, 10)}
    figures["memory"] = most_memory()
    body = body_of(rows_of(shape, 2))
    gc.collect()
    readings: Sequence[Reading] = ()

    def parse() -> None:
        nonlocal readings
        readings = answers.parse(body, APIS["interactions"])

    figures["parse"] = seconds_of(parse)
    return figures | {"copy": copy_seconds(readings), "tables": copy_tables_seconds()}


def copy_seconds(readings: Sequence[Reading]) -> float:
    """COPY into an empty table without an index."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return 0.0
    with ExitStack() as stack:
        cursor = stack.enter_context(connection.cursor())
        cursor.execute("CREATE TABLE copied (operation text, description text, items numeric(15, 4), date date)")

        def copy_rows() -> None:
            with cursor.copy("COPY copied FROM STDIN") as copy:
                for reading in readings:
                    copy.write_row((reading.operation, reading.description, reading.items, reading.day))

        return seconds_of(copy_rows)


def copy_tables_seconds() -> float:
    """COPY, as they stand, of the rows that a first answer makes in four tables with their indexes and foreign keys."""
    from django.db import connection, transaction

    if connection.vendor != "postgresql":
        return 0.0
    first = "first_poll_id = (SELECT min(id) FROM usage_poll)"
    kept = {"product": "true", "snapshot": first, "dailyusage": "true", "monthlyusage": "true"}
    with connection.cursor() as cursor:
        blocks = {}
        for table, where in kept.items():
            with cursor.copy(f"COPY (SELECT * FROM usage_{table} WHERE {where}) TO STDOUT (FORMAT binary)") as copy:
                blocks[table] = b"".join(copy)
        cursor.execute("TRUNCATE usage_product CASCADE")

        def copy_back() -> None:
            with transaction.atomic():
                for table, block in blocks.items():
                    with cursor.copy(f"COPY usage_{table} FROM STDIN (FORMAT binary)") as copy:
                        copy.write(block)

        return seconds_of(copy_back)


def most_memory() -> int:
    """The most that this process ever held, in bytes."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    start_django(os.environ["DATABASE_URL"])
    print(json.dumps(thirty_rows() if sys.argv[1] == "30" else most_rows(sys.argv[1])))
