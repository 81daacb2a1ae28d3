"""Rows into the database, few or many: plain SQL, since the ORM takes ten times as long for either."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Field, JSONField, Model

AT_ONCE = 50
"""Rows in a statement: with 17 columns each, within the 999 parameters that every SQLite takes."""

Item = TypeVar("Item")


def insert(rows: Sequence[Model]) -> None:
    """Insert rows of one model, in their order, without setting their ids."""
    _store(rows, "")


def insert_new(rows: Sequence[Model], *, key: Sequence[str]) -> None:
    """Insert those that don't stand already under their key."""
    _store(rows, f"ON CONFLICT ({_columns(_fields(rows, key))}) DO NOTHING")


def upsert(rows: Sequence[Model], *, key: Sequence[str]) -> None:
    """Insert rows of one model, or update those that stand under the same key. Their ids play no part."""
    changing = [field for field in _fields(rows) if field.name not in key]
    settings = ", ".join(f"{field.column} = excluded.{field.column}" for field in changing)
    _store(rows, f"ON CONFLICT ({_columns(_fields(rows, key))}) DO UPDATE SET {settings}")


def identified(row: Model, *, key: str) -> int:
    """The id of what stands under its key for good, inserted unless it is there."""
    fields = _fields([row])
    places = ", ".join(["%s"] * len(fields))
    with connection.cursor() as cursor:
        cursor.execute(  # DO NOTHING would give no id back
            f"INSERT INTO {row._meta.db_table} ({_columns(fields)}) VALUES ({places})"
            f" ON CONFLICT ({key}) DO UPDATE SET {key} = excluded.{key} RETURNING id",
            *_values(fields, [row]),
        )
        return int(cursor.fetchone()[0])


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def _store(rows: Sequence[Model], on_conflict: str) -> None:
    if not rows:
        return
    table, fields = rows[0]._meta.db_table, _fields(rows)
    if connection.vendor == "postgresql" and len(rows) > AT_ONCE:
        _copy(table, fields, rows, on_conflict)
        return
    a_row = f"({', '.join(['%s'] * len(fields))})"
    with connection.cursor() as cursor:
        for batch in batches(rows):
            places = ", ".join([a_row] * len(batch))
            values = [value for row in _values(fields, batch) for value in row]
            cursor.execute(f"INSERT INTO {table} ({_columns(fields)}) VALUES {places} {on_conflict}", values)


def _copy(table: str, fields: Sequence[Field[Any, Any]], rows: Sequence[Model], on_conflict: str) -> None:
    """COPY knows no conflicts: where there may be any, the rows go through a table of the transaction's own."""
    columns = _columns(fields)
    target = f"{table}_copied" if on_conflict else table
    with connection.cursor() as cursor:
        if on_conflict:
            cursor.execute(f"CREATE TEMPORARY TABLE {target} AS SELECT {columns} FROM {table} WITH NO DATA")
        with cursor.copy(f"COPY {target} ({columns}) FROM STDIN") as copy:
            for row in _values(fields, rows):
                copy.write_row(row)
        if on_conflict:
            cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {target} {on_conflict}")
            cursor.execute(f"DROP TABLE {target}")


def _fields(rows: Sequence[Model], names: Sequence[str] = ()) -> list[Field[Any, Any]]:
    """The columns that are stored, or those of some fields."""
    fields = [field for row in rows[:1] for field in row._meta.concrete_fields if not field.primary_key]
    return [field for field in fields if not names or field.name in names]


def _columns(fields: Sequence[Field[Any, Any]]) -> str:
    return ", ".join(str(field.column) for field in fields)


def _values(fields: Sequence[Field[Any, Any]], rows: Sequence[Model]) -> Iterator[tuple[Any, ...]]:
    """What the database takes for each row, column by column."""
    return zip(*(map(_prepared(field), map(attrgetter(field.attname), rows)) for field in fields), strict=True)


def _prepared(field: Field[Any, Any]) -> Callable[[Any], Any]:
    if isinstance(field, JSONField):
        return json.dumps
    if connection.vendor == "postgresql":
        return lambda value: value  # psycopg takes Python's own types as they are
    return lambda value: field.get_db_prep_save(value, connection)
