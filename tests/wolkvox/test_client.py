import gzip
import itertools
import json
import socket
import ssl
import time
import traceback
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.wolkvox.conftest import GOOD, Proxy, Script, VendorFactory, response, start
from usage.wolkvox.client import BillingClient, Reply
from usage.wolkvox.deadline import Deadline, WatchedHTTPConnection, trust
from usage.wolkvox.errors import (
    AnswerTooLarge,
    AnswerUnreadable,
    NoData,
    NotReached,
    QuotaExceeded,
    RateLimited,
    Redirected,
    RequestRefused,
    ServerFailed,
    TimedOut,
    TlsFailed,
    TokenRefused,
    TooManyAtOnce,
    UnderMaintenance,
    VendorError,
)

TOKEN = "7b2274" + "0123456789abcdef" * 3
NOON = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
A_LONG_TIME = 20.0


def fetch(url: str, *, deadline: float = 10.0, max_bytes: int = 2**20, token: str = TOKEN) -> Reply:
    client = BillingClient(url, deadline=deadline, max_bytes=max_bytes, now=lambda: NOON)
    return client.fetch("interactions", server="0012", token=token)


def error_of(url: str, *, deadline: float = 10.0, max_bytes: int = 2**20) -> VendorError:
    with pytest.raises(VendorError) as caught:
        fetch(url, deadline=deadline, max_bytes=max_bytes)
    return caught.value


# What is sent, and what comes back


def test_a_call_asks_for_one_api_with_the_token_and_the_server_in_its_headers(vendor: VendorFactory) -> None:
    server = vendor()
    fetch(server.url)
    line, *headers = server.requests[0].decode().splitlines()
    assert line == "GET /api/v2/billing.php?api=interactions HTTP/1.1"
    assert {
        f"wolkvox-token: {TOKEN}",
        "wolkvox_server: 0012",
        "Accept-Encoding: identity",
        "User-Agent: billing-dashboard",
        "Connection: close",
    } <= set(headers)


def test_a_reply_holds_the_bytes_as_they_came_and_the_vendors_clock(vendor: VendorFactory) -> None:
    server = vendor(response(GOOD, "200 OK", "Date: Mon, 23 Nov 2026 16:58:30 GMT"))
    clock = datetime(2026, 11, 23, 16, 58, 30, tzinfo=UTC)
    assert fetch(server.url) == Reply(GOOD, 200, clock, NOON, NOON)


@pytest.mark.parametrize("header", ["Date: soon", "X-Nothing: 1", "Date: Mon, 99 Nov 2026 16:58:30 GMT"])
def test_a_missing_or_unreadable_vendors_clock_is_none(vendor: VendorFactory, header: str) -> None:
    assert fetch(vendor(response(GOOD, "200 OK", header)).url).vendor_clock is None


def test_a_chunked_answer_is_put_together(vendor: VendorFactory) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD[:50], GOOD[50:]))
    server = vendor(start("Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n")
    assert fetch(server.url).body == GOOD


def test_an_answer_without_a_length_ends_with_the_connection(vendor: VendorFactory) -> None:
    assert fetch(vendor(start() + GOOD).url).body == GOOD


def test_the_server_number_is_put_into_the_url(vendor: VendorFactory) -> None:
    server = vendor()
    fetch(server.url + "/wv{server}/")
    assert server.requests[0].startswith(b"GET /wv0012/api/v2/billing.php?api=interactions ")


def test_proxies_and_passwords_from_the_environment_are_not_used(
    vendor: VendorFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    proxy, server = vendor(), vendor()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("no_proxy", "")
    fetch(server.url)
    assert proxy.requests == []
    assert b"authorization" not in server.requests[0].lower()


# Through a proxy


ProxyFactory = Callable[..., Proxy]


def test_a_configured_proxy_opens_a_tunnel_and_sees_nothing_of_the_call(
    vendor: VendorFactory, proxy: ProxyFactory, tls: ssl.SSLContext, certificate: Path
) -> None:
    server, through = vendor(tls=tls), proxy()

    def fetch() -> Reply:
        trust().load_verify_locations(certificate)
        return BillingClient(server.url, proxy=through.url).fetch("interactions", server="0012", token=TOKEN)

    with ThreadPoolExecutor(1) as thread:  # whose trust ends with it
        assert thread.submit(fetch).result().body == GOOD
    asked = through.asked[0].decode()
    assert asked.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.")
    assert f"Proxy-Authorization: Basic {b64encode(b'me:hunter2').decode()}\r\n" in asked
    assert TOKEN not in asked
    assert TOKEN.encode() not in through.passed
    assert b"proxy-authorization" not in server.requests[0].lower()


def through(proxy: str, url: str = "https://127.0.0.1:9", deadline: float = 10.0) -> VendorError:
    with pytest.raises(VendorError) as caught:
        BillingClient(url, proxy=proxy, deadline=deadline).fetch("interactions", server="0012", token=TOKEN)
    error = caught.value
    assert "hunter2" not in "".join(traceback.format_exception(error))
    return error


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway", "what?"])
def test_a_proxy_that_refuses_is_not_taken_for_the_vendor(proxy: ProxyFactory, status: str) -> None:
    """Nothing has reached the vendor, so the token is free at once."""
    error = through(proxy(status).url)
    assert type(error) is NotReached
    assert (error.message, error.is_under_way) == ("The proxy was not reached, or it refused the call.", False)


def test_a_proxy_that_is_not_there_is_said() -> None:
    error = through("http://me:hunter2@127.0.0.1:9")
    assert (type(error), error.message) == (NotReached, "The proxy was not reached, or it refused the call.")


def test_a_proxy_that_keeps_silent_has_the_time_that_a_connection_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = through(f"http://me:hunter2@127.0.0.1:{mute.getsockname()[1]}", deadline=0.5)
    assert (type(error), error.is_under_way) == (TimedOut, False)


def test_a_vendor_that_keeps_silent_behind_a_proxy_is_under_way(
    vendor: VendorFactory, proxy: ProxyFactory, tls: ssl.SSLContext, certificate: Path
) -> None:
    server, between = vendor(_silence, tls=tls), proxy()

    def fetch() -> VendorError:
        trust().load_verify_locations(certificate)
        return through(between.url, server.url, deadline=2)

    with ThreadPoolExecutor(1) as thread:
        error = thread.submit(fetch).result()
    assert (type(error), error.is_under_way) == (TimedOut, True)


def test_a_certificate_is_verified_behind_a_proxy_too(
    vendor: VendorFactory, proxy: ProxyFactory, tls: ssl.SSLContext
) -> None:
    server = vendor(tls=tls)
    assert type(through(proxy().url, server.url)) is TlsFailed
    assert server.requests == []


# What is never sent


@pytest.mark.parametrize("number", ["", "12", "00012", "0012\n", "../x", "127.0.0.1", "a@b", "[::1]", "٠٠١٢", "00/2"])
def test_a_server_that_is_not_four_digits_is_refused_before_anything_is_sent(
    vendor: VendorFactory, number: str
) -> None:
    server = vendor()
    with pytest.raises(ValueError, match="four digits"):
        BillingClient(server.url).fetch("interactions", server=number, token=TOKEN)
    assert server.requests == []


@pytest.mark.parametrize(
    "token", ["", "secret\r\nX-Evil: 1", "secret\n", "sec ret", "secrét", "\x00secret", "secret\x7f"]
)
def test_a_token_that_no_header_can_hold_is_refused_without_being_named(vendor: VendorFactory, token: str) -> None:
    server = vendor()
    with pytest.raises(ValueError, match="visible ASCII") as caught:
        fetch(server.url, token=token)
    assert server.requests == []
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "wv{server}.wolkvox.com", "ftp://x", "https://me:secret@x", "https://x/?a=1", "http://x:port"]
)
def test_a_url_that_cannot_be_called_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="http:// or https://") as caught:
        BillingClient(url)
    assert "secret" not in str(caught.value)


# The deadline


def _silence() -> Script:
    yield A_LONG_TIME


def _dripping_headers() -> Script:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in itertools.count():
        yield b"X-Drip-%d: 1\r\n" % (number % 50)
        yield 0.05


def _dripping_header_line() -> Script:
    yield b"HTTP/1.1 200 OK\r\nX-Drip: "
    for _ in range(1000):
        yield b"."
        yield 0.02


def _dripping_body() -> Script:
    yield response(b"", length=100_000)
    for _ in range(1000):
        yield b" "
        yield 0.02


def _dripping_body_without_length() -> Script:
    yield start()
    for _ in range(1000):
        yield b" "
        yield 0.02


def _dripping_chunk_sizes() -> Script:
    yield start("Transfer-Encoding: chunked")
    for _ in range(1000):
        yield b"0"
        yield 0.02


def _dripping_error() -> Script:
    yield response(b"", "403 Forbidden", length=1000)
    for _ in range(1000):
        yield b" "
        yield 0.02


def _endless_interim_responses() -> Script:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100


def _endless_body() -> Script:
    yield start()
    while True:
        yield b" " * 65536


@pytest.mark.parametrize(
    "script",
    [
        _silence,
        _dripping_header_line,
        _dripping_body,
        _dripping_body_without_length,
        _dripping_chunk_sizes,
        _dripping_error,
        _endless_interim_responses,
    ],
)
def test_whatever_drips_is_ended_by_the_deadline(vendor: VendorFactory, script: object) -> None:
    began, server = time.monotonic(), vendor(script)
    assert type(error_of(server.url, deadline=0.5)) is TimedOut
    server.stop()  # which knows that nobody reads any more
    assert time.monotonic() - began < A_LONG_TIME / 2


def test_a_drip_is_ended_while_a_longer_call_is_under_way(vendor: VendorFactory) -> None:
    began = time.monotonic()
    with Deadline(A_LONG_TIME):
        assert type(error_of(vendor(_dripping_header_line).url, deadline=0.5)) is TimedOut
    assert time.monotonic() - began < A_LONG_TIME / 2


def test_headers_that_never_end_are_ended(vendor: VendorFactory) -> None:
    assert isinstance(error_of(vendor(_dripping_headers).url, deadline=0.5), TimedOut | AnswerUnreadable)


def test_a_body_that_streams_on_past_the_deadline_is_ended(vendor: VendorFactory) -> None:
    assert type(error_of(vendor(_endless_body).url, deadline=0.5, max_bytes=2**40)) is TimedOut


def test_a_host_that_takes_no_connection_is_ended_by_the_deadline() -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = full.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        error = error_of(f"http://127.0.0.1:{address[1]}", deadline=0.5)
    assert type(error) is TimedOut


def test_a_tls_handshake_that_never_comes_is_ended_by_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = error_of(f"https://127.0.0.1:{mute.getsockname()[1]}", deadline=0.5)
    assert type(error) is TimedOut


def test_the_deadline_ends_a_drip_under_tls(vendor: VendorFactory, tls: ssl.SSLContext, certificate: Path) -> None:
    server = vendor(_dripping_body_without_length, tls=tls)
    context = ssl.create_default_context(cafile=str(certificate))
    with Deadline(0.5) as deadline, deadline.connect("127.0.0.1", server.port) as plain:
        plain.settimeout(A_LONG_TIME)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
            wrapped.sendall(b"GET / HTTP/1.1\r\n\r\n")
            began = time.monotonic()
            while wrapped.recv(100):
                assert time.monotonic() - began < A_LONG_TIME / 2
    assert deadline.has_passed


def test_nothing_is_connected_once_the_deadline_has_passed(vendor: VendorFactory) -> None:
    server = vendor()
    with Deadline(0.0) as deadline, pytest.raises(TimeoutError):
        deadline.connect("127.0.0.1", server.port)
    assert server.requests == []


def test_a_time_out_says_how_long_was_waited(vendor: VendorFactory) -> None:
    error = error_of(vendor(_silence).url, deadline=1.5)
    assert (error.message, error.is_under_way) == ("No whole answer came within 1.5 seconds.", True)


def test_a_request_that_is_late_is_not_sent(vendor: VendorFactory, tls: ssl.SSLContext) -> None:
    for server in (vendor(), vendor(tls=tls)):
        with pytest.raises(TimedOut, match="No connection came within 20 seconds") as caught:
            BillingClient(server.url).fetch("interactions", server="0012", token=TOKEN, began=time.monotonic() - 20)
        assert not caught.value.is_under_way
        assert server.requests == []


def test_a_request_whose_connection_took_too_long_is_not_sent(vendor: VendorFactory) -> None:
    server = vendor()
    with Deadline(60) as deadline, Deadline(60, began=time.monotonic() - 20) as late:
        connection = WatchedHTTPConnection("127.0.0.1", server.port, deadline=deadline)
        connection.connect()
        connection.deadline = late
        with pytest.raises(TimeoutError):
            connection.request("GET", "/")
        connection.close()
    server.stop()
    assert not any(server.requests)


# The size


def _half_megabytes() -> Script:
    yield start()
    while True:
        yield b" " * 2**19


def _tiny_chunks() -> Script:
    yield start("Transfer-Encoding: chunked")
    while True:
        yield b"1\r\n \r\n" * 1000


@pytest.mark.parametrize("script", [_half_megabytes, _tiny_chunks])
def test_an_answer_over_the_cap_is_stopped_while_it_streams(vendor: VendorFactory, script: object) -> None:
    assert type(error_of(vendor(script).url, max_bytes=100_000)) is AnswerTooLarge


def test_an_answer_that_announces_more_than_the_cap_is_not_read(vendor: VendorFactory) -> None:
    def announced() -> Script:
        yield response(b"", length=2**40)
        yield A_LONG_TIME

    assert type(error_of(vendor(announced).url)) is AnswerTooLarge


def test_an_answer_of_just_the_cap_is_accepted(vendor: VendorFactory) -> None:
    assert fetch(vendor().url, max_bytes=len(GOOD)).body == GOOD
    assert type(error_of(vendor().url, max_bytes=len(GOOD) - 1)) is AnswerTooLarge


# An answer that is none


CUT = [
    pytest.param(response(GOOD, length=len(GOOD) + 1), id="shorter than announced"),
    pytest.param(start("Transfer-Encoding: chunked") + b"40\r\n{}", id="within a chunk"),
    pytest.param(start("Transfer-Encoding: chunked") + b"2\r\n{}\r\n", id="before the last chunk"),
    pytest.param(start("Transfer-Encoding: chunked") + b"2\r\n{}\r\nxx\r\n", id="bad chunk size"),
]


@pytest.mark.parametrize("script", CUT)
def test_a_body_that_is_cut_short_is_unreadable(vendor: VendorFactory, script: bytes) -> None:
    error = error_of(vendor(script).url)
    assert type(error) is AnswerUnreadable
    assert error.message == "The answer broke off before its end."


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_an_encoding_that_was_not_asked_for_is_refused_and_not_decoded(vendor: VendorFactory, encoding: str) -> None:
    script = response(gzip.compress(GOOD), "200 OK", f"Content-Encoding: {encoding}")
    error = error_of(vendor(script).url)
    assert type(error) is AnswerUnreadable
    assert encoding in error.message


def test_identity_as_encoding_is_accepted(vendor: VendorFactory) -> None:
    assert fetch(vendor(response(GOOD, "200 OK", "Content-Encoding: identity")).url).body == GOOD


def test_a_page_of_html_is_refused_and_quoted(vendor: VendorFactory) -> None:
    error = error_of(vendor(start("Content-Type: text/html; charset=utf-8") + b"<h1>Welcome</h1>").url)
    assert type(error) is AnswerUnreadable
    assert error.message == "The answer is marked as text/html, not as JSON."
    assert error.excerpt == "<h1>Welcome</h1>"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/hal+json", "text/json"],
)
def test_any_mark_of_json_is_accepted(vendor: VendorFactory, content_type: str) -> None:
    assert fetch(vendor(start(f"Content-Type: {content_type}") + GOOD).url).body == GOOD


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 abc\r\n\r\n", id="no status"),
        pytest.param(start(*(f"X-{n}: 1" for n in range(200))) + GOOD, id="too many headers"),
        pytest.param(start("X-Long: " + "x" * 100_000) + GOOD, id="too long a header"),
        pytest.param(start("Content-Length: 1", "Content-Length: 2") + GOOD, id="two lengths"),
    ],
)
def test_what_is_not_http_is_unreadable(vendor: VendorFactory, script: bytes) -> None:
    assert type(error_of(vendor(script).url)) is AnswerUnreadable


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "206 Partial Content"])
def test_only_a_200_is_an_answer(vendor: VendorFactory, status: str) -> None:
    assert type(error_of(vendor(response(GOOD, status)).url)) is AnswerUnreadable


# Redirects


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_not_followed_and_the_token_stays_here(vendor: VendorFactory, status: int) -> None:
    elsewhere = vendor()
    location = f"Location: http://localhost:{elsewhere.port}/?seen={TOKEN}"
    error = error_of(vendor(response(b"", f"{status} Moved", location)).url)
    assert type(error) is Redirected
    assert error.http_status == status
    assert elsewhere.requests == []
    assert error.excerpt == f"http://localhost:{elsewhere.port}/?seen=•••"


# Errors of the vendor


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (start("Location: http://localhost/", status="302 Found"), Redirected),
        (start(status="403 Forbidden"), UnderMaintenance),
        (start(status="500 Internal Server Error"), ServerFailed),
        (start("Content-Type: text/html"), AnswerUnreadable),
        (start("Content-Encoding: gzip"), AnswerUnreadable),
    ],
)
def test_a_long_body_is_not_read_to_its_end_to_explain_an_error(
    vendor: VendorFactory, head: bytes, kind: type[VendorError]
) -> None:
    was_read_whole = False

    def long() -> Script:
        nonlocal was_read_whole
        yield head
        for _ in range(1024):
            yield b" " * 65536
        was_read_whole = True

    server = vendor(long)
    assert type(error_of(server.url)) is kind
    server.stop()
    assert not was_read_whole


def refused(status: str, message: str) -> bytes:
    code, _, error = status.partition(" ")
    body = json.dumps({"code": code, "error": error.upper(), "msg": message, "data": []})
    return response(body.encode(), status)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("400 Bad Request", "THE API YOU WANT TO CONSULT DOES NOT EXIST", RequestRefused),
        ("400 Bad Request", "SOME PARAMETERS ARE REQUIRED", RequestRefused),
        ("401 Unauthorized", "PLEASE ENTER THE WOLKVOX-TOKEN", TokenRefused),
        ("403 Forbidden", "TOKEN LIMIT EXCEEDED", QuotaExceeded),
        ("403 Forbidden", "Exceeds the limit of simultaneous requests per token (2)", TooManyAtOnce),
        ("403 Forbidden", "PLEASE VALIDATE TOKEN", TokenRefused),
        ("403 Forbidden", "BACKUP IN PROGRESS", UnderMaintenance),
        ("404 Not Found", "PLEASE VALIDATE TOKEN", NoData),
        ("405 Method Not Allowed", "", RequestRefused),
        ("429 Too Many Requests", "", RateLimited),
        ("500 Internal Server Error", "", ServerFailed),
        ("503 Service Unavailable", "", ServerFailed),
    ],
)
def test_each_error_of_the_vendor_has_its_class(
    vendor: VendorFactory, status: str, message: str, kind: type[VendorError]
) -> None:
    error = error_of(vendor(refused(status, message)).url)
    assert type(error) is kind
    assert error.http_status == int(status[:3])
    assert error.code == status[:3]
    assert message in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Forbidden</html>",
        b"[" * 60_000,
        b'"FORBIDDEN"',
        b'{"code": {}, "msg": []}',
        b"\xff\xfe",
        b" " * 200_000,
    ],
)
def test_a_403_that_says_nothing_known_passes_as_maintenance(vendor: VendorFactory, body: bytes) -> None:
    assert type(error_of(vendor(response(body, "403 Forbidden")).url)) is UnderMaintenance


def test_a_message_outside_of_json_counts_too(vendor: VendorFactory) -> None:
    assert type(error_of(vendor(response(b"Token limit exceeded", "403 Forbidden")).url)) is QuotaExceeded


def test_an_error_is_not_decoded(vendor: VendorFactory) -> None:
    script = response(gzip.compress(b"TOKEN LIMIT EXCEEDED"), "403 Forbidden", "Content-Encoding: gzip")
    assert type(error_of(vendor(script).url)) is UnderMaintenance


def test_an_error_that_breaks_off_is_taken_as_far_as_it_came(vendor: VendorFactory) -> None:
    error = error_of(vendor(response(b"TOKEN LIMIT EXC", "403 Forbidden", length=500)).url)
    assert type(error) is QuotaExceeded


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("0", timedelta()),
        ("99999999999999", timedelta(hours=24)),
        ("Mon, 23 Nov 2026 17:05:00 GMT", timedelta(minutes=5)),
        ("Mon, 23 Nov 2026 11:00:00 GMT", timedelta()),
        ("Mon, 23 Nov 2099 11:00:00 GMT", timedelta(hours=24)),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    vendor: VendorFactory, header: str, wait: timedelta | None
) -> None:
    error = error_of(vendor(response(b"", "429 Too Many Requests", f"Retry-After: {header}")).url)
    assert error.retry_after == wait


def test_a_date_to_retry_after_is_held_against_the_vendors_own_clock(vendor: VendorFactory) -> None:
    clock = "Date: Mon, 23 Nov 2026 18:00:00 GMT"
    script = response(b"", "503 Busy", clock, "Retry-After: Mon, 23 Nov 2026 18:10:00 GMT")
    assert error_of(vendor(script).url).retry_after == timedelta(minutes=10)


# No way there


def test_a_refused_connection_is_not_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    error = error_of(f"http://127.0.0.1:{port}")
    assert type(error) is NotReached
    assert error.message == "The connection was refused."


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("wolkvox.invalid", "The server's name was not found."),
        ("a" * 64 + ".invalid", "The server's name can't be one."),
    ],
)
def test_an_unknown_name_is_not_reached(host: str, message: str) -> None:
    error = error_of(f"http://{host}")
    assert type(error) is NotReached
    assert error.message == message


def test_a_connection_that_closes_without_a_word_is_not_reached(vendor: VendorFactory) -> None:
    error = error_of(vendor(b"").url)
    assert type(error) is NotReached
    assert error.message == "The connection was broken off before an answer came."


def test_a_certificate_that_nobody_signed_fails_before_the_token_is_sent(
    vendor: VendorFactory, tls: ssl.SSLContext
) -> None:
    server = vendor(tls=tls)
    error = error_of(server.url)
    assert type(error) is TlsFailed
    assert "self-signed" in error.message.replace("self signed", "self-signed")
    assert server.requests == []


def test_a_certificate_that_a_known_authority_signed_is_accepted(
    vendor: VendorFactory, tls: ssl.SSLContext, certificate: Path
) -> None:
    server = vendor(tls=tls)

    def fetch() -> Reply:
        trust().load_verify_locations(certificate)
        return BillingClient(server.url).fetch("interactions", server="0012", token=TOKEN)

    with ThreadPoolExecutor(1) as thread:  # whose trust ends with it
        assert [thread.submit(fetch).result().body for _ in range(2)] == [GOOD, GOOD]


def test_a_thread_reads_the_certificates_once_and_for_itself_alone() -> None:
    with ThreadPoolExecutor(1) as thread:
        others = thread.submit(trust).result()
    assert trust() is trust()
    assert trust() is not others
    assert (others.verify_mode, others.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_tls_that_breaks_after_the_request_leaves_the_call_under_way(tls: ssl.SSLContext, certificate: Path) -> None:
    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted.dup() as under_tls, tls.wrap_socket(accepted, server_side=True) as connection:
            connection.recv(65536)
            under_tls.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)

    def fetch(port: int) -> VendorError:
        trust().load_verify_locations(certificate)
        return error_of(f"https://127.0.0.1:{port}")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as threads:
        threads.submit(serve, listener)
        error = threads.submit(fetch, listener.getsockname()[1]).result()
    assert (type(error), error.is_under_way) == (TlsFailed, True)
    assert error.message == "It broke while an answer was waited for."


def test_a_server_that_speaks_no_tls_fails_without_falling_back(vendor: VendorFactory) -> None:
    server = vendor()
    assert type(error_of(server.url.replace("http:", "https:"))) is TlsFailed
    assert not any(TOKEN.encode() in request for request in server.requests)


# The token


@pytest.fixture
def echoing(vendor: VendorFactory) -> str:
    """A vendor that repeats the token in its error, in capitals."""
    body = json.dumps({"code": 403, "msg": f"PLEASE VALIDATE TOKEN {TOKEN.upper()}"}).encode()
    return vendor(response(body, "403 Forbidden")).url


def test_a_token_that_the_vendor_repeats_is_blacked_out_of_its_error(echoing: str) -> None:
    error = error_of(echoing)
    assert error.message == "PLEASE VALIDATE TOKEN •••"
    assert "•••" in error.excerpt
    assert TOKEN.lower() not in repr(vars(error)).lower()


def test_a_token_that_the_vendor_repeats_in_a_malformed_header_is_in_no_log(
    vendor: VendorFactory, caplog: pytest.LogCaptureFixture
) -> None:
    server = vendor(start("Content-Type: application/json", f"wolkvox-token : {TOKEN}") + GOOD)
    assert fetch(server.url).body == GOOD
    assert TOKEN not in caplog.text


def test_an_error_leads_back_to_no_request(vendor: VendorFactory, echoing: str) -> None:
    for url in (echoing, vendor(b"").url, vendor(CUT[0].values[0]).url, "http://wolkvox.invalid"):
        error = error_of(url)
        assert error.__cause__ is None
        assert error.__context__ is None
        assert TOKEN not in "".join(traceback.format_exception(error))


def test_a_token_that_the_vendor_repeats_is_blacked_out_of_its_answer(vendor: VendorFactory) -> None:
    server = vendor(response(b'{"msg": "' + TOKEN.encode() + b'"}'))
    assert fetch(server.url).body == '{"msg": "•••"}'.encode()


def test_so_is_one_that_the_vendor_escapes(vendor: VendorFactory) -> None:
    token = "Zm9v/YmFy+cXV4/Zm9vYmFy+w=="
    body = rb'{"msg": "Bogot\u00e1 \/ %s"}' % token.replace("/", r"\/").replace("=", r"\u003D").encode()
    assert fetch(vendor(response(body)).url, token=token).body == rb'{"msg": "Bogot\u00e1 \/ ' + '•••"}'.encode()


def test_so_is_a_short_one_that_was_taken_in_earlier_days(vendor: VendorFactory) -> None:
    assert fetch(vendor(response(b'{"msg": "s3cr3t-1"}')).url, token="S3cr3t-1").body == '{"msg": "•••"}'.encode()


def test_what_is_too_short_for_a_token_changes_no_figure(vendor: VendorFactory) -> None:
    assert fetch(vendor().url, token="1234").body == GOOD


def test_a_client_and_a_reply_show_neither_token_nor_body(vendor: VendorFactory) -> None:
    url = vendor().url
    assert repr(BillingClient(url)) == f"BillingClient('{url}')"
    assert "Quito" not in repr(fetch(url))
