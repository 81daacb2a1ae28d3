"""Tokens whose key is lost, and tokens that move to another key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction

from usage.models import Operation
from usage.tokens import TokenUnreadable


def unreadable() -> list[Operation]:
    """The operations whose token no key of TOKEN_ENCRYPTION_KEYS opens."""
    return [operation for operation in Operation.objects.order_by("name") if not _is_readable(operation)]


def _is_readable(operation: Operation) -> bool:
    try:
        return bool(operation.token)
    except TokenUnreadable:
        return False


def say_unreadable(operations: Sequence[Operation]) -> str:
    """What is wrong with their tokens, and what mends it, for who runs the commands."""
    slugs = ", ".join(operation.slug for operation in operations)
    return (
        f"No key in TOKEN_ENCRYPTION_KEYS opens the tokens of these operations, so they are not polled: {slugs}. "
        "Put the key that encrypted them back into TOKEN_ENCRYPTION_KEYS and restart, or paste the tokens again in "
        "the admin; nothing but the tokens is lost."
    )


@dataclass
class Rotation:
    """What became of the tokens. `refreshed` fingerprints were of another SECRET_KEY; `shared` names who shares one."""

    rotated: int = 0
    refreshed: int = 0
    unreadable: list[Operation] = field(default_factory=list)
    shared: list[tuple[Operation, Operation]] = field(default_factory=list)


def rotate() -> Rotation:
    """Encrypt every token with the first key, and make its fingerprint again with SECRET_KEY."""
    rotation = Rotation()
    for number in list(Operation.objects.order_by("name").values_list("pk", flat=True)):
        while (operation := Operation.objects.filter(pk=number).first()) and not _rotate(operation, rotation):
            pass  # an admin has given it another token meanwhile: that one, then
    return rotation


def _rotate(operation: Operation, rotation: Rotation) -> bool:
    """False, with nothing written, where the stored token is another one by now."""
    encrypted, fingerprint = operation.token_encrypted, operation.token_fingerprint
    try:
        operation.token = operation.token  # out with the key that fits, in with the first
    except TokenUnreadable:
        rotation.unreadable.append(operation)
        return True
    others = Operation.objects.exclude(pk=operation.pk)
    other = others.filter(token_fingerprint=operation.token_fingerprint).first()
    if other:
        operation.token_fingerprint = fingerprint
    try:
        with transaction.atomic():
            written = Operation.objects.filter(pk=operation.pk, token_encrypted=encrypted).update(
                token_encrypted=operation.token_encrypted, token_fingerprint=operation.token_fingerprint
            )
    except IntegrityError:  # another operation was given this token at this moment
        return False
    if not written:
        return False
    rotation.rotated += 1
    rotation.refreshed += operation.token_fingerprint != fingerprint
    if other:
        rotation.shared.append((operation, other))
    return True
