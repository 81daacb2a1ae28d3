"""What a new connection to PostgreSQL prepares."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite keeps its statements by itself"),
]


def prepared() -> list[str]:
    with connection.cursor() as cursor:
        for _ in range(10):
            cursor.execute("SELECT %s::int + 1", [1])
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [statement for (statement,) in cursor.fetchall()]


def test_what_comes_often_is_prepared() -> None:
    connection.close()
    assert prepared() == ["SELECT $1::int + 1"]


def test_nothing_is_prepared_through_a_pooler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It announces a process of its own making (PgBouncer 1.18)."""
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 1)
    connection.close()
    assert prepared() == []
    connection.close()
