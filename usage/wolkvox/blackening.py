"""A secret is blacked out of what the vendor says, however JSON or an address may write it."""

import re
from collections.abc import Iterator

from usage.wolkvox.text import seen

BLACK = "•••"
# Fewer of a secret's first characters, where a text ends, are no news to anybody.
_SHORTEST_BEGINNING = 4

# JSON within JSON within JSON: more is no accident.
_LEVELS = 3
_MOST_BACKSLASHES = 2**_LEVELS - 1
# With so many backslashes, a `u` and four digits.
_LONGEST_CHARACTER = _MOST_BACKSLASHES + 5

_IN_JSON = re.compile(r"\\(?:u([0-9a-f]{4})|(.))", re.IGNORECASE | re.DOTALL)
_IN_ADDRESSES = re.compile(r"%([0-9a-f]{2})", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(r"(\\+(u[0-9a-f]{0,3})?|%[0-9a-f]?)\Z", re.IGNORECASE)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def blackened(text: str, secret: str) -> str:
    """The text with the secret as "•••" wherever it stands: in either case, as it is, escaped, or partly so.

    So is the secret's beginning where the text ends within it, for a body may be cut anywhere. A text that hides the
    secret otherwise, as among characters that can't be seen, is black as a whole. An empty secret changes nothing.
    """
    if not secret:
        return text
    if _holds(text, secret):
        text = re.sub(_written(secret), BLACK, text, flags=re.IGNORECASE)
        if _holds(text, secret):
            return BLACK
    return _end_blackened(text, secret)


def blackened_bytes(body: bytes, secret: str) -> bytes:
    """Like `blackened`, for what should be UTF-8; whatever else is in it stays as it came."""
    text = body.decode("utf-8", "surrogateescape")
    shown = blackened(text, secret)
    return body if shown is text else shown.encode("utf-8", "surrogateescape")


def _holds(text: str, secret: str) -> bool:
    """A pattern finds it in either case without a copy in small letters, which takes three times the memory."""
    plain = re.compile(re.escape(secret), re.IGNORECASE)
    return any(map(plain.search, _forms(text)))


def _forms(text: str) -> Iterator[str]:
    """The text as it is, as an address's, and as JSON's, that of JSON in JSON, and so on."""
    yield seen(text)
    if "%" in text:
        yield _IN_ADDRESSES.sub(lambda escape: chr(int(escape[1], 16)), text)
    for _ in range(_LEVELS):
        if "\\" not in text:
            return
        text = _IN_JSON.sub(_unescaped, text)
        yield seen(text)


def _unescaped(escape: re.Match[str]) -> str:
    code, character = escape.groups()
    return chr(int(code, 16)) if code else _CONTROLS.get(character, character)


def _written(secret: str) -> str:
    """A pattern for the secret, each character as it is or in an escape.

    The numbers of backslashes are bounded, lest a text full of them takes for ever.
    """
    return "".join(map(_written_character, secret))


def _written_character(character: str) -> str:
    codes = "|".join(f"{ord(each):02x}" for each in {character.lower(), character.upper()})
    backslashes = rf"\\{{1,{_MOST_BACKSLASHES}}}"
    return rf"(?:(?:{backslashes})?{re.escape(character)}|(?:{backslashes}u00|%)(?:{codes}))"


def _end_blackened(text: str, secret: str) -> str:
    begin = max(0, len(text) - _LONGEST_CHARACTER * len(secret))
    end = _BROKEN_ESCAPE.sub("", text[begin:])
    forms = [form[-len(secret) :].lower() for form in _forms(end)]
    if not any(secret[:_SHORTEST_BEGINNING].lower() in form for form in forms):
        return text
    for length in range(len(secret) - 1, _SHORTEST_BEGINNING - 1, -1):
        beginning = secret[:length]
        if any(form.endswith(beginning.lower()) for form in forms):
            found = re.search(rf"{_written(beginning)}\Z", end, re.IGNORECASE)
            return text[:begin] + (end[: found.start()] if found else "") + BLACK
    return text
