"""Rows into the database and out of it, few or many: plain SQL, since the ORM takes five to ten times as long.

A row is an instance of a model, or of a dataclass of `rows` that names some of a model's columns. What a database makes
of a column's values is the model's to say.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar, cast

from django.db import connection
from django.db.models import Field, JSONField, Model

AT_ONCE = 49
"""Rows in a statement: with 20 columns each, within the 999 parameters that every SQLite takes."""

Row = TypeVar("Row")
Other = TypeVar("Other")
Column: TypeAlias = "Field[Any, Any]"

# Kinds of rows


class _Table:
    """Where the rows of a kind are stored, and which columns they hold."""

    def __init__(self, kind: type[Any]) -> None:
        model: type[Model] = kind if issubclass(kind, Model) else kind.model
        meta = model._meta
        if issubclass(kind, Model):
            self.fields = list(meta.concrete_fields)
        else:
            self.fields = [cast("Column", meta.get_field(field.name)) for field in dataclasses.fields(kind)]
        self.name = meta.db_table
        self.stored = [field for field in self.fields if not field.primary_key]
        self.attributes = [field.attname for field in self.fields]
        self.qualified = ", ".join(f"{self.name}.{field.column}" for field in self.fields)


_tables: dict[type[Any], _Table] = {}


def _table_of(kind: type[Any]) -> _Table:
    if kind not in _tables:
        _tables[kind] = _Table(kind)
    return _tables[kind]


# Out of the database


def select(kind: type[Row], where: str, *values: object) -> list[Row]:
    """The rows of a kind for which `where` holds."""
    table = _table_of(kind)
    return list(_made(kind, _selected(table.qualified, f"{table.name} WHERE {where}", values)))


def select_with(kind: type[Row], other: type[Other], rest: str, *values: object) -> list[tuple[Row, Other]]:
    """Pairs of rows of two kinds: `rest` of the statement begins with their tables."""
    table, beside = _table_of(kind), _table_of(other)
    found, width = _selected(f"{table.qualified}, {beside.qualified}", rest, values), len(table.fields)
    return list(zip(_made(kind, found[:width]), _made(other, found[width:]), strict=True))


def _selected(columns: str, rest: str, values: Sequence[object]) -> list[Any]:
    """What was found, column by column."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {rest}", [_taken(value) for value in values])
        return list(zip(*cursor.fetchall(), strict=True))


def _made(kind: type[Row], columns: list[Any]) -> Iterator[Row]:
    """Each value is converted once: rows with equal lists share one, which is replaced, never changed in place."""
    table = _table_of(kind)
    if not columns:
        return iter(())
    for index, column, convert in _conversions(table, connection.vendor):
        converted = {value: convert(value, column, connection) for value in set(columns[index])}
        columns[index] = [converted[value] for value in columns[index]]
    if issubclass(kind, Model):
        alias = connection.alias
        return (kind.from_db(alias, table.attributes, row) for row in zip(*columns, strict=True))
    return map(kind, *columns)


@cache
def _conversions(table: _Table, vendor: str) -> list[tuple[int, Any, Callable[..., Any]]]:
    """Of each column whose values aren't Python's own as they come from that database: its place, itself, and how."""
    columns = [field.get_col(table.name) for field in table.fields]
    return [
        (index, column, convert)
        for index, column in enumerate(columns)
        for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection))
    ]


def _taken(value: Any) -> Any:
    """A value as the database takes it in a statement."""
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, list) and connection.vendor != "postgresql":
        return json.dumps(value, default=str)
    return connection.ops.adapt_datefield_value(value) if isinstance(value, date) else value


def is_one_of(column: str) -> str:
    """The condition that a column's value is in a list, however long, which is given as one value."""
    return (
        f"{column} = ANY(%s)" if connection.vendor == "postgresql" else f"{column} IN (SELECT value FROM json_each(%s))"
    )


def is_found(column: str, sought: str, rest: str) -> str:
    """The condition that a column's value is among those that a query finds, which is done once and first."""
    found = f"SELECT {sought} FROM {rest}"
    return f"{column} = ANY(ARRAY({found}))" if connection.vendor == "postgresql" else f"{column} IN ({found})"


# Into it


def update(model: type[Model], assignments: Mapping[str, object], where: str, *values: object) -> int:
    """Write what is assigned, with a value each, to the rows for which `where` holds. Returns how many those are."""
    settings = ", ".join(assignments)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_table_of(model).name} SET {settings} WHERE {where}",
            [_taken(value) for value in (*assignments.values(), *values)],
        )
        return int(cursor.rowcount)


def save(row: Model, *columns: str) -> None:
    """Write some columns of a row that stands."""
    update(type(row), {f"{column} = %s": getattr(row, column) for column in columns}, "id = %s", row.pk)


def lock(model: type[Model]) -> None:
    """Let nobody else write to a table until the transaction ends. SQLite has one writer at a time anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {_table_of(model).name} IN SHARE ROW EXCLUSIVE MODE")


def insert_one(row: Model) -> None:
    """Insert a row and set its id."""
    row.pk = _inserted(row, "")


def insert(rows: Sequence[object]) -> None:
    """Insert rows of one kind, in their order, without setting their ids."""
    _store(rows, "")


def insert_new(rows: Sequence[object], *, key: Sequence[str]) -> None:
    """Insert those that don't stand already under their key."""
    _store(rows, f"ON CONFLICT ({', '.join(key)}) DO NOTHING")


def upsert(rows: Sequence[object], *, key: Sequence[str]) -> None:
    """Insert rows of one kind, or update those that stand under the same key. Their ids play no part."""
    changing = [field.column for row in rows[:1] for field in _table_of(type(row)).stored if field.column not in key]
    settings = ", ".join(f"{column} = excluded.{column}" for column in changing)
    _store(rows, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {settings}")


def identified(row: Model, *, key: str) -> int:
    """The id of what stands under its key for good, inserted unless it is there."""
    return _inserted(row, f"ON CONFLICT ({key}) DO UPDATE SET {key} = excluded.{key}")  # DO NOTHING gives no id back


def _inserted(row: Model, on_conflict: str) -> int:
    table = _table_of(type(row))
    places = ", ".join(["%s"] * len(table.stored))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({places}) {on_conflict} RETURNING id",
            *_values(table, [row]),
        )
        return int(cursor.fetchone()[0])


def _store(rows: Sequence[object], on_conflict: str) -> None:
    if not rows:
        return
    table = _table_of(type(rows[0]))
    if connection.vendor == "postgresql" and len(rows) > AT_ONCE:
        _copy(table, rows, on_conflict)
        return
    a_row = f"({', '.join(['%s'] * len(table.stored))})"
    with connection.cursor() as cursor:
        for start in range(0, len(rows), AT_ONCE):
            batch = rows[start : start + AT_ONCE]
            places = ", ".join([a_row] * len(batch))
            values = [value for row in _values(table, batch) for value in row]
            cursor.execute(f"INSERT INTO {table.name} ({_columns(table)}) VALUES {places} {on_conflict}", values)


def _copy(table: _Table, rows: Sequence[object], on_conflict: str) -> None:
    """COPY knows no conflicts: where there may be any, the rows go through a table of the transaction's own."""
    columns = _columns(table)
    target = f"{table.name}_copied" if on_conflict else table.name
    with connection.cursor() as cursor:
        if on_conflict:
            cursor.execute(f"CREATE TEMPORARY TABLE {target} AS SELECT {columns} FROM {table.name} WITH NO DATA")
        with cursor.copy(f"COPY {target} ({columns}) FROM STDIN") as copy:
            for row in _values(table, rows):
                copy.write_row(row)
        if on_conflict:
            cursor.execute(f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {target} {on_conflict}")
            cursor.execute(f"DROP TABLE {target}")


def _columns(table: _Table) -> str:
    return ", ".join(str(field.column) for field in table.stored)


def _values(table: _Table, rows: Sequence[object]) -> Iterator[tuple[Any, ...]]:
    """What the database takes for each row, column by column."""
    is_postgresql = connection.vendor == "postgresql"
    return zip(*(_prepared(field, rows, is_postgresql=is_postgresql) for field in table.stored), strict=True)


def _prepared(field: Column, rows: Sequence[object], *, is_postgresql: bool) -> Iterator[Any]:
    values = list(map(attrgetter(field.attname), rows))
    if isinstance(field, JSONField):
        return map(json.dumps, values)
    if is_postgresql:
        return iter(values)  # psycopg takes Python's own types as they are
    prepared = {value: field.get_db_prep_save(value, connection) for value in set(values)}
    return map(prepared.__getitem__, values)
