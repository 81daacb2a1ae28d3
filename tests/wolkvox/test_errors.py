import json
import pickle
import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

import pytest

from usage.wolkvox import errors
from usage.wolkvox.blackening import BLACK, blackened
from usage.wolkvox.errors import (
    OUTCOMES,
    AnswerUnreadable,
    NoData,
    QuotaExceeded,
    RateLimited,
    RequestRefused,
    ServerFailed,
    TimedOut,
    TokenRefused,
    TooManyAtOnce,
    UnderMaintenance,
    VendorError,
    refusal,
)

TOKEN = "0123456789abcdef" * 3 + "0123"


def test_each_outcome_of_the_docstrings_tree_has_its_class() -> None:
    drawn = re.findall(r"─ (\w+) +([a-z_]+)  ", errors.__doc__ or "")
    assert {outcome: kind.__name__ for outcome, kind in OUTCOMES.items()} == {outcome: name for name, outcome in drawn}
    assert len(OUTCOMES) == 15


@pytest.mark.parametrize("kind", OUTCOMES.values(), ids=OUTCOMES)
def test_each_class_says_in_words_what_happened_and_what_next(kind: type[VendorError]) -> None:
    assert re.fullmatch(r"[a-z_]{1,32}", kind.outcome)
    assert 1 <= len(kind.title.split()) <= 4
    assert kind.advice.endswith(".")
    assert "by itself" not in kind.advice, "passes says that, in one sentence for all"


def test_only_a_bad_token_and_a_bad_request_wait_for_an_admin() -> None:
    assert {kind for kind in OUTCOMES.values() if not kind.passes} == {TokenRefused, RequestRefused}


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "THE API YOU WANT TO CONSULT DOES NOT EXIST", RequestRefused),
        (401, "PLEASE ENTER THE WOLKVOX-TOKEN", TokenRefused),
        (403, "TOKEN LIMIT EXCEEDED", QuotaExceeded),
        (403, "  Token   limit\u200b exceeded!", QuotaExceeded),
        (403, "EXCEEDS THE LIMIT OF SIMULTANEOUS REQUESTS PER TOKEN (5)", TooManyAtOnce),
        (403, "please validate token", TokenRefused),
        (403, "", UnderMaintenance),
        (403, "SERVER BACKUP", UnderMaintenance),
        (404, "TOKEN LIMIT EXCEEDED", NoData),
        (410, "", RequestRefused),
        (429, "", RateLimited),
        (500, "TOKEN LIMIT EXCEEDED", ServerFailed),
        (599, "", ServerFailed),
        (100, "", AnswerUnreadable),
        (204, "", AnswerUnreadable),
        (999, "", AnswerUnreadable),
    ],
)
def test_a_refusal_is_told_by_its_status_and_a_403_by_its_message(
    status: int, message: str, kind: type[VendorError]
) -> None:
    assert type(refusal(status, "FORBIDDEN", message)) is kind


def test_a_refusal_keeps_what_the_vendor_said() -> None:
    error = refusal(403, "FORBIDDEN", "TOKEN LIMIT EXCEEDED", retry_after=timedelta(seconds=5))
    assert error.message == str(error) == "FORBIDDEN: TOKEN LIMIT EXCEEDED"
    assert (error.http_status, error.code) == (403, "403")
    assert error.retry_after == timedelta(seconds=5)


def test_a_refusal_without_a_word_names_its_status() -> None:
    assert refusal(503, "", "").message == "The vendor answered 503."


def test_a_code_in_the_body_keeps_its_http_status_apart() -> None:
    error = refusal(403, "", "", http_status=200, code="403")
    assert (error.http_status, error.code) == (200, "403")


def test_texts_are_cleaned_of_what_cannot_be_stored_or_shown() -> None:
    error = TimedOut("a\x00b\r\nc \u202edcba\ud800", excerpt="\ufeff<b>\x1b[31m")
    assert error.message == "ab c dcba"
    assert error.excerpt == "<b>[31m"


def test_texts_are_shortened() -> None:
    error = TimedOut("m" * 10_000, excerpt="e" * 10_000, code="9" * 100)
    assert (len(error.message), len(error.excerpt), len(error.code)) == (500, 300, 20)
    assert error.message.endswith("…")


@pytest.mark.parametrize("written", [TOKEN, TOKEN.upper(), TOKEN[:20] + "\u200b" + TOKEN[20:]])
def test_the_token_is_blacked_out_however_it_is_written(written: str) -> None:
    error = TimedOut(f"got {written}.", excerpt=f"{written}{written}", code=written, token=TOKEN)
    assert (error.message, error.excerpt, error.code) == ("got •••.", "••••••", "•••")
    assert TOKEN not in repr(error) + repr(vars(error))


SIGNS = 'q/W+x"y\\z%k&=Aa0123456789'
"""A token of signs that JSON and addresses escape."""


def hexed(character: str) -> str:
    return f"\\u{ord(character):04x}"


WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "as JSON": lambda token: json.dumps(token)[1:-1],
    "as PHP writes JSON": lambda token: json.dumps(token)[1:-1].replace("/", r"\/"),
    "in hex": lambda token: "".join(map(hexed, token)),
    "in hex, in capitals": lambda token: "".join(map(hexed, token.upper())).upper().replace("U", "u"),
    "some in hex": lambda token: "".join(
        json.dumps(each)[1:-1] if number % 3 else hexed(each) for number, each in enumerate(token)
    ),
    "as JSON in JSON": lambda token: json.dumps(json.dumps(token)[1:-1].replace("/", r"\/"))[1:-1].replace("/", r"\/"),
    "in an address": lambda token: quote(token, safe=""),
}


@pytest.mark.parametrize("token", [TOKEN, SIGNS], ids=["hex", "signs"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_token_is_blacked_out_in_every_escape(token: str, way: Callable[[str], str]) -> None:
    written = way(token)
    assert blackened(f"1/2 \\ é {written} \u00e9\n{written}", token) == f"1/2 \\ é {BLACK} \u00e9\n{BLACK}"
    for length in range(len(way(token[:5])), len(written)):
        cut = blackened(f"1/2 \\ é {written[:length]}", token)
        assert cut == f"1/2 \\ é {BLACK}", written[:length]


@pytest.mark.parametrize(
    "disguised",
    [
        "\u200b".join(TOKEN),
        r"\u200b".join(TOKEN),
        r"\b".join(TOKEN),
        "".join(rf"\u005cu{ord(each):04x}" for each in TOKEN),
    ],
    ids=["unseen characters", "unseen characters in hex", "backspaces", "escaped backslashes"],
)
def test_a_text_that_hides_the_token_is_black_as_a_whole(disguised: str) -> None:
    assert blackened(f"got {disguised}.", TOKEN) == BLACK


def test_what_is_not_the_token_stays_as_it_came() -> None:
    text = r'{"date": "23\/11\/2026", "name": "Bogot\u00e1 \\\\ 7b22", "share": "34.64 %20"}' + "\n\u200b"
    assert blackened(text, TOKEN) is text
    assert blackened(text, "") is text


def test_a_cut_leaves_no_part_of_the_token() -> None:
    error = TimedOut("m" * 490 + TOKEN, excerpt="e" * 290 + TOKEN, token=TOKEN)
    assert TOKEN[:4] not in error.message + error.excerpt


@pytest.mark.parametrize("cut", [4, 30, 51])
def test_a_token_that_the_text_ends_within_leaves_no_part_of_it(cut: int) -> None:
    error = TimedOut(f"got {TOKEN[:cut].upper()}", excerpt="x" * 9 + TOKEN[:cut], token=TOKEN)
    assert (error.message, error.excerpt) == ("got •••", "xxxxxxxxx•••")
    body = b" " * (4096 - cut) + TOKEN.encode()
    assert TimedOut().quoting(body, TOKEN).excerpt == "•••"


def test_an_error_quotes_the_beginning_of_a_body() -> None:
    assert TimedOut().quoting(b"<html>\xff" + b"x" * 10_000_000).excerpt.startswith("<html>\ufffdxxx")


def test_an_error_survives_a_trip_to_another_process() -> None:
    error = refusal(429, "", "SLOWER", retry_after=timedelta(seconds=3), excerpt="{}")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), vars(again)) == (RateLimited, vars(error))
