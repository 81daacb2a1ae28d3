"""Tokens that move to another key, and what a lost one costs."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.checks import Tags, run_checks
from django.db import connection

from tests.conftest import make_operation, token_of
from usage import tokens
from usage.collecting import keys, operations
from usage.models import Operation

pytestmark = pytest.mark.django_db


@pytest.fixture
def new_key(settings: Any) -> str:
    """A key that stands first from now on, before the one that encrypted all."""
    new = Fernet.generate_key().decode()
    settings.TOKEN_ENCRYPTION_KEYS = [new, *settings.TOKEN_ENCRYPTION_KEYS]
    return new


def test_every_token_is_encrypted_with_the_first_key(new_key: str, settings: Any) -> None:
    old = settings.TOKEN_ENCRYPTION_KEYS[1]
    settings.TOKEN_ENCRYPTION_KEYS = [old]
    names = ["Bogotá", "Lima", "Quito"]
    for name in names:
        make_operation(name)
    settings.TOKEN_ENCRYPTION_KEYS = [new_key, old]
    rotation = keys.rotate()
    assert (rotation.rotated, rotation.refreshed, rotation.unreadable, rotation.shared) == (3, 0, [], [])
    settings.TOKEN_ENCRYPTION_KEYS = [new_key]
    assert [operation.token for operation in Operation.objects.order_by("name")] == [token_of(name) for name in names]
    assert keys.unreadable() == []


def test_a_token_that_can_not_be_read_stays_and_is_named(operation: Operation, settings: Any) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    lima = make_operation("Lima")
    rotation = keys.rotate()
    assert (rotation.rotated, rotation.unreadable) == (1, [operation])
    assert Operation.objects.get(pk=operation.pk).token_encrypted == operation.token_encrypted
    assert keys.unreadable() == [operation]
    lima.refresh_from_db()
    assert lima.token == token_of("Lima")


def test_a_token_that_an_admin_changes_at_that_moment_is_theirs(operation: Operation, new_key: str) -> None:
    has_pasted = False

    def paste_first(run: Any, sql: str, *rest: Any) -> Any:
        nonlocal has_pasted
        if sql.startswith('UPDATE "usage_operation"') and not has_pasted:
            has_pasted = True
            theirs = Operation.objects.get(pk=operation.pk)
            operations.set_token(theirs, "pasted-by-an-admin")
            theirs.save()
        return run(sql, *rest)

    with connection.execute_wrapper(paste_first):
        rotation = keys.rotate()
    operation.refresh_from_db()
    assert has_pasted
    assert (operation.token, rotation.rotated) == ("pasted-by-an-admin", 1)
    assert operation.token_fingerprint == tokens.fingerprint("pasted-by-an-admin")


def test_fingerprints_of_another_secret_key_are_made_again(operation: Operation, settings: Any) -> None:
    settings.SECRET_KEY = "another one"
    quito = make_operation("Quito")
    rotation = keys.rotate()
    assert (rotation.rotated, rotation.refreshed) == (2, 1)
    with pytest.raises(operations.TokenTaken):
        operations.set_token(quito, operation.token)


def test_two_operations_with_one_token_are_named_and_both_keep_it(operation: Operation, settings: Any) -> None:
    settings.SECRET_KEY = "another one"  # by which the second was let in
    quito = make_operation("Quito")
    quito.token = operation.token
    quito.save()
    rotation = keys.rotate()
    assert rotation.shared == [(operation, quito)]
    assert {one.token for one in Operation.objects.all()} == {operation.token}


def test_a_lost_key_is_a_warning_that_stops_nothing(
    operation: Operation, settings: Any, django_assert_num_queries: Any
) -> None:
    def found() -> list[tuple[str | None, bool]]:
        return [(one.id, one.is_serious()) for one in run_checks(tags=[Tags.database], databases=["default"])]

    assert found() == []
    settings.TOKEN_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert found() == [("usage.W001", False)]
    with django_assert_num_queries(0):
        assert run_checks(tags=[Tags.database]) == []
