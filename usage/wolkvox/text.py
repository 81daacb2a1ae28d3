"""What text goes through on its way in from the vendor, and the mark on text that goes out to people."""

import unicodedata

# Control, format (bidi marks, zero-width, BOM, soft hyphen) and surrogate characters.
_UNSEEN = frozenset({"Cc", "Cf", "Cs"})
_PIECE = 4096


def _(text: str) -> str:
    """Marks a text for Django's makemessages; it is translated where it is shown."""
    return text


def cleaned(text: str) -> str:
    """The text in NFC, without characters that can't be seen, white space folded to single spaces."""
    return " ".join(unicodedata.normalize("NFC", seen(text)).split())


def seen(text: str) -> str:
    """The text without characters that can't be seen.

    Piece by piece: of a long text, a list of its characters would take many times its memory.
    """
    if text.isprintable():
        return text
    pieces = (text[begin : begin + _PIECE] for begin in range(0, len(text), _PIECE))
    return "".join(piece if piece.isprintable() else "".join(filter(_is_seen, piece)) for piece in pieces)


def _is_seen(character: str) -> bool:
    """White space counts as seen, so that it still parts words."""
    return character.isspace() or unicodedata.category(character) not in _UNSEEN
