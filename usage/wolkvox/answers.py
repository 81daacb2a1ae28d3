"""An answer's bytes become frozen readings, strictly: one bad row refuses the whole answer.

The shape is `vendor-api.md`'s "The call", what is refused stands in `faults.md`.
"""

import datetime
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any, NoReturn

from usage.wolkvox.catalogue import Api, Kind
from usage.wolkvox.errors import AnswerRefused, AnswerTooLarge, AnswerUnreadable, NoData, VendorError, refusal
from usage.wolkvox.text import cleaned

MAX_ROWS = 60_000

_NAME_LENGTH = 200
_DATE_LENGTH = 40
_ITEMS_LENGTH = 40
# Longer texts aren't even cleaned.
_RAW_LENGTH = 4096
_SHOWN_LENGTH = 60

# What a body of MAX_ROWS rows may hold of what the parser makes objects of: a plain row has one brace and
# four commas. Measured with 16 MB bodies made to be the worst (tests/faults/test_memory.py), parsing then adds 260 MB.
_MAX_OBJECTS = MAX_ROWS + 100
_MAX_STRUCTURE = MAX_ROWS * 8

_PLACES = Decimal("0.0001")
# The least amount that needs 12 digits once it is rounded to 4 places.
_BEYOND = Decimal("99999999999.99995")
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")
# No group begins with a zero: "0,125" is an eighth, written with a decimal comma.
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?")
_DURATION = re.compile(r"([0-9]+):([0-5][0-9]):([0-5][0-9])")
_DATES = tuple(
    re.compile(form)
    for form in (
        r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})([ T][0-9]{2}:[0-9]{2}:[0-9]{2})?",
        r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})",
        r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})",
        r"(?P<month>[0-9]{2})-(?P<year>[0-9]{4})",
    )
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One row of an answer. Texts are cleaned; only `operation` and `date` may be empty.

    `items` has 4 places (half up) and at most 11 digits before them; where `is_duration`, it counts seconds.
    `date` is the vendor's, at most 40 characters of it, in the vendor's zone. `day` is known where it holds a
    full date, `month` (its first day) where it holds at least year and month.
    """

    operation: str
    description: str
    items: Decimal
    is_duration: bool
    date: str
    day: datetime.date | None
    month: datetime.date | None


class _Number(str):
    """A bare JSON number as it was written."""

    __slots__ = ()


def parse(body: bytes, api: Api, *, retry_after: datetime.timedelta | None = None) -> tuple[Reading, ...]:
    """The readings of an answer, in its order, rows that say the same once.

    Raises AnswerTooLarge, AnswerUnreadable, NoData (no rows: never zero usage), AnswerRefused (names the row,
    counted from 1), or, for a `code` other than 200, what `errors.refusal` says, with `retry_after`.
    """
    try:
        rows = _rows(body, api, retry_after)
        return _distinct(_reading(row, number, api) for number, row in enumerate(rows, 1))
    except VendorError as error:
        raise error.quoting(body) from None


def data_of(body: bytes, retry_after: datetime.timedelta | None = None) -> Any:
    """What an answer's `data` holds, its numbers as the texts that they were written as.

    Raises AnswerTooLarge, AnswerUnreadable, or, for a `code` other than 200, what `errors.refusal` says, with
    `retry_after`.
    """
    envelope = _loaded(body)
    if not isinstance(envelope, dict):
        raise _unreadable("The answer is not a JSON object.")
    _check_code(envelope, retry_after)
    return envelope.get("data")


def _rows(body: bytes, api: Api, retry_after: datetime.timedelta | None) -> list[Any]:
    rows = data_of(body, retry_after)
    if not isinstance(rows, list):
        raise _unreadable("The answer's data is not a list.")
    if not rows:
        raise NoData(f"The answer for {api.name} has no rows.", http_status=200, code="200")
    if len(rows) > MAX_ROWS:
        raise AnswerTooLarge(f"The answer has {len(rows)} rows, over {MAX_ROWS}.", http_status=200)
    return rows


def _loaded(body: bytes) -> Any:
    """The parsed JSON; its size in memory is bounded before anything is parsed."""
    objects = body.count(b"{")
    if objects > _MAX_OBJECTS or objects + body.count(b"[") + body.count(b",") > _MAX_STRUCTURE:
        raise AnswerTooLarge(f"The answer holds more than {MAX_ROWS} rows can.", http_status=200)
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        problem = "The answer is not UTF-8."
    except RecursionError:
        problem = "The answer is nested too deeply."
    except ValueError as error:
        problem = f"The answer is not JSON: {error}"
    raise _unreadable(problem)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same key twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _check_code(envelope: dict[str, Any], retry_after: datetime.timedelta | None) -> None:
    code = envelope.get("code")
    if not isinstance(code, str):
        raise _unreadable("The answer has no code.")
    if code == "200":
        return
    if not re.fullmatch(r"[0-9]{3}", code):
        raise _unreadable(f"The answer has an unknown code: {_shown(code)}.")
    error, message = _word(envelope, "error"), _word(envelope, "msg")
    raise refusal(int(code), error, message, http_status=200, code=code, retry_after=retry_after)


def _word(envelope: dict[str, Any], field: str) -> str:
    value = envelope.get(field)
    return value if isinstance(value, str) else ""


def _distinct(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Each reading once. Raises AnswerRefused for two figures of one product and date, or of two natures."""
    found: dict[tuple[str, str], Reading] = {}
    are_durations: dict[str, bool] = {}
    for number, reading in enumerate(readings, 1):
        if found.setdefault((reading.description, reading.date), reading) != reading:
            raise _refused(number, f"says otherwise of {_shown(reading.description)} than a row before it")
        if are_durations.setdefault(reading.description, reading.is_duration) != reading.is_duration:
            raise _refused(number, f"mixes durations and numbers for {_shown(reading.description)}")
    return tuple(found.values())


def _reading(row: Any, number: int, api: Api) -> Reading:
    if not isinstance(row, dict):
        raise _refused(number, f"is {_shown(row)}, not an object")
    items, is_duration = _items(row, number)
    if is_duration and api.kind is not Kind.USAGE:
        raise _refused(number, f"has a duration, {_shown(row['items'])}, where {api.name} counts {api.unit}")
    description = _name(row, "description", number)
    if not description:
        raise _refused(number, "has an empty description")
    when = _text(row, "date", number)[:_DATE_LENGTH].rstrip()
    day, month = _day_and_month(when)
    return Reading(_name(row, "operation", number), description, items, is_duration, when, day, month)


def _name(row: dict[str, Any], field: str, number: int) -> str:
    name = _text(row, field, number)
    if len(name) > _NAME_LENGTH:
        raise _refused(number, f"has a {field} over {_NAME_LENGTH} characters: {_shown(name)}")
    return name


def _text(row: dict[str, Any], field: str, number: int) -> str:
    value = _member(row, field, number)
    if type(value) is not str:
        raise _refused(number, f"has {_shown(value)} as {field}, not a text")
    if len(value) > _RAW_LENGTH:
        raise _refused(number, f"has a {field} over {_RAW_LENGTH} characters: {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refused(number, f"has half a character in its {field}: {_shown(value)}") from None
    return _cleaned(value)


def _items(row: dict[str, Any], number: int) -> tuple[Decimal, bool]:
    """The amount, and whether it was a duration and is in seconds now."""
    value = _member(row, "items", number)
    if not isinstance(value, str):
        raise _refused(number, f"has {_shown(value)} as items, not a number")
    amount, is_duration = _amount(value)
    if amount is None:
        raise _refused(number, f"has {_shown(value)} as items, which is no plain number")
    if amount >= _BEYOND:
        raise _refused(number, f"has {_shown(value)} as items, over 11 digits")
    return amount.quantize(_PLACES, ROUND_HALF_UP), is_duration


def _amount(text: str) -> tuple[Decimal | None, bool]:
    if len(text) > _ITEMS_LENGTH:
        return None, False
    if duration := _DURATION.fullmatch(text):
        hours, minutes, seconds = map(int, duration.groups())
        return Decimal(hours * 3600 + minutes * 60 + seconds), True
    if _PLAIN.fullmatch(text) or _GROUPED.fullmatch(text):
        return Decimal(text.replace(",", "")), False
    return None, False


@lru_cache(maxsize=4096)
def _day_and_month(text: str) -> tuple[datetime.date | None, datetime.date | None]:
    """The full date and the first of its month, as far as the text holds them; neither if impossible."""
    for form in _DATES:
        if found := form.fullmatch(text):
            parts = {name: int(digits) for name, digits in found.groupdict().items()}
            try:
                first = datetime.date(parts["year"], parts["month"], 1)
                return (first.replace(day=parts["day"]) if "day" in parts else None), first
            except ValueError:
                return None, None
    return None, None


_cleaned = lru_cache(maxsize=4096)(cleaned)


def _member(row: dict[str, Any], field: str, number: int) -> Any:
    if field not in row:
        raise _refused(number, f"has no {field}")
    return row[field]


def _shown(value: Any) -> str:
    """What stood in the answer, short enough for a sentence."""
    if isinstance(value, _Number):
        return value[:_SHOWN_LENGTH]
    if isinstance(value, str):
        return f"“{value[:_SHOWN_LENGTH]}…”" if len(value) > _SHOWN_LENGTH else f"“{value}”"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value)


def _unreadable(problem: str) -> AnswerUnreadable:
    return AnswerUnreadable(problem, http_status=200)


def _refused(number: int, problem: str) -> AnswerRefused:
    return AnswerRefused(f"Row {number} {problem}.", http_status=200, code="200")
