"""One call of the vendor's billing API, with its limits and its errors (`vendor-api.md`, "The call")."""

import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import requests
import urllib3

from usage.wolkvox.blackening import blackened_bytes
from usage.wolkvox.deadline import Deadline, WatchedAdapter
from usage.wolkvox.errors import (
    AnswerTooLarge,
    AnswerUnreadable,
    NotReached,
    Redirected,
    TimedOut,
    TlsFailed,
    VendorError,
    quotable,
    refusal,
)
from usage.wolkvox.hand import SMALL_BYTES, UNREAD_BYTES, Hand

_BILLING = "/api/v2/billing.php"
_INFORMATION = "/api/v2/information.php"
_PIECE_BYTES = 64 * 1024
_ERROR_BYTES = 64 * 1024
_LONGEST_RETRY_AFTER = timedelta(hours=24)
# Whatever could ever be stored as a token (usage/tokens.py). Less might be part of a figure or of a name.
_SHORTEST_BLACKENED = 8
_SERVER = re.compile(r"[0-9]{4}")
_TOKEN = re.compile(r"[!-~]+")
_URL = re.compile(r"https?://[^\s@?#]+")
_JSON_TYPE = re.compile(r"(application|text)/([\w.-]+\+)?json", re.IGNORECASE)
_PROXY_REFUSED = "The proxy was not reached, or it refused the call."
_UNREACHED: dict[type[Exception], str] = {
    requests.exceptions.ProxyError: _PROXY_REFUSED,
    socket.gaierror: "The server's name was not found.",
    UnicodeError: "The server's name can't be one.",
    ConnectionRefusedError: "The connection was refused.",
    ConnectionError: "The connection was broken off before an answer came.",
    http.client.HTTPException: _PROXY_REFUSED,  # what came before the request had left
}
_NO_WAY = "There is no way to the server."
# All that requests and urllib3 let out: their own errors, and those of the layers under them.
_TROUBLE = (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError)


@dataclass(frozen=True)
class Reply:
    """The vendor's answer with HTTP status 200, its `code` not yet looked at. All times are aware, in UTC.

    `body` is as it came, except that the token, should the vendor repeat it, is blacked out.
    `vendor_clock` is the `Date` header, None where it is missing or unreadable. `retry_after` is the header of that
    name, for a `code` that asks to wait.
    """

    body: bytes = field(repr=False)
    http_status: int
    vendor_clock: datetime | None
    started_at: datetime
    ended_at: datetime
    retry_after: timedelta | None = None


class BillingClient:
    """Calls the billing API at `url`, in which `{server}` stands for the operation's server number.

    With `proxy`, as http://user:password@host:port, an https:// vendor is called through a tunnel that this one opens.
    `deadline` is in seconds and counts for the whole call, by a monotonic clock. `max_bytes` caps an answer.
    """

    def __init__(
        self,
        url: str = "https://wv{server}.wolkvox.com",
        *,
        proxy: str = "",
        deadline: float = 60.0,
        max_bytes: int = 16 * 2**20,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises ValueError for a URL that can't be called, or that holds a user, a query or a fragment."""
        if not _is_callable(url):
            raise ValueError("The vendor's URL must be http:// or https:// with a host.")
        self._url = url.rstrip("/")
        self._proxies = {"https": proxy} if proxy else {}
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._now = now

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def fetch(
        self, api: str, *, server: str, token: str, began: float | None = None, hand: Hand | None = None
    ) -> Reply:
        """Calls a billing API once: follows no redirect, uses no proxy but its own, and retries nothing.

        The deadline counts from `began` on the monotonic clock, or from now. While `hand` has hold of a large answer,
        no other one of this process is read; without it, while this call lasts. Raises ValueError, before anything is
        sent, for a server or token that can't be one, and a concrete VendorError for any answer but an HTTP 200
        with a whole body that is marked as JSON, or not marked.
        """
        return self._call(_BILLING, api, server, token, began=began, hand=hand)

    def fetch_token_info(
        self, *, server: str, token: str, began: float | None = None, hand: Hand | None = None
    ) -> Reply:
        """Asks, in the same way, what the token may call in a day: a call that counts as well."""
        return self._call(_INFORMATION, "token_info", server, token, began=began, hand=hand)

    def _call(self, path: str, api: str, server: str, token: str, *, began: float | None, hand: Hand | None) -> Reply:
        _check(server, token)
        started_at = self._now()
        request = self._request(path, api, server, token).prepare()
        with (
            Hand() as own_hand,
            Deadline(self._deadline, began=began) as deadline,
            closing(WatchedAdapter(deadline)) as adapter,
            closing(_opened(adapter, request, deadline, self._proxies)) as response,
        ):
            body = self._accepted_body(response, deadline, token, hand or own_hand)
        return Reply(
            body=blackened_bytes(body, token) if len(token) >= _SHORTEST_BLACKENED else body,
            http_status=response.status_code,
            vendor_clock=_clock(response.headers.get("Date")),
            started_at=started_at,
            ended_at=self._now(),
            retry_after=self._retry_after(response),
        )

    def _request(self, path: str, api: str, server: str, token: str) -> requests.Request:
        headers = {
            "wolkvox-token": token,
            "wolkvox_server": server,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "billing-dashboard",
            "Connection": "close",
        }
        url = self._url.replace("{server}", server) + path
        return requests.Request("GET", url, params={"api": api}, headers=headers)

    def _accepted_body(self, response: requests.Response, deadline: Deadline, token: str, hand: Hand) -> bytes:
        status = response.status_code
        if 300 <= status < 400:
            location = response.headers.get("Location", "")
            raise Redirected(f"HTTP {status}", http_status=status, excerpt=location, token=token)
        if status != 200:
            raise self._refused(response, _beginning(response, deadline), token)
        if problem := _unwelcome(response):
            excerpt = quotable(_beginning(response, deadline))
            raise AnswerUnreadable(problem, http_status=status, excerpt=excerpt, token=token)
        return _whole_body(response, deadline, self._max_bytes, token, hand)

    def _refused(self, response: requests.Response, body: bytes, token: str) -> VendorError:
        code, error, message = _error_texts(body)
        return refusal(
            response.status_code,
            error,
            message,
            code=code,
            retry_after=self._retry_after(response),
            excerpt=quotable(body),
            token=token,
        )

    def _retry_after(self, response: requests.Response) -> timedelta | None:
        clock = _clock(response.headers.get("Date")) or self._now()
        return _retry_after(response.headers.get("Retry-After", ""), clock)


def _is_callable(url: str) -> bool:
    try:
        requests.Request("GET", url.replace("{server}", "0000")).prepare()
    except ValueError:
        return False
    return bool(_URL.fullmatch(url))


def _check(server: str, token: str) -> None:
    if not _SERVER.fullmatch(server):
        raise ValueError("A server is four digits.")
    if not _TOKEN.fullmatch(token):
        raise ValueError("A token is one or more visible ASCII characters, without spaces.")


def _opened(
    adapter: WatchedAdapter, request: requests.PreparedRequest, deadline: Deadline, proxies: Mapping[str, str]
) -> requests.Response:
    """The response, its headers read. Raised outside the handler, an error doesn't hold on to the request.

    Without a session of requests: it would follow redirects, or read their whole body when told not to, and look for
    proxies and passwords in the environment.
    """
    try:
        return adapter.send(request, stream=True, timeout=deadline.seconds, proxies=proxies)
    except _TROUBLE as trouble:
        error = _explained(trouble, deadline)
    raise error


def _explained(trouble: BaseException, deadline: Deadline) -> VendorError:
    causes = list(_chain(trouble))

    def is_due_to(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if deadline.has_passed or is_due_to(TimeoutError):
        return _timed_out(deadline)
    if is_due_to(ssl.SSLError):
        return TlsFailed(_tls_reason(causes, deadline), is_under_way=deadline.has_sent)
    is_malformed = is_due_to(http.client.HTTPException, urllib3.exceptions.InvalidHeader)
    # http.client takes a silent close for a bad status.
    if is_malformed and deadline.has_sent and not is_due_to(ConnectionError):
        return AnswerUnreadable("What came back is not HTTP.", is_under_way=True)
    reason = next((reason for kind, reason in _UNREACHED.items() if is_due_to(kind)), _NO_WAY)
    return NotReached(reason, is_under_way=deadline.has_sent)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that it was raised in the handling of: the root cause comes last."""
    while error:
        yield error
        error = error.__context__


def _tls_reason(causes: list[BaseException], deadline: Deadline) -> str:
    if deadline.has_sent:
        return "It broke while an answer was waited for."
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The certificate was not accepted: {cause.verify_message}."
    return "The handshake failed."


def _timed_out(deadline: Deadline) -> TimedOut:
    if deadline.has_sent:
        return TimedOut(f"No whole answer came within {deadline.seconds:g} seconds.", is_under_way=True)
    return TimedOut(f"No connection came within {deadline.seconds_to_send:g} seconds.")


def _unwelcome(response: requests.Response) -> str:
    """What the headers of an answer say against it, or nothing."""
    encoding = response.headers.get("Content-Encoding", "identity").strip()
    if encoding.lower() not in {"", "identity"}:
        return f"The answer is encoded as {encoding}, which was not asked for."
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if content_type and not _JSON_TYPE.fullmatch(content_type):
        return f"The answer is marked as {content_type}, not as JSON."
    return ""


def _whole_body(response: requests.Response, deadline: Deadline, max_bytes: int, token: str, hand: Hand) -> bytes:
    body = bytearray()
    size = response.raw.length_remaining or 0  # as announced at first, as counted from then on
    try:
        while size <= max_bytes and (piece := _piece(response, deadline)):
            body += piece
            size = len(body)
            if size > UNREAD_BYTES:
                hand.await_turn(deadline)
        if size > max_bytes:
            status = response.status_code
            raise AnswerTooLarge(f"The answer is over {max_bytes} bytes.", http_status=status, is_under_way=True)
        if size > SMALL_BYTES:
            hand.await_turn(deadline)
    except VendorError as error:
        raise error.quoting(bytes(body[:_ERROR_BYTES]), token) from None
    return bytes(body)


def _beginning(response: requests.Response, deadline: Deadline) -> bytes:
    """The first 64 kB of a body that only serves to explain an error, as far as it comes."""
    body = bytearray()
    with suppress(AnswerUnreadable):
        while len(body) < _ERROR_BYTES and (piece := _piece(response, deadline)):
            body += piece
    return bytes(body[:_ERROR_BYTES])


def _piece(response: requests.Response, deadline: Deadline) -> bytes:
    """The next bytes as they came, none at the end. Raises TimedOut, or AnswerUnreadable where cut short."""
    piece: bytes | None
    try:
        piece = response.raw.read1(_PIECE_BYTES, decode_content=False)
    except _TROUBLE:
        piece = None
    if deadline.has_passed:
        raise _timed_out(deadline)
    if piece is None:
        status = response.status_code
        raise AnswerUnreadable("The answer broke off before its end.", http_status=status, is_under_way=True)
    return piece


def _error_texts(body: bytes) -> tuple[str, str, str]:
    """The code, error and message of an error's body. One that is no JSON object is a message as a whole."""
    text = body.decode("utf-8", "replace")
    try:
        envelope = json.loads(text)
    except (ValueError, RecursionError):
        envelope = None
    if not isinstance(envelope, dict):
        return "", "", text
    code, error, message, msg = (_word(envelope.get(name)) for name in ("code", "error", "message", "msg"))
    return code, error, msg or message


def _word(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _clock(header: str | None) -> datetime | None:
    """The time of an HTTP date, in UTC."""
    try:
        moment = parsedate_to_datetime(header or "")
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _retry_after(header: str, clock: datetime) -> timedelta | None:
    """How long to wait: the header is in seconds, or an HTTP date that is held against the vendor's clock."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        wait = timedelta(seconds=min(int(text[:9]), _LONGEST_RETRY_AFTER.total_seconds()))
    elif moment := _clock(text):
        wait = moment - clock
    else:
        return None
    return min(max(wait, timedelta()), _LONGEST_RETRY_AFTER)
