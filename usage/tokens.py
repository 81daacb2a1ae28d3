"""A token at rest: encrypted under TOKEN_ENCRYPTION_KEYS, told apart by a keyed hash, shown by its last four."""

import re

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac

SHAPE = re.compile(r"[\x21-\x7e]{16,256}")
"""What can stand in a header. The vendor's published tokens are 52 hex digits, but nothing promises that.

A shorter one might be part of a figure or of a name, of which it would be blacked out. Those of 8 and more that were
stored in earlier days are called with and blacked out as any other.
"""


class TokenUnreadable(Exception):
    """No key of TOKEN_ENCRYPTION_KEYS opens this token: it has to be pasted again, or the key brought back."""


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.TOKEN_ENCRYPTION_KEYS])


def encrypt(token: str) -> str:
    """The token under the first key."""
    return _keys().encrypt(token.encode()).decode()


def decrypt(encrypted: str) -> str:
    """The token in the clear. Raises TokenUnreadable; never gives back the ciphertext."""
    try:
        return _keys().decrypt(encrypted.encode()).decode()
    except InvalidToken:
        raise TokenUnreadable from None


def fingerprint(token: str) -> str:
    """The same for the same token, and of no use without SECRET_KEY: 64 hex digits."""
    return salted_hmac("usage.token", token, algorithm="sha256").hexdigest()
