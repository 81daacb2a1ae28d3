"""Tokens at rest: what is stored opens with the right key alone, and shows nothing."""

from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.conftest import token_of
from usage import tokens
from usage.models import Operation

TOKEN = token_of("Bogotá")


def key() -> str:
    return Fernet.generate_key().decode()


def test_a_token_comes_back_as_it_was() -> None:
    stored = tokens.encrypt(TOKEN)
    assert TOKEN not in stored
    assert tokens.decrypt(stored) == TOKEN
    assert tokens.encrypt(TOKEN) != stored  # nothing can be learned by comparing


def test_the_first_key_encrypts_and_the_others_still_open(settings: Any) -> None:
    old, new = key(), key()
    settings.TOKEN_ENCRYPTION_KEYS = [old]
    stored = tokens.encrypt(TOKEN)
    settings.TOKEN_ENCRYPTION_KEYS = [new, old]
    assert tokens.decrypt(stored) == TOKEN
    settings.TOKEN_ENCRYPTION_KEYS = [new]
    assert tokens.decrypt(Fernet(new).encrypt(TOKEN.encode()).decode()) == TOKEN
    with pytest.raises(tokens.TokenUnreadable):
        tokens.decrypt(stored)


@pytest.mark.parametrize("stored", ["", "x", TOKEN, "gAAAAAB" + "x" * 93, "é" * 100])
def test_what_no_key_opens_is_an_error_that_quotes_nothing(stored: str) -> None:
    with pytest.raises(tokens.TokenUnreadable) as caught:
        tokens.decrypt(stored)
    assert str(caught.value) == ""
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_fingerprint_is_the_same_for_the_same_token_and_nothing_without_the_secret_key(settings: Any) -> None:
    settings.SECRET_KEY = "one"
    mark = tokens.fingerprint(TOKEN)
    assert mark == tokens.fingerprint(TOKEN)
    assert len(mark) == 64
    assert mark != tokens.fingerprint(TOKEN.upper())
    settings.SECRET_KEY = "another"
    assert mark != tokens.fingerprint(TOKEN)


@pytest.mark.parametrize("token", [TOKEN, "sixteen_signs_+/", "~" * 256])
def test_what_can_be_a_token(token: str) -> None:
    assert tokens.SHAPE.fullmatch(token)


@pytest.mark.parametrize(
    "token",
    ["", "fifteen_signs_+", "x" * 257, "two words of it", f"{TOKEN}\n", f"{TOKEN}\r\nHost: x", "ñandú-ñandú", "\0" * 9],
)
def test_what_can_not_be_a_token(token: str) -> None:
    assert not tokens.SHAPE.fullmatch(token)


def test_an_operation_shows_its_token_to_who_asks_for_it_alone() -> None:
    operation = Operation(name="Bogotá")
    operation.token = TOKEN
    assert operation.token == TOKEN
    assert TOKEN not in f"{operation!r} {operation} {vars(operation)}"
