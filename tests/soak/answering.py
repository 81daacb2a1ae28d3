"""What comes back to a call: good answers in all their dress, and every way of the vendor that `faults.md` names.

Each fault that carries figures carries wrong ones, so that whatever is kept of it shows. Each says under which outcome
its poll must stand. Many repeat the token, for it must be nowhere afterwards.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from enum import Enum, auto
from random import Random
from typing import Any

from usage.models import GOOD

from .accounts import UNIT, Account, Shown, written

Row = dict[str, Any]


class Way(Enum):
    SENT = auto()
    HELD = auto()  # nothing comes until the caller goes
    DRIPPED = auto()  # a byte now and then, until the caller goes
    CUT = auto()  # half of it, then the connection closes
    RESET = auto()
    NOT_HTTP = auto()


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    way: Way = Way.SENT
    outcome: str = GOOD
    is_under_another_name: bool = False


@dataclass(frozen=True)
class Asked:
    """A call, as far as its answer depends on it."""

    account: Account
    api: str
    moment: datetime
    rows: Sequence[Shown]
    elsewhere: str  # the address of another host, which must never hear of the token
    chance: Random = field(repr=False)

    @property
    def token(self) -> str:
        return self.account.token

    def wrong(self) -> list[Row]:
        """Rows that nobody may ever believe."""
        return [row_of(self.account.name, shown, 3 * shown.amount + 777 * UNIT) for shown in self.rows]


def row_of(operation: str, shown: Shown, amount: int) -> Row:
    return {"operation": operation, "description": shown.description, "items": written(amount), "date": shown.date}


def envelope(data: Any, **others: Any) -> bytes:
    message = {"code": 200, "error": None, "msg": "Information found for the current month", "data": data}
    return as_php(json.dumps(message | others, ensure_ascii=False)).encode()


def as_php(text: str) -> str:
    """PHP's JSON escapes every slash."""
    return text.replace("/", r"\/")


def in_hex(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


# Good ones


def good(asked: Asked) -> Answer:
    """A true answer, often in a dress that must not matter."""
    data = [row_of(asked.account.name, shown, shown.amount) for shown in asked.rows]
    dress = asked.chance.choice(DRESSES) if asked.chance.random() < 0.3 else plain
    return dress(asked, data)


def plain(asked: Asked, data: list[Row]) -> Answer:
    return Answer(envelope(data))


def with_more_fields(asked: Asked, data: list[Row]) -> Answer:
    return Answer(envelope([row | {"campaign": "<script>alert(1)</script>"} for row in data], total=len(data)))


def with_twins(asked: Asked, data: list[Row]) -> Answer:
    return Answer(envelope([*data, data[0]]))


def with_bare_numbers(asked: Asked, data: list[Row]) -> Answer:
    text = envelope([row | {"items": f"#{row['items']}#"} for row in data]).replace(b'"#', b"").replace(b'#"', b"")
    return Answer(text)


def with_grouped_digits(asked: Asked, data: list[Row]) -> Answer:
    def grouped(items: str) -> str:
        whole, dot, rest = items.partition(".")
        return f"{int(whole):,}{dot}{rest}"

    return Answer(envelope([row | {"items": grouped(row["items"])} for row in data]))


def with_code_as_text(asked: Asked, data: list[Row]) -> Answer:
    return Answer(envelope(data, code="200", msg=f"{len(data)} records were found"))


def with_unseen_characters(asked: Asked, data: list[Row]) -> Answer:
    return Answer(envelope([row | {"description": f"\u202e{row['description']}\x00\x07"} for row in data]))


def with_the_token(asked: Asked, data: list[Row]) -> Answer:
    return Answer(envelope(data, msg=f"found for {asked.token} and {asked.token.upper()}"))


def with_the_token_in_hex(asked: Asked, data: list[Row]) -> Answer:
    return Answer(envelope(data, msg="TOKEN").replace(b"TOKEN", in_hex(asked.token).encode()))


def with_the_token_in_a_header(asked: Asked, data: list[Row]) -> Answer:
    """That nobody can read, for the blank in its name; a library may complain of it, and quote it."""
    return Answer(envelope(data), headers=(("wolkvox-token ", asked.token),))


def without_a_type(asked: Asked, data: list[Row]) -> Answer:
    return Answer(b"\xef\xbb\xbf" + envelope(data), content_type="")


def under_another_name(asked: Asked, data: list[Row]) -> Answer:
    """What a wrong token would bring. The figures can't be told from right ones: that it is flagged is what counts."""
    renamed = asked.account.number % 4 == 3 and asked.chance.random() < 0.2
    named = [row | {"operation": "Otra operación"} for row in data] if renamed else data
    return Answer(envelope(named), is_under_another_name=renamed)


DRESSES = (
    with_more_fields,
    with_twins,
    with_bare_numbers,
    with_grouped_digits,
    with_code_as_text,
    with_unseen_characters,
    with_the_token,
    with_the_token_in_hex,
    with_the_token_in_a_header,
    without_a_type,
    under_another_name,
)


# Faults


def refusal(
    status: int, message: str, outcome: str, *headers: tuple[str, str], http_status: int | None = None
) -> Maker:
    def make(asked: Asked) -> Answer:
        body = envelope([], code=status, error="ERROR", msg=f"{message} {asked.token}".strip())
        return Answer(body, http_status or status, headers=headers, outcome=outcome)

    return make


def silence(asked: Asked) -> Answer:
    return Answer(way=Way.HELD, outcome="timed_out")


def drip(asked: Asked) -> Answer:
    return Answer(envelope(asked.wrong()), way=Way.DRIPPED, outcome="timed_out")


def cut_short(asked: Asked) -> Answer:
    return Answer(envelope(asked.wrong(), msg=asked.token), way=Way.CUT, outcome="answer_unreadable")


def reset(asked: Asked) -> Answer:
    return Answer(way=Way.RESET, outcome="not_reached")


def not_http(asked: Asked) -> Answer:
    return Answer(asked.token.encode(), way=Way.NOT_HTTP, outcome="answer_unreadable")


def page(asked: Asked) -> Answer:
    body = f"<!doctype html><title>wolkvox</title><p>Welcome {asked.token.upper()}".encode()
    return Answer(body, content_type=asked.chance.choice(("text/html", "application/json")), outcome=UNREADABLE)


def wrong_type(asked: Asked) -> Answer:
    return Answer(envelope(asked.wrong()), content_type="text/csv", outcome=UNREADABLE)


def no_data(asked: Asked) -> Answer:
    return Answer(envelope([], msg=asked.token), outcome="no_data")


def null_data(asked: Asked) -> Answer:
    body = envelope(None) if asked.chance.random() < 0.5 else json.dumps({"code": 200, "rows": asked.wrong()}).encode()
    return Answer(body, outcome=UNREADABLE)


def bad_code(asked: Asked) -> Answer:
    return Answer(envelope(asked.wrong(), code=500, error=asked.token), outcome="server_failed")


def gzip_bomb(asked: Asked) -> Answer:
    return Answer(BOMB, headers=(("Content-Encoding", "gzip"),), outcome=UNREADABLE)


def too_heavy(asked: Asked) -> Answer:
    """Announced as over 256 MB."""
    return Answer(envelope(asked.wrong()), headers=(("Content-Length", str(300 * 2**20)),), outcome="answer_too_large")


def too_many_rows(asked: Asked) -> Answer:
    row = json.dumps(asked.wrong()[0])
    return Answer(f'{{"code": 200, "data": [{",".join([row] * 60_200)}]}}'.encode(), outcome="answer_too_large")


def too_deep(asked: Asked) -> Answer:
    return Answer(b'{"code": 200, "data": ' + b"[" * 20_000, outcome=UNREADABLE)


def same_key_twice(asked: Asked) -> Answer:
    return Answer(envelope(asked.wrong()).replace(b'"code": 200', b'"code": 200, "code": 200'), outcome=UNREADABLE)


def redirect(asked: Asked) -> Answer:
    """To another host, that would gladly answer."""
    where = f"{asked.elsewhere}/{asked.token}"
    status = asked.chance.choice((301, 302, 303, 307, 308))
    return Answer(b"", status, headers=(("Location", where),), outcome="redirected")


def last_row(**change: Any) -> Maker:
    """All rows but the last could be believed."""

    def make(asked: Asked) -> Answer:
        *others, last = asked.wrong()
        kept = {name: value for name, value in (last | change).items() if value is not ...}
        return Answer(envelope([*others, kept]), outcome="answer_refused")

    return make


def the_token_in_its_rows(asked: Asked) -> Answer:
    """In the last it is what stands as items, so that the refusal quotes it."""
    *others, last = asked.wrong()
    body = envelope([*others, last | {"description": "TOKEN", "items": "TOKEN"}])
    token = asked.chance.choice((as_php, in_hex))(asked.token)
    return Answer(body.replace(b"TOKEN", token.encode()), outcome="answer_refused")


def half_a_character(asked: Asked) -> Answer:
    body = envelope([row | {"description": "HALF"} for row in asked.wrong()])
    return Answer(body.replace(b"HALF", rb"\ud800"), outcome="answer_refused")


def differing_twins(asked: Asked) -> Answer:
    data = asked.wrong()
    return Answer(envelope([*data, data[0] | {"items": "1"}]), outcome="answer_refused")


def of_last_month(asked: Asked) -> Answer:
    """What a cache kept for too long."""
    long_ago = asked.moment - timedelta(days=45)
    data = [row | {"date": f"{long_ago:%Y-%m-%d}"} for row in asked.wrong()]
    return Answer(envelope(data), outcome="answer_refused")


def later(asked: Asked) -> Answer:
    """429, with a date instead of seconds."""
    at = format_datetime(asked.moment + timedelta(minutes=3), usegmt=True)
    return refusal(429, "TOO MANY REQUESTS", "rate_limited", ("Retry-After", at))(asked)


Maker = Callable[[Asked], Answer]
UNREADABLE = "answer_unreadable"
BOMB = gzip.compress(b" " * 8 * 2**20)
NO_NUMBERS = ("1.234,5", "12 ", "1_000", "１２３", "NaN", "1e400", "-5", "", "3.64 %", "0,125", "Infinity", "0x1F", "½")

FAULTS: dict[str, tuple[int, Maker]] = {
    "silence": (1, silence),
    "drip": (1, drip),
    "cut short": (20, cut_short),
    "reset": (20, reset),
    "not HTTP": (10, not_http),
    "a page": (20, page),
    "wrong type": (20, wrong_type),
    "no data": (20, no_data),
    "null data": (20, null_data),
    "bad code": (20, bad_code),
    "gzip bomb": (5, gzip_bomb),
    "too heavy": (10, too_heavy),
    "too many rows": (1, too_many_rows),
    "too deep": (5, too_deep),
    "a key twice": (10, same_key_twice),
    "redirect": (40, redirect),
    "differing twins": (20, differing_twins),
    "of last month": (20, of_last_month),
    "a date instead of seconds": (10, later),
    "no items": (10, last_row(items=...)),
    "no description": (10, last_row(description=...)),
    "no date": (10, last_row(date=...)),
    "true items": (10, last_row(items=True)),
    "a list as name": (10, last_row(description=["Email"])),
    "an over-long name": (10, last_row(description="x" * 5000)),
    "an empty name": (10, last_row(description="")),
    "the token in its rows": (20, the_token_in_its_rows),
    "half a character": (10, half_a_character),
    "quota": (10, refusal(403, "TOKEN LIMIT EXCEEDED", "quota_exceeded")),
    "quota in the body": (10, refusal(403, "TOKEN LIMIT EXCEEDED", "quota_exceeded", http_status=200)),
    "too many at once": (
        10,
        refusal(403, "EXCEEDS THE LIMIT OF SIMULTANEOUS REQUESTS PER TOKEN (2)", "too_many_at_once"),
    ),
    "maintenance": (20, refusal(403, "BACKUP UNDER WAY", "maintenance")),
    "bad token": (10, refusal(403, "PLEASE VALIDATE TOKEN", "token_refused")),
    "unauthorised": (10, refusal(401, "PLEASE ENTER THE WOLKVOX-TOKEN", "token_refused")),
    "no such API": (5, refusal(400, "THE API YOU WANT TO CONSULT DOES NOT EXIST", "request_refused")),
    "not found": (10, refusal(404, "THE DATE RANGE IS NOT VALID", "no_data")),
    "too often": (10, refusal(429, "TOO MANY REQUESTS", "rate_limited", ("Retry-After", "120"))),
    "server error": (20, refusal(500, "INTERNAL SERVER ERROR", "server_failed")),
    "unavailable": (20, refusal(503, "SERVICE UNAVAILABLE", "server_failed")),
    **{f"items {text!r}": (5, last_row(items=text)) for text in NO_NUMBERS},
}


def fault(asked: Asked) -> tuple[str, Answer]:
    """One of the faults, by weight: the slow ones seldom, for each costs a deadline."""
    names = list(FAULTS)
    (name,) = asked.chance.choices(names, [FAULTS[each][0] for each in names])
    return name, FAULTS[name][1](asked)
