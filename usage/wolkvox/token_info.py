"""What `token_info` answers: the vendor's limit of calls a day, and how many of them are used (`vendor-api.md`)."""

import re
from dataclasses import dataclass
from typing import Any

from usage.wolkvox.answers import data_of
from usage.wolkvox.errors import AnswerRefused, VendorError

_COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """`limit` calls a day; `used` of them today by all tokens of the operation, in the vendor's own day."""

    limit: int
    used: int


def parse(body: bytes) -> TokenInfo:
    """Takes one object, alone or in a list. Raises what `answers.data_of` raises, and AnswerRefused."""
    try:
        data = data_of(body)
        row = data[0] if isinstance(data, list) and len(data) == 1 else data
        used = max(_count(row, "token_use_today"), _count(row, "all_token_today"))
        limit = _count(row, "token_limit")
        if not limit:
            raise _refused("token_limit is 0")
        return TokenInfo(limit, used)
    except VendorError as error:
        raise error.quoting(body) from None


def _count(row: Any, name: str) -> int:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not _COUNT.fullmatch(value):
        raise _refused(f"{name} is no plain number")
    return int(value)


def _refused(problem: str) -> AnswerRefused:
    return AnswerRefused(f"The answer about the token can't be accepted: {problem}.", http_status=200, code="200")
