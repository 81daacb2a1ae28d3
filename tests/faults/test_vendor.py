"""Each fault of the vendor (docs/faults.md), from its socket to the database and on to the next good poll."""

from __future__ import annotations

import gc
import gzip
import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from weakref import WeakSet

import pytest

from tests.conftest import Row, body_of
from tests.wolkvox.conftest import Script, VendorFactory, response, start
from usage.collecting import pacing, polling
from usage.collecting.claims import CLAIM_LASTS, THE_VENDOR, TokenInUse
from usage.models import Answer, DailyUsage, Feed, Gap, MonthlyUsage, Operation, Poll, Product, Snapshot
from usage.wolkvox.answers import MAX_ROWS
from usage.wolkvox.client import BillingClient, Reply
from usage.wolkvox.errors import OUTCOMES

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
TOKEN = "7b2274" + "0123456789abcdef" * 2 + "fedcba98765432"
SOON, SELDOM, AT_A_TICK = timedelta(minutes=1), timedelta(hours=1), timedelta(seconds=15)
ON_ITS_GRID = None
A_LONG_TIME = 20.0

EMAIL = {"operation": "Bogotá", "description": "Email", "items": "12", "date": "2026-11-23"}


@dataclass(frozen=True)
class Fault:
    """What the vendor does, the outcome, and when it is tried again.

    With `is_under_way` the vendor may still be at work on the call, and nobody calls until it must have let go.
    """

    script: bytes | Callable[[], Script]
    outcome: str
    again: timedelta | None = ON_ITS_GRID
    is_under_way: bool = False
    deadline: float = 30.0


# What a vendor may say. Each repeats the token where it can, so that a test can miss it.


def said(status: str, message: str, *headers: str, code: int | str | None = None) -> bytes:
    """An error, its code in the body the HTTP status's own unless another is given."""
    number, _, phrase = status.partition(" ")
    body: dict[str, object] = {
        "code": code or number,
        "error": phrase.upper(),
        "msg": message,
        "data": [],
        "you": TOKEN.upper(),
    }
    return response(json.dumps(body).encode(), status, *headers)


def in_body(code: int | str, message: str, *headers: str) -> bytes:
    return said("200 OK", message, *headers, code=code)


def envelope(**members: object) -> bytes:
    return response(json.dumps({"you": TOKEN, "code": 200, "error": None, "msg": "found"} | members).encode())


def rows(*data: object) -> bytes:
    return envelope(data=[EMAIL, *data])


def row(**fields: object) -> bytes:
    return rows(EMAIL | {"description": "Facebook", "note": TOKEN} | fields)


def raw(body: bytes, *headers: str) -> bytes:
    return response(body, "200 OK", *headers)


def silence() -> Script:
    yield A_LONG_TIME


def dripping(head: bytes, drop: bytes) -> Callable[[], Script]:
    def drip() -> Script:
        yield head
        for _ in range(2000):
            yield drop
            yield 0.01

    return drip


def flood(head: bytes, piece: bytes) -> Callable[[], Script]:
    def pour() -> Script:
        yield head
        for _ in range(2**28 // len(piece) + 1):
            yield piece

    return pour


def gzip_bomb() -> bytes:
    return gzip.compress(b" " * 2**26)


CUT = f'{{"code": 200, "you": "{TOKEN}", "data": [{{"operation": "{TOKEN[:20]}'.encode()
NO_FIELD = {name: value for name, value in EMAIL.items() if name != "items"}
HTML = f"<!doctype html><h1>Welcome {TOKEN}</h1>".encode()

FAULTS: dict[str, Fault] = {
    # Too late
    "time-out": Fault(silence, "timed_out", SOON, is_under_way=True, deadline=1.5),
    "slow drip in the headers": Fault(
        dripping(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"."), "timed_out", SOON, is_under_way=True, deadline=1.5
    ),
    "slow drip in the body": Fault(
        dripping(response(b"", length=9999), b" "), "timed_out", SOON, is_under_way=True, deadline=1.5
    ),
    # No answer
    "closed without a word": Fault(b"", "not_reached", SOON, is_under_way=True),
    "body cut short": Fault(response(CUT, length=9999), "answer_unreadable", is_under_way=True),
    "body cut within a chunk": Fault(
        start("Transfer-Encoding: chunked") + b"fff\r\n" + CUT, "answer_unreadable", is_under_way=True
    ),
    "body cut at its end, as the length says": Fault(raw(CUT), "answer_unreadable"),
    "not HTTP": Fault(b"SSH-2.0-OpenSSH_9.2\r\n", "answer_unreadable", is_under_way=True),
    "HTML with status 200": Fault(start("Content-Type: text/html") + HTML, "answer_unreadable"),
    "HTML marked as JSON": Fault(raw(HTML), "answer_unreadable"),
    "wrong content type": Fault(start("Content-Type: text/plain") + body_of([("Email", "9")]), "answer_unreadable"),
    "not UTF-8": Fault(raw(body_of([("M\udce1laga", "1")]).replace(b"\\udce1", b"\xe1")), "answer_unreadable"),
    "no code": Fault(raw(b'{"data": []}'), "answer_unreadable"),
    "a code that is none": Fault(in_body("2OO", "found"), "answer_unreadable"),
    "data null": Fault(envelope(data=None), "answer_unreadable"),
    "data missing": Fault(envelope(), "answer_unreadable"),
    "data of another type": Fault(envelope(data={"0": EMAIL}), "answer_unreadable"),
    "no rows": Fault(envelope(data=[]), "no_data", SOON),
    # Too much
    "gzip bomb": Fault(raw(gzip_bomb(), "Content-Encoding: gzip"), "answer_unreadable"),
    "gzip bomb without a mark": Fault(raw(gzip_bomb()), "answer_unreadable"),
    "over 256 MB, announced": Fault(response(CUT, length=2**28 + 1), "answer_too_large", is_under_way=True),
    "over 256 MB, streamed": Fault(flood(start(), b" " * 2**18), "answer_too_large", is_under_way=True),
    "over 256 MB in chunks": Fault(
        flood(start("Transfer-Encoding: chunked"), b"40000\r\n" + b" " * 2**18 + b"\r\n"),
        "answer_too_large",
        is_under_way=True,
    ),
    "over 60,000 rows": Fault(
        raw(body_of([(f"Product {number}", "1") for number in range(MAX_ROWS + 1)])), "answer_too_large"
    ),
    "millions of objects": Fault(raw(b'{"code": 200, "data": [' + b"{}," * 2**20 + b"{}]}"), "answer_too_large"),
    "deep nesting": Fault(raw(b'{"code": 200, "data": ' + b"[" * 50_000), "answer_unreadable"),
    "deep nesting, closed": Fault(
        raw(b'{"code": 200, "data": ' + b"[" * 9_000 + b"]" * 9_000 + b"}"), "answer_unreadable"
    ),
    "duplicate keys": Fault(raw(b'{"code": 200, "data": [], "data": []}'), "answer_unreadable"),
    "duplicate keys in a row": Fault(
        raw(b'{"code": 200, "data": [{"items": "1", "items": "2"}]}'), "answer_unreadable"
    ),
    # Rows
    "a missing field": Fault(rows(NO_FIELD), "answer_refused"),
    "a row that is no object": Fault(rows([TOKEN]), "answer_refused"),
    "a name of the wrong type": Fault(row(description=7), "answer_refused"),
    "items of the wrong type": Fault(row(items=["1"]), "answer_refused"),
    **{
        f"items {items!r}": Fault(row(items=items), "answer_refused")
        for items in ("", "1.234,5", "12 ", "1_000", "１２", "NaN", "1e400", "-1", "1,23", "0,125", "34.64 %", TOKEN)
    },
    "a name over 200 characters": Fault(row(description=f"{TOKEN} {'x' * 200}"), "answer_refused"),
    "half a character": Fault(row(description="Em\ud800il"), "answer_refused"),
    "rows that differ on one product": Fault(rows(EMAIL | {"items": "13"}), "answer_refused"),
    "a date of another year": Fault(row(date="2025-11-23"), "answer_refused"),
    "a duration that was a number before": Fault(envelope(data=[EMAIL | {"items": "00:02:47"}]), "answer_refused"),
    # Refusals
    "400, no such API": Fault(
        said("400 Bad Request", "THE API YOU WANT TO CONSULT DOES NOT EXIST"), "request_refused", SELDOM
    ),
    "400, parameters": Fault(said("400 Bad Request", "SOME PARAMETERS ARE REQUIRED"), "request_refused", SELDOM),
    "401": Fault(said("401 Unauthorized", "PLEASE ENTER THE WOLKVOX-TOKEN"), "token_refused", SELDOM),
    "403, bad token": Fault(said("403 Forbidden", f"PLEASE VALIDATE TOKEN {TOKEN}"), "token_refused", SELDOM),
    "403, quota": Fault(said("403 Forbidden", "TOKEN LIMIT EXCEEDED"), "quota_exceeded", SOON),
    "403, concurrency": Fault(
        said("403 Forbidden", "EXCEEDS THE LIMIT OF SIMULTANEOUS REQUESTS PER TOKEN (2)"), "too_many_at_once", SOON
    ),
    "403, maintenance": Fault(said("403 Forbidden", "BACKUP IN PROGRESS"), "maintenance", SOON),
    "403 of HTML": Fault(response(HTML, "403 Forbidden"), "maintenance", SOON),
    "403, the token at the cut of its excerpt": Fault(
        response(b" " * 4060 + TOKEN.encode() * 2, "403 Forbidden"), "maintenance", SOON
    ),
    "404": Fault(said("404 Not Found", "THE DATE RANGE IS NOT VALID"), "no_data", SOON),
    "405": Fault(said("405 Method Not Allowed", ""), "request_refused", SELDOM),
    "429": Fault(said("429 Too Many Requests", ""), "rate_limited", SOON),
    "429, Retry-After in seconds": Fault(
        said("429 Too Many Requests", "", "Retry-After: 600"), "rate_limited", timedelta(minutes=10)
    ),
    "429, Retry-After as a date, by the vendor's clock": Fault(
        said(
            "429 Too Many Requests",
            "",
            "Date: Mon, 23 Nov 2026 18:00:00 GMT",
            "Retry-After: Mon, 23 Nov 2026 18:25:00 GMT",
        ),
        "rate_limited",
        timedelta(minutes=25),
    ),
    "429, Retry-After of a year": Fault(
        said("429 Too Many Requests", "", "Retry-After: 31536000"), "rate_limited", timedelta(hours=24)
    ),
    "500": Fault(said("500 Internal Server Error", ""), "server_failed", SOON),
    "504": Fault(said("504 Gateway Timeout", ""), "server_failed", SOON, is_under_way=True),
    "503, Retry-After in seconds": Fault(
        said("503 Service Unavailable", "", "Retry-After: 300"), "server_failed", timedelta(minutes=5)
    ),
    "204": Fault(start(status="204 No Content"), "answer_unreadable"),
    "401 in the body": Fault(in_body(401, ""), "token_refused", SELDOM),
    "403 in the body, bad token": Fault(in_body("403", "PLEASE VALIDATE TOKEN"), "token_refused", SELDOM),
    "403 in the body, quota": Fault(in_body(403, "TOKEN LIMIT EXCEEDED"), "quota_exceeded", SOON),
    "404 in the body": Fault(in_body(404, "THE DATE RANGE IS NOT VALID"), "no_data", SOON),
    "429 in the body": Fault(in_body(429, ""), "rate_limited", SOON),
    "429 in the body, Retry-After in seconds": Fault(
        in_body(429, "", "Retry-After: 600"), "rate_limited", timedelta(minutes=10)
    ),
    "429 in the body, Retry-After as a date, by the vendor's clock": Fault(
        in_body("429", "", "Date: Mon, 23 Nov 2026 18:00:00 GMT", "Retry-After: Mon, 23 Nov 2026 18:25:00 GMT"),
        "rate_limited",
        timedelta(minutes=25),
    ),
    "503 in the body, Retry-After in seconds": Fault(
        in_body(503, "", "Retry-After: 300"), "server_failed", timedelta(minutes=5)
    ),
    "500 in the body": Fault(in_body("500", ""), "server_failed", SOON),
}

REDIRECTS = [301, 302, 303, 307, 308]


# An operation that is polled, and then something happens


class Polled:
    """An operation that was polled well, a clock that stands, and a vendor that plays what it is told."""

    def __init__(self, operation: Operation, vendor: VendorFactory) -> None:
        operation.token = TOKEN
        operation.save()
        self.operation = operation
        self.now = NOON
        self.script: bytes | Callable[[], Script] = b""
        self.server = vendor(self.play)

    def play(self) -> Script:
        return [self.script] if isinstance(self.script, bytes) else self.script()

    @property
    def feed(self) -> Feed:
        return Feed.objects.select_related("operation").get(operation=self.operation, api="interactions")

    @property
    def due_at(self) -> datetime:
        at = self.feed.next_due_at
        assert at is not None
        return at

    def hears(self, *rows: Row, name: str = "Bogotá") -> Poll:
        return self.meets(response(body_of(rows, name)))

    def meets(self, script: bytes | Callable[[], Script], *, url: str = "", deadline: float = 30.0) -> Poll:
        """What a poll makes of it, from here or from another URL."""
        self.script = script
        client = BillingClient(url or self.server.url, deadline=deadline, now=lambda: self.now)
        [poll] = polling.poll_operation(
            self.operation.pk, client=client, apis=["interactions"], is_due=False, clock=lambda: self.now
        )
        return poll


@pytest.fixture
def polled(operation: Operation, vendor: VendorFactory) -> Polled:
    polled = Polled(operation, vendor)
    polled.hears(("Email", "10", "2026-11-23"), ("Chat", "5", "2026-11-23"))
    polled.now = polled.due_at
    return polled


def figures() -> list[object]:
    """Every figure, and all that stands with one."""
    models = (Snapshot, DailyUsage, MonthlyUsage, Product, Answer, Gap)
    names = Operation.objects.values_list("vendor_name", "other_vendor_name")
    return [*names, *[list(model.objects.order_by("pk").values()) for model in models]]


def assert_no_token(text: str) -> None:
    """Not eight characters of it in a row."""
    for begin in range(len(TOKEN) - 7):
        assert TOKEN[begin : begin + 8] not in text.lower()


def suffer(polled: Polled, fault: Fault, logged: pytest.LogCaptureFixture, *, url: str = "") -> Poll:
    """The rule: no figure changes, the poll is recorded, and the next one goes on as planned."""
    before, at = figures(), polled.now
    heard = polled.feed.last_good_poll_at
    poll = polled.meets(fault.script, url=url, deadline=fault.deadline)
    feed = polled.feed
    assert figures() == before
    assert (poll.outcome, poll.answer, poll.rows) == (fault.outcome, None, 0)
    assert (feed.failing_outcome, feed.failing_since) == (fault.outcome, at)
    assert feed.failures == poll.was_sent == (fault.again != AT_A_TICK), "a call that never left counts for no back-off"
    assert feed.last_good_poll_at == heard
    assert polled.due_at == (pacing.next_on_grid(feed, at) if fault.again is ON_ITS_GRID else at + fault.again)
    assert_no_token(f"{list(Poll.objects.values())} {list(Feed.objects.values())} {logged.text}")
    polled.operation.refresh_from_db()
    assert polled.operation.claimed_by == (THE_VENDOR if fault.is_under_way else "")
    go_on(polled, at, is_under_way=fault.is_under_way)
    return poll


def go_on(polled: Polled, failed_at: datetime, *, is_under_way: bool) -> None:
    if is_under_way:
        polled.now = failed_at + CLAIM_LASTS - timedelta(seconds=1)
        with pytest.raises(TokenInUse):
            polled.hears(("Email", "11"))
        polled.now = failed_at + CLAIM_LASTS
    polled.now = max(polled.now, polled.due_at)
    poll = polled.hears(("Email", "14", "2026-11-23"), ("Chat", "5", "2026-11-23"))
    assert poll.is_good
    feed = polled.feed
    assert (feed.failing_outcome, feed.failing_since, feed.failing_message, feed.failures) == ("", None, "", 0)
    assert polled.due_at == pacing.next_on_grid(feed, polled.now)
    months = MonthlyUsage.objects.order_by("product__name").values_list("product__name", "items", "as_of")
    assert list(months) == [("Chat", Decimal(5), polled.now), ("Email", Decimal(14), polled.now)]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_failed_check_changes_no_figure(polled: Polled, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    suffer(polled, fault, caplog)


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_takes_the_token_nowhere(
    polled: Polled, vendor: VendorFactory, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = vendor()
    location = f"Location: http://localhost:{elsewhere.port}/api/v2/billing.php?you={TOKEN}"
    suffer(polled, Fault(response(b"", f"{status} Moved", location), "redirected"), caplog)
    assert elsewhere.requests == []


def test_a_certificate_that_nobody_signed_gets_no_token(
    polled: Polled, vendor: VendorFactory, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    server = vendor(tls=tls)
    poll = suffer(polled, Fault(b"", "tls_failed"), caplog, url=server.url)
    assert "certificate was not accepted" in poll.message
    assert server.requests == []


def test_a_server_without_tls_gets_no_token(polled: Polled, caplog: pytest.LogCaptureFixture) -> None:
    calls = len(polled.server.requests)
    suffer(polled, Fault(b"", "tls_failed"), caplog, url=polled.server.url.replace("http:", "https:"))
    assert not any(b"wolkvox-token" in request for request in polled.server.requests[calls:-1])


@pytest.mark.parametrize("host", ["127.0.0.1:{refused}", "wolkvox.invalid", f"{'a' * 64}.invalid"])
def test_a_vendor_that_is_not_there_is_tried_again_soon(
    polled: Polled, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refused = gone.getsockname()[1]
    suffer(polled, Fault(b"", "not_reached", AT_A_TICK), caplog, url=f"http://{host.format(refused=refused)}")


def test_every_class_of_error_is_met_here() -> None:
    met = {fault.outcome for fault in FAULTS.values()} | {"redirected", "tls_failed", "not_reached"}
    assert met == set(OUTCOMES)


@pytest.mark.parametrize(
    "fault", ["body cut short", "HTML with status 200", "wrong content type", "a code that is none", "data null"]
)
def test_what_came_instead_of_an_answer_is_kept_for_the_admin(polled: Polled, fault: str) -> None:
    excerpt = polled.meets(FAULTS[fault].script).excerpt
    assert excerpt
    assert "•••" in excerpt or fault == "wrong content type"


@pytest.mark.parametrize("fault", ["a missing field", "items '1.234,5'", "a row that is no object"])
def test_a_refused_row_is_named_with_what_stood_there(polled: Polled, fault: str) -> None:
    message = polled.meets(FAULTS[fault].script).message
    assert message.startswith("Row 2 ")
    assert {"a missing field": "items", "items '1.234,5'": "“1.234,5”"}.get(fault, "a list") in message


def as_php(text: str) -> str:
    return text.replace("/", r"\/")


def in_hex(text: str) -> str:
    return "".join(f"\\u{ord(character):04X}" for character in text)


@pytest.mark.parametrize("token", ["Zm9v/YmFy+cXV4/Zm9vYmFy+w==", "S3cr3t/8"], ids=["base64", "of earlier days"])
@pytest.mark.parametrize("written", [str, as_php, in_hex])
def test_a_token_that_the_vendor_repeats_stands_nowhere_however_it_is_escaped(
    polled: Polled, token: str, written: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    polled.operation.token = token
    polled.operation.save()
    echo = written(token)
    row = f'{{"operation": "{echo}", "description": "Chat {echo}", "items": "1", "date": "{echo}"}}'
    good = f'{{"code": 200, "msg": "{echo}", "data": [{row}]}}'
    assert polled.meets(raw(good.encode())).is_good
    assert Product.objects.get(description__startswith="Chat ").description == "Chat •••"
    for script in (
        raw(good.replace('"1"', f'"{echo}"').encode()),
        raw(f'{{"code": 403, "msg": "PLEASE VALIDATE TOKEN {echo}"}}'.encode()),
        response(f'{{"code": 500, "msg": "{echo}", "trace": "{echo}"}}'.encode(), "500 Oops"),
        response(f"<p>{echo}</p>".encode(), "403 Forbidden"),
        raw(f'{{"code": 200, "msg": "{echo}", "data": [{{"operation": "{echo[:-3]}'.encode()),
    ):
        assert not polled.meets(script).is_good
    kept = [list(model.objects.values()) for model in (Poll, Feed, Operation, Product, Snapshot)]
    bodies = "".join(answer.body.decode() for answer in Answer.objects.all())
    for text in (str(kept), bodies, caplog.text):
        assert token[:6] not in text
        assert echo[:12] not in text.replace("\\\\", "\\")


@pytest.mark.parametrize("items", ["1", "?"], ids=["good", "refused"])
def test_nothing_of_a_large_answer_stays_in_hand_after_its_poll(polled: Polled, items: str) -> None:
    large = row(description="Chat", items=items, note="x" * 100_000)
    assert [polled.meets(large, deadline=5).outcome for _ in range(2)] in (["good"] * 2, ["answer_refused"] * 2)


class Remembering(BillingClient):
    """Knows which of its replies are still in memory."""

    def __init__(self, url: str, polled: Polled) -> None:
        super().__init__(url, now=lambda: polled.now)
        self.replies = WeakSet[Reply]()

    def fetch(self, api: str, *, server: str, token: str, **call: Any) -> Reply:
        reply = super().fetch(api, server=server, token=token, **call)
        self.replies.add(reply)
        return reply


@pytest.mark.parametrize("fault", ["items 'NaN'", "half a character", "a duration that was a number before"])
def test_nothing_of_a_refused_answer_stays_in_memory(polled: Polled, fault: str) -> None:
    client = Remembering(polled.server.url, polled)
    polled.script = FAULTS[fault].script
    gc.disable()
    try:
        [poll] = polling.poll_operation(
            polled.operation.pk, client=client, apis=["interactions"], is_due=False, clock=lambda: polled.now
        )
        assert not client.replies
    finally:
        gc.enable()
    assert poll.outcome == "answer_refused"


# What is accepted all the same


def test_fields_that_nobody_knows_are_accepted(polled: Polled) -> None:
    assert polled.meets(row(description="Chat", price={"of": [1.5e300]})).is_good


def test_rows_that_say_the_same_count_once(polled: Polled) -> None:
    assert polled.meets(rows(EMAIL, EMAIL | {"items": "12.0"})).rows == 1
    assert MonthlyUsage.objects.get(product__name="Email").items == 12


def test_a_row_of_totals_is_no_figure_unless_an_admin_says_so(polled: Polled) -> None:
    polled.hears(("Email", "12"), ("TOTAL", "17"))
    assert not DailyUsage.objects.filter(product__description="TOTAL").exists()
    Product.objects.filter(description="TOTAL").update(is_counted=True)
    polled.now += timedelta(minutes=5)
    polled.hears(("Email", "12"), ("TOTAL", "17"))
    assert MonthlyUsage.objects.get(product__description="TOTAL").items == 17


def test_a_duration_is_seconds_and_its_unit_says_so(polled: Polled) -> None:
    polled.hears(("Calls", "02:02:47"))
    month = MonthlyUsage.objects.select_related("product").get(product__name="Calls")
    assert (month.items, month.product.unit) == (7367, "seconds")


def test_grouping_commas_count_where_they_group_by_threes(polled: Polled) -> None:
    polled.hears(("Email", "1,234.5"))
    assert MonthlyUsage.objects.get(product__name="Email").items == Decimal("1234.5")


def test_hostile_names_are_cleaned_before_the_database(polled: Polled) -> None:
    polled.hears(("\u202e<script>alert(1)</script>\x00\ufeff", "1"), ("=cmd|' /C calc'!A0\x1b", "2"), ("x" * 200, "3"))
    names = {product.name for product in Product.objects.all()}
    assert names == {"Email", "Chat", "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "x" * 200}


def test_another_operations_name_is_recorded_and_flagged(polled: Polled) -> None:
    assert polled.hears(("Email", "12"), name="Lima").is_good
    polled.operation.refresh_from_db()
    assert (polled.operation.vendor_name, polled.operation.other_vendor_name) == ("Bogotá", "Lima")


def test_a_figure_that_falls_is_kept_beside_the_one_before_and_flagged(polled: Polled) -> None:
    polled.hears(("Email", "8"), ("Chat", "5"))
    assert list(Snapshot.objects.filter(product__name="Email").values_list("items", flat=True)) == [10, 8]
    flagged = MonthlyUsage.objects.filter(is_restated=True).values_list("product__name", "items")
    assert list(flagged) == [("Email", 8)]
