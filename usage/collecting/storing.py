"""Rows into the database and out of it, few or many: plain SQL, since the ORM takes five to ten times as long.

The columns are a model's own, and so is what a database makes of their values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Field, JSONField, Model

AT_ONCE = 50
"""Rows in a statement: with 17 columns each, within the 999 parameters that every SQLite takes."""

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Model)
Other = TypeVar("Other", bound=Model)

# Out of the database


def select(model: type[Row], where: str, *values: object) -> list[Row]:
    """The rows of a model for which `where` holds."""
    made, table = _maker(model), model._meta.db_table
    return [made(row) for row in _selected(_qualified(model), f"{table} WHERE {where}", values)]


def select_with(model: type[Row], other: type[Other], rest: str, *values: object) -> list[tuple[Row, Other]]:
    """Pairs of rows of two models: `rest` of the statement begins with their tables."""
    columns, width = f"{_qualified(model)}, {_qualified(other)}", len(model._meta.concrete_fields)
    made, made_other = _maker(model), _maker(other)
    return [(made(row[:width]), made_other(row[width:])) for row in _selected(columns, rest, values)]


def _selected(columns: str, rest: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {rest}", [_taken(value) for value in values])
        return list(cursor.fetchall())


def _maker(model: type[Row]) -> Callable[[Sequence[Any]], Row]:
    """What makes an instance of a row as it comes. It is for one statement: a connection is its thread's."""
    alias, names, conversions = connection.alias, _attributes(model), _conversions(model, connection.vendor)

    def made(row: Sequence[Any]) -> Row:
        values = list(row)
        for index, column, convert in conversions:
            values[index] = convert(values[index], column, connection)
        return model.from_db(alias, names, values)

    return made


@cache
def _qualified(model: type[Model]) -> str:
    return ", ".join(f"{model._meta.db_table}.{field.column}" for field in model._meta.concrete_fields)


@cache
def _attributes(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@cache
def _conversions(model: type[Model], vendor: str) -> list[tuple[int, Any, Callable[..., Any]]]:
    """Of each column whose values aren't Python's own as they come from that database: its place, itself, and how."""
    columns = [field.get_col(model._meta.db_table) for field in model._meta.concrete_fields]
    return [
        (index, column, convert)
        for index, column in enumerate(columns)
        for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection))
    ]


def _taken(value: Any) -> Any:
    """A value as the database takes it in a statement."""
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return connection.ops.adapt_datefield_value(value) if isinstance(value, date) else value


# Into it


def update(model: type[Model], assignments: Mapping[str, object], where: str, *values: object) -> int:
    """Write what is assigned, with a value each, to the rows for which `where` holds. Returns how many those are."""
    settings = ", ".join(assignments)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {model._meta.db_table} SET {settings} WHERE {where}",
            [_taken(value) for value in (*assignments.values(), *values)],
        )
        return int(cursor.rowcount)


def save(row: Model, *columns: str) -> None:
    """Write some columns of a row that stands."""
    update(type(row), {f"{column} = %s": getattr(row, column) for column in columns}, "id = %s", row.pk)


def insert_one(row: Model) -> None:
    """Insert a row and set its id."""
    row.pk = _inserted(row, "")


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
    return _inserted(row, f"ON CONFLICT ({key}) DO UPDATE SET {key} = excluded.{key}")  # DO NOTHING gives no id back


def _inserted(row: Model, on_conflict: str) -> int:
    fields = _fields([row])
    places = ", ".join(["%s"] * len(fields))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {row._meta.db_table} ({_columns(fields)}) VALUES ({places}) {on_conflict} RETURNING id",
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
    is_postgresql = connection.vendor == "postgresql"
    return zip(*(_prepared(field, rows, is_postgresql=is_postgresql) for field in fields), strict=True)


def _prepared(field: Field[Any, Any], rows: Sequence[Model], *, is_postgresql: bool) -> Iterator[Any]:
    values = map(attrgetter(field.attname), rows)
    if isinstance(field, JSONField):
        return map(json.dumps, values)
    if is_postgresql:
        return values  # psycopg takes Python's own types as they are
    return (field.get_db_prep_save(value, connection) for value in values)
