"""The CSV reports: one description of each for both databases, streamed in chunks, never a row a chunk.

On PostgreSQL a report is one COPY whose SELECT also formats; on SQLite a cursor read in batches and formatted
here. Both give the same bytes. What a closed month says is fixed: of the figures that come after its closing, only
the latest correction shows, in a column of its own of the monthly report.

The `state` of a daily row is one word, the first of these that holds:

    gap         what the day used is not known, because the day before is not
    unfinished  the last day known, last heard before that day was over; where the month is closed, no month's last day,
                of which the certificate tells
    reckoned    what the day used is a share of what came in a stretch without a good poll, or lacks what came in it
    restated    a figure fell within the day
    complete    none of these

The `state` of a monthly row is the month's: `open`, `closing` or `closed`.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import QuerySet

from usage.models import GAP_INTERVALS, Operation

from .figures import midnight, month_after
from .queries import time_of

DIALECTS = ("", "excel-es")

CHUNK = 64 * 1024
"""Bytes gathered before they are sent on."""

BATCH = 500
"""Rows read and formatted at a time on SQLite: about a chunk."""


class Kind(Enum):
    """How a column's cells are written."""

    TEXT = auto()
    INTEGER = auto()
    NUMBER = auto()
    RATIO = auto()
    DAY = auto()
    MONTH = auto()
    TIME = auto()


@dataclass(frozen=True)
class Report:
    """`select` gives the raw value of each column under its name, the operation's `time_zone`, and what `order` names.

    It is written for both databases: {words} in braces are the database's own.
    """

    columns: dict[str, Kind]
    select: str
    order: str


# What is read

PAIRS = """
    SELECT month.id, month.operation_id, month.product_id, month.month, month.items, month.highest, month.lowest,
        month.state, month.as_of, month.gap_seconds AS ended_gaps, month.closed_at, {time_zone} AS time_zone,
        {kind} AS kind,
        licences.items AS licences, licences.items_by_day AS licences_by_day,
        {operation} AS operation, {api} AS api, {product} AS product,
        operation.slug {binary} AS by_operation, product.api {binary} AS by_api, {name} {binary} AS by_product
    FROM usage_monthlyusage month
    JOIN usage_operation operation ON operation.id = month.operation_id
    JOIN usage_product product ON product.id = month.product_id
    LEFT JOIN usage_monthlyusage licences ON {kind} = 'usage' AND licences.operation_id = month.operation_id
        AND licences.product_id = {licensed_by} AND licences.month = month.month
    WHERE month.month = %(month)s AND month.operation_id {among_operations} AND {wanted}
    ORDER BY by_operation, by_api, by_product, month.product_id {fence}
"""
"""An operation's product in the month, in the order of every report: by bytes, so that no collation has a say.

Text is made inert here, once a pair. PostgreSQL reads the days of each pair from an index, in their order, so that a
long report begins at once and is not sorted on disk.
"""

AS_CLOSED = {
    "name": "COALESCE(NULLIF(month.closed_name, ''), product.name)",
    "kind": "COALESCE(NULLIF(month.closed_kind, ''), product.kind)",
    "licensed_by": "CASE WHEN month.closed_name <> '' THEN month.closed_licensed_by_id ELSE product.licensed_by_id END",
    "is_counted": "CASE WHEN month.closed_name <> '' THEN month.closed_is_counted ELSE product.is_counted END",
    "time_zone": "COALESCE(NULLIF(month.closed_zone, ''), operation.time_zone)",
}
"""What an admin may change of a product or an operation, as it was when the month closed."""

RUNNING = """
    SELECT operation_id, api, CAST({least}(ROUND(until), ends) - {greatest}(ROUND(heard), begins) AS INTEGER) AS seconds
    FROM (
        SELECT feed.operation_id, feed.api, COALESCE(feed.heard_interval, feed.interval) AS minutes, {heard} AS heard,
            COALESCE({held}, CAST(%(now)s AS NUMERIC)) AS until, {begins} AS begins, {ends} AS ends
        FROM usage_feed feed
        JOIN usage_operation operation ON operation.id = feed.operation_id
        WHERE feed.operation_id {among_operations}
    ) since
    WHERE until - heard > minutes * %(gap_of_a_minute)s AND until > begins AND heard < ends
"""
"""The seconds of the month that lie in a feed's gap that still runs, as `figures.running_gap` reckons them.

Instants are seconds since 1970. It is a part of the report's own statement, and so of the same moment as the gaps that
have ended: one that ends meanwhile is counted once.
"""

ORDER = "by_operation, by_api, by_product, product_id"

MONTHLY = Report(
    columns={
        "month": Kind.MONTH,
        "operation": Kind.TEXT,
        "api": Kind.TEXT,
        "product": Kind.TEXT,
        "kind": Kind.TEXT,
        "items": Kind.NUMBER,
        "highest": Kind.NUMBER,
        "lowest": Kind.NUMBER,
        "licences": Kind.NUMBER,
        "items_per_licence": Kind.RATIO,
        "state": Kind.TEXT,
        "as_of": Kind.TIME,
        "gap_seconds": Kind.INTEGER,
        "seconds_unheard": Kind.INTEGER,
        "most_unseen": Kind.NUMBER,
        "unseen_reckoned_by": Kind.TEXT,
        "answer": Kind.TEXT,
        "correction": Kind.NUMBER,
    },
    select="""
        SELECT pair.*, pair.ended_gaps + COALESCE(running.seconds, 0) AS gap_seconds,
            certificate.seconds_unheard + certificate.seconds_at_midnights AS seconds_unheard, certificate.most_unseen,
            certificate.pace || ' ' || {pace_items} || ' in ' || certificate.pace_seconds || ' s' AS unseen_reckoned_by,
            NULLIF(certificate.answer_sha256, '') AS answer,
            (SELECT items FROM usage_correction WHERE usage_id = pair.id ORDER BY seen_at DESC, id DESC LIMIT 1)
                AS correction
        FROM ({pairs}) pair
        LEFT JOIN usage_certificate certificate ON certificate.usage_id = pair.id
        LEFT JOIN ({running}) running
            ON pair.state <> 'closed' AND running.operation_id = pair.operation_id AND running.api = pair.by_api
    """,
    order=ORDER,
)

DAILY = Report(
    columns={
        "day": Kind.DAY,
        "operation": Kind.TEXT,
        "api": Kind.TEXT,
        "product": Kind.TEXT,
        "kind": Kind.TEXT,
        "items": Kind.NUMBER,
        "month_to_date": Kind.NUMBER,
        "licences": Kind.NUMBER,
        "state": Kind.TEXT,
        "as_of": Kind.TIME,
    },
    select="""
        SELECT usage.day, pair.operation, pair.api, pair.product, pair.kind, usage.items, usage.month_to_date,
            {licences_of_the_day} AS licences, usage.as_of, pair.time_zone,
            CASE
                WHEN usage.items IS NULL THEN 'gap'
                WHEN (pair.state <> 'closed' OR usage.day < %(last_day)s) AND usage.as_of = pair.as_of
                    AND {day_of_as_of} <= usage.day THEN 'unfinished'
                WHEN usage.is_reckoned THEN 'reckoned'
                WHEN usage.is_restated THEN 'restated'
                ELSE 'complete'
            END AS state,
            pair.by_operation, pair.by_api, pair.by_product, pair.product_id
        FROM ({pairs}) pair
        JOIN usage_dailyusage usage ON usage.operation_id = pair.operation_id AND usage.product_id = pair.product_id
            AND usage.day >= %(month)s AND usage.day < %(next_month)s
    """,
    order=f"{ORDER}, day",
)

SNAPSHOTS = Report(
    columns={
        "operation": Kind.TEXT,
        "api": Kind.TEXT,
        "product": Kind.TEXT,
        "vendor_date": Kind.TEXT,
        "items": Kind.NUMBER,
        "first_seen": Kind.TIME,
        "last_seen": Kind.TIME,
        "poll": Kind.INTEGER,
    },
    select="""
        SELECT pair.operation, pair.api, pair.product, {vendor_date} AS vendor_date, snapshot.items,
            snapshot.first_seen, snapshot.last_seen, snapshot.first_poll_id AS poll, pair.time_zone,
            pair.by_operation, pair.by_api, pair.by_product, pair.product_id, snapshot.day, snapshot.id
        FROM ({pairs}) pair
        JOIN usage_snapshot snapshot ON snapshot.product_id = pair.product_id AND snapshot.month = pair.month
        JOIN usage_feed feed ON feed.id = snapshot.feed_id AND feed.operation_id = pair.operation_id
        WHERE pair.closed_at IS NULL OR snapshot.first_seen <= pair.closed_at
    """,
    order=f"{ORDER}, day, first_seen, id",
)

REPORTS = {"monthly": MONTHLY, "daily": DAILY, "snapshots": SNAPSHOTS}
COLUMNS: dict[str, tuple[str, ...]] = {name: tuple(report.columns) for name, report in REPORTS.items()}


# Text that a spreadsheet would run

FORMULA = "[=+@＝＋－＠-]"
WHITE = "".join(map(chr, [*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200C), 0x2028, 0x2029]))
WHITE += "".join(map(chr, [0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF]))
PATTERNS = {
    "runs": f"^([\t\r\n]|[{WHITE}]*{FORMULA})",
    "splits": f'[;,\t][{WHITE}"]*{FORMULA}',
    "tab": "\t",
    "carriage_return": "\r",
    "line_feed": "\n",
}


def inert(text: str, *, matches: str) -> str:
    """The SQL of a text that no spreadsheet runs: an apostrophe leads, and what would start a second cell goes.

    An Excel of the other language parts at the separator that this dialect leaves unquoted, hence `splits`. Line ends
    become spaces: a row is a line.
    """
    line = f"replace(replace({text}, %(carriage_return)s, ' '), %(line_feed)s, ' ')"
    whole = f"replace(replace(replace({line}, ';', ' '), ',', ' '), %(tab)s, ' ')"
    apostrophe = f"CASE WHEN {text} {matches} %(runs)s THEN '''' ELSE '' END"
    return f"{apostrophe} || CASE WHEN {text} {matches} %(splits)s THEN {whole} ELSE {line} END"


# The databases


class Database(Protocol):
    """What differs between the databases."""

    matches: str
    words: dict[str, str]

    def ids(self, ids: Iterable[int]) -> object: ...
    def rows(self, report: Report, select: str, parameters: dict[str, Any], dialect: str) -> Iterator[bytes]: ...


class PostgreSQL:
    matches = "~"
    words = {
        "binary": 'COLLATE "C"',
        "fence": "",
        "among_operations": "= ANY(%(operations)s)",
        "among_products": "= ANY(%(products)s)",
        "day_of_as_of": "(usage.as_of AT TIME ZONE pair.time_zone)::date",
        "licences_of_the_day": "(pair.licences_by_day ->> (EXTRACT(DAY FROM usage.day)::int - 1))::numeric",
        "pace_items": "trim_scale(certificate.pace_items)",
        "heard": "EXTRACT(EPOCH FROM feed.last_good_poll_at)",
        "held": "EXTRACT(EPOCH FROM feed.held_since)",
        "begins": "(%(months)s::jsonb -> operation.time_zone ->> 0)::numeric",
        "ends": "(%(months)s::jsonb -> operation.time_zone ->> 1)::numeric",
        "least": "LEAST",
        "greatest": "GREATEST",
    }

    def ids(self, ids: Iterable[int]) -> object:
        return list(ids)

    def rows(self, report: Report, select: str, parameters: dict[str, Any], dialect: str) -> Iterator[bytes]:
        cells = ", ".join(self.cell(kind, name, dialect) for name, kind in report.columns.items())
        copy = (  # all of it is our own words; values are parameters
            f"COPY (SELECT {cells} FROM ({select} ORDER BY {report.order}) answer ORDER BY {report.order})"  # noqa: S608
            f" TO STDOUT (FORMAT csv, DELIMITER '{delimiter(dialect)}', ENCODING 'UTF8')"
        )
        composed = connection.ops.compose_sql(copy, parameters)  # type: ignore[attr-defined]  # PostgreSQL's own
        # A stream closed early leaves through the copy's context, which cancels what the server still sends.
        with connection.cursor() as cursor:
            cursor.execute("SET jit = off")  # compiling the query would hold up its first rows, and gain nothing
            with cursor.copy(composed) as rows:
                size, gathered = 0, []
                for row in rows:
                    gathered.append(bytes(row))
                    size += len(row)
                    if size >= CHUNK:
                        yield b"".join(gathered).replace(b"\n", b"\r\n")
                        size, gathered = 0, []
                if gathered:
                    yield b"".join(gathered).replace(b"\n", b"\r\n")

    def cell(self, kind: Kind, name: str, dialect: str) -> str:
        is_spanish = dialect == "excel-es"
        match kind:
            case Kind.NUMBER | Kind.RATIO:
                ratio = "CASE WHEN licences > 0 THEN div(20000 * items + licences, 2 * licences) * 0.0001 END"
                number = f"trim_scale({name if kind is Kind.NUMBER else ratio})"
                return f"replace({number}::text, '.', ',')" if is_spanish else number
            case Kind.DAY:
                return f"to_char(answer.{name}, '{'DD/MM/YYYY' if is_spanish else 'YYYY-MM-DD'}')"
            case Kind.MONTH:
                return f"to_char(answer.{name}, '{'MM/YYYY' if is_spanish else 'YYYY-MM'}')"
            case Kind.TIME:
                here, there = f"({name} AT TIME ZONE time_zone)", f"({name} AT TIME ZONE 'UTC')"
                if is_spanish:
                    return f"to_char({here}, 'DD/MM/YYYY HH24:MI:SS')"
                return (
                    f"""to_char({here}, 'YYYY-MM-DD"T"HH24:MI:SS') || CASE WHEN {here} < {there} THEN '' ELSE '+' END"""
                    f" || replace(to_char({here} - {there}, 'HH24:MI'), ':-', ':')"
                )
            case _:
                return name


class SQLite:
    matches = "REGEXP"
    words = {
        "binary": "COLLATE BINARY",
        "fence": "LIMIT -1",  # or a pair's text would be made inert again in each of its rows
        "among_operations": "IN (SELECT value FROM json_each(%(operations)s))",
        "among_products": "IN (SELECT value FROM json_each(%(products)s))",
        "day_of_as_of": "django_datetime_cast_date(usage.as_of, pair.time_zone, 'UTC')",
        "licences_of_the_day": (
            "json_extract(pair.licences_by_day, '$[' || (CAST(strftime('%%d', usage.day) AS INTEGER) - 1) || ']')"
        ),
        "pace_items": "CAST(certificate.pace_items AS TEXT)",
        "heard": "django_timestamp_diff(feed.last_good_poll_at, '1970-01-01 00:00:00') / 1000000.0",
        "held": "django_timestamp_diff(feed.held_since, '1970-01-01 00:00:00') / 1000000.0",
        "begins": """json_extract(%(months)s, '$."' || operation.time_zone || '"[0]')""",
        "ends": """json_extract(%(months)s, '$."' || operation.time_zone || '"[1]')""",
        "least": "MIN",
        "greatest": "MAX",
    }

    def ids(self, ids: Iterable[int]) -> object:
        return json.dumps(list(ids))

    def rows(self, report: Report, select: str, parameters: dict[str, Any], dialect: str) -> Iterator[bytes]:
        names = ["licences" if kind is Kind.RATIO else name for name, kind in report.columns.items()]
        ordered = f"SELECT {', '.join(names)}, time_zone FROM ({select}) answer ORDER BY {report.order}"  # noqa: S608
        kinds, items = list(report.columns.values()), names.index("items")
        with connection.cursor() as cursor:
            cursor.execute(ordered, parameters)
            while batch := cursor.fetchmany(BATCH):
                rows = (
                    [
                        "" if value is None else cell(kind, value, zone, row[items], dialect)
                        for kind, value in zip(kinds, row, strict=True)
                    ]
                    for *row, zone in batch
                )
                yield lines(rows, dialect)


def cell(kind: Kind, value: object, zone: str, items: object, dialect: str) -> str:
    """A value as SQLite gives it, written. `items` are the row's, which a ratio's value divides."""
    is_spanish = dialect == "excel-es"
    match kind:
        case Kind.NUMBER | Kind.RATIO:
            number = plain(value) if kind is Kind.NUMBER else ratio(Decimal(plain(items)), Decimal(plain(value)))
            return number.replace(".", ",") if is_spanish else number
        case Kind.DAY:
            return "/".join(reversed(str(value).split("-"))) if is_spanish else str(value)
        case Kind.MONTH:
            return "/".join(reversed(str(value).split("-")[:2])) if is_spanish else str(value)[:7]
        case Kind.TIME:
            return local(str(value), zone, is_spanish)
        case _:
            return str(value)


def plain(figure: object) -> str:
    """SQLite keeps a figure as an integer or as a double, which tells its 15 digits; out of JSON it is text."""
    return f"{figure:.4f}".rstrip("0").rstrip(".") if isinstance(figure, float | Decimal) else str(figure)


def ratio(items: Decimal, licences: Decimal) -> str:
    return plain((items / licences).quantize(Decimal("0.0001"), ROUND_HALF_UP)) if licences else ""


@lru_cache(maxsize=4096)
def local(stored: str, zone: str, is_spanish: bool) -> str:
    """A stored instant in the operation's zone. The products of one answer share it."""
    instant = time_of(stored).astimezone(ZoneInfo(zone))
    return f"{instant:%d/%m/%Y %H:%M:%S}" if is_spanish else instant.isoformat(timespec="seconds")


DATABASES: dict[str, Database] = {"postgresql": PostgreSQL(), "sqlite": SQLite()}


# The stream


def stream(
    name: str,
    *,
    month: date,
    operations: QuerySet[Operation],
    now: datetime,
    products: Sequence[int] | None = None,
    dialect: str = "",
) -> Generator[bytes, None, None]:
    """The report of a month, in chunks, the header first. `products` are ids; None means all that are counted.
    A gap that still runs is one until `now`.

    Only the given operations appear: visibility is the caller's. Raises KeyError for a name that is not of REPORTS,
    ValueError for a dialect that is not of DIALECTS.
    """
    report, database = REPORTS[name], DATABASES[connection.vendor]
    if dialect not in DIALECTS:
        raise ValueError(f"{dialect!r} is no dialect.")
    first = month.replace(day=1)
    next_month = month_after(first)
    zones = dict(operations.values_list("pk", "time_zone"))
    parameters = {
        **PATTERNS,
        "month": first,
        "next_month": next_month,
        "last_day": next_month - timedelta(days=1),
        "months": json.dumps({zone: seconds(first, next_month, zone) for zone in {*zones.values()}}),
        "now": f"{now.timestamp():.6f}",
        "gap_of_a_minute": timedelta(minutes=GAP_INTERVALS).total_seconds(),
        "operations": database.ids(zones),
        "products": database.ids(products or ()),
    }
    wanted = AS_CLOSED["is_counted"] if products is None else f"product.id {database.words['among_products']}"
    return chunks(report, database, select_of(report, database, wanted), parameters, dialect)


def seconds(first: date, last: date, zone: str) -> list[int]:
    """When two days begin in a zone, since 1970."""
    return [round(midnight(day, ZoneInfo(zone)).timestamp()) for day in (first, last)]


def chunks(
    report: Report, database: Database, select: str, parameters: dict[str, Any], dialect: str
) -> Generator[bytes, None, None]:
    byte_order_mark = codecs.BOM_UTF8 if dialect == "excel-es" else b""
    yield byte_order_mark + lines([report.columns], dialect)
    yield from database.rows(report, select, parameters, dialect)


def select_of(report: Report, database: Database, wanted: str) -> str:
    """The report's SELECT in a database's words."""
    texts = {
        "operation": "operation.slug",
        "api": "product.api",
        "product": AS_CLOSED["name"],
        "vendor_date": "NULLIF(snapshot.vendor_date, '')",
    }
    words = database.words | AS_CLOSED | {name: inert(text, matches=database.matches) for name, text in texts.items()}
    pairs, running = PAIRS.format(wanted=wanted, **words), RUNNING.format(**words)
    return report.select.format(pairs=pairs, running=running, **words)


def lines(rows: Iterable[Iterable[str]], dialect: str) -> bytes:
    """Rows quoted as COPY quotes them: where a cell holds the delimiter or a quote."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter(dialect)).writerows(rows)
    return text.getvalue().encode()


def delimiter(dialect: str) -> str:
    return ";" if dialect == "excel-es" else ","
