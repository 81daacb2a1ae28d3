"""New connections to PostgreSQL: a statement that comes often is parsed and planned once in each."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

OFTEN = 5
"""How often a statement must have come before it is prepared: psycopg's own default, which Django switches off."""


@receiver(connection_created)
def prepare_statements(*, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Only where the process that answers is the one that was connected to.

    A pooler hands a connection to several clients in turn, and each names its statements _pg3_0, _pg3_1 and so on:
    where it doesn't keep them apart, one client would be given what another had prepared.
    """
    if connection.vendor != "postgresql":
        return
    server = connection.connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (answers,) = cursor.fetchone()
    if answers == server.info.backend_pid:
        server.prepare_threshold = OFTEN
