"""What text goes through on its way in from the vendor, and the mark on text that goes out to people."""

import re
import unicodedata
from typing import AnyStr

# Control, format (bidi marks, zero-width, BOM, soft hyphen) and surrogate characters.
_UNSEEN = frozenset({"Cc", "Cf", "Cs"})
_BLACK = "•••"
# Fewer of a secret's first characters, where a text ends, are no news to anybody.
_SHORTEST_BEGINNING = 4


def _(text: str) -> str:
    """Marks a text for Django's makemessages; it is translated where it is shown."""
    return text


def cleaned(text: str) -> str:
    """The text in NFC, without characters that can't be seen, white space folded to single spaces."""
    if not text.isprintable():
        text = "".join(filter(_is_seen, text))
    return " ".join(unicodedata.normalize("NFC", text).split())


def blackened(text: str, secret: str) -> str:
    """The text with the secret, in either case, as "•••" wherever it stands. An empty one changes nothing.

    So is the secret's beginning where the text ends within it, for a body may be cut anywhere.
    """
    if not secret:
        return text
    return _end_blackened(re.sub(re.escape(secret), _BLACK, text, flags=re.IGNORECASE), secret, _BLACK)


def blackened_bytes(body: bytes, secret: str) -> bytes:
    """Like `blackened`, for UTF-8 bytes and a non-empty ASCII secret."""
    raw, black = secret.encode("ascii"), _BLACK.encode()
    return _end_blackened(re.sub(re.escape(raw), black, body, flags=re.IGNORECASE), raw, black)


def _end_blackened(text: AnyStr, secret: AnyStr, black: AnyStr) -> AnyStr:
    for length in range(len(secret) - 1, _SHORTEST_BEGINNING - 1, -1):
        if text[-length:].lower() == secret[:length].lower():
            return text[:-length] + black
    return text


def _is_seen(character: str) -> bool:
    """White space counts as seen, so that it still parts words."""
    return character.isspace() or unicodedata.category(character) not in _UNSEEN
