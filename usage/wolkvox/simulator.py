"""A simulated vendor on the contract of `vendor-api.md`: a WSGI app for the demo and the tests.

Any token of 52 hex digits is an operation's; those in `RESERVED` provoke an error each.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import format_datetime
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment
from zoneinfo import ZoneInfo

from usage.wolkvox.catalogue import APIS
from usage.wolkvox.simulated import OPERATIONS, SimulatedOperation, gauge, rows_of, token_of

__all__ = [
    "OPERATIONS",
    "RESERVED",
    "SimulatedOperation",
    "Simulator",
    "SimulatorServer",
    "provoking",
    "serve",
    "token_of",
]

_BILLING = "/api/v2/billing.php"
_INFORMATION = "/api/v2/information.php"
_TOKEN = re.compile(r"[0-9a-fA-F]{52}")
_MOST_AT_ONCE = 2
# A drip lasts longer than any call may (60 s).
_DRIPS = 300
_DRIP_SECONDS = 0.25


@dataclass(frozen=True)
class _Response:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    unsent: int = 0  # bytes that are announced but never come
    drips: bool = False


def _error(status: int, message: str, *headers: tuple[str, str], http_status: int | None = None) -> _Response:
    error = HTTPStatus(status).phrase.upper()
    body = json.dumps({"code": status, "error": error, "msg": message, "data": []}).encode()
    return _Response(http_status or status, body, headers=headers)


def _found(rows: list[dict[str, str]], message: str = "Information found for the current month") -> bytes:
    envelope = {"code": 200, "error": None, "msg": message, "data": rows}
    return json.dumps(envelope, ensure_ascii=False).encode()


_BAD_ROW = {"operation": "", "description": "Email", "items": "34.64 %", "date": ""}
_NO_TOKEN = _error(401, "PLEASE ENTER THE WOLKVOX-TOKEN")
_BAD_TOKEN = _error(403, "PLEASE VALIDATE TOKEN")
_QUOTA = _error(403, "TOKEN LIMIT EXCEEDED")
_TOO_MANY = _error(403, f"EXCEEDS THE LIMIT OF SIMULTANEOUS REQUESTS PER TOKEN ({_MOST_AT_ONCE})")
_NO_API = _error(400, "SOME PARAMETERS ARE REQUIRED")
_UNKNOWN_API = _error(400, "THE API YOU WANT TO CONSULT DOES NOT EXIST")
_NO_PAGE = _Response(404, b"<html><body>Not Found</body></html>", "text/html")

_PROVOKED: dict[str, _Response] = {
    "token_refused": _BAD_TOKEN,
    "quota": _QUOTA,
    "concurrency": _TOO_MANY,
    "maintenance": _error(403, "THE SERVICE IS NOT AVAILABLE DURING THE BACKUP"),
    "unauthorised": _NO_TOKEN,
    "unknown_api": _UNKNOWN_API,
    "missing_parameters": _NO_API,
    "no_data": _error(404, "THE DATE RANGE IS NOT VALID"),
    "rate_limited": _error(429, "TOO MANY REQUESTS", ("Retry-After", "120")),
    "server_error": _error(500, "INTERNAL SERVER ERROR"),
    "unavailable": _error(503, "SERVICE UNAVAILABLE"),
    "error_in_body": _error(403, "TOKEN LIMIT EXCEEDED", http_status=200),
    "html": _Response(200, b"<!doctype html><title>wolkvox</title><h1>Welcome</h1>", "text/html"),
    "truncated": _Response(200, b'{"code": 200, "error": null, "msg": "Inf', unsent=200),
    "slow": _Response(200, b" " * _DRIPS, drips=True),
    "bad_row": _Response(200, _found([_BAD_ROW])),
}


def provoking(trouble: str) -> str:
    """The token that provokes it."""
    return token_of(f"provokes {trouble}")


RESERVED = {provoking(trouble): response for trouble, response in _PROVOKED.items()}


class Simulator:
    """The vendor as a WSGI app. `clock` gives aware times; a month and a day end at midnight in `zone`.

    `latency` is slept in each call, in seconds; a licence allows `calls_per_licence` calls a day. For tests, `calls`
    counts each token's calls, `most_at_once` the most that were under way together, and `elsewhere` may be given the
    calls a day of the operation's other tokens.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        zone: str = "America/Bogota",
        latency: float = 0.0,
        calls_per_licence: int = 1000,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()
        self._clock = clock
        self._zone = ZoneInfo(zone)
        self._latency = latency
        self._calls_per_licence = calls_per_licence
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._answered: Counter[tuple[str, date]] = Counter()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request. The `Date` header follows the simulator's clock."""
        at = self._clock()
        response = self._response(environ, at)
        headers = [
            ("Date", format_datetime(at.astimezone(UTC), usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body) + response.unsent)),
            *response.headers,
        ]
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
        return _drip(response.body) if response.drips else [response.body]

    def answer(self, token: str, api: str, at: datetime) -> bytes:
        """The body of a good answer at an aware time, whatever the limits. KeyError for an unknown API."""
        return _found(rows_of(token, api, at.astimezone(self._zone)))

    def _response(self, environ: WSGIEnvironment, at: datetime) -> _Response:
        path = environ.get("PATH_INFO")
        if path not in {_BILLING, _INFORMATION}:
            return _NO_PAGE
        token = environ.get("HTTP_WOLKVOX_TOKEN", "")
        if not token:
            return _NO_TOKEN
        if not _TOKEN.fullmatch(token):
            return _BAD_TOKEN
        with self._turn(token) as at_once:
            time.sleep(self._latency)
            if at_once > _MOST_AT_ONCE:
                return _TOO_MANY
            return self._within_limits(token, _api(environ), at, is_billing=path == _BILLING)

    def _within_limits(self, token: str, api: str, at: datetime, *, is_billing: bool) -> _Response:
        if token in RESERVED:
            return RESERVED[token]
        if not api:
            return _NO_API
        if api not in (APIS if is_billing else {"token_info"}):
            return _UNKNOWN_API
        today = at.astimezone(self._zone).date()
        if not self._spend(token, today):
            return _QUOTA
        return _Response(200, self.answer(token, api, at) if is_billing else self._token_info(token, today))

    @contextmanager
    def _turn(self, token: str) -> Iterator[int]:
        """Counts the call as under way; gives how many of the token's are, this one included."""
        with self._lock:
            self.calls[token] += 1
            self._under_way[token] += 1
            at_once = self._under_way[token]
            self.most_at_once[token] = max(at_once, self.most_at_once[token])
        try:
            yield at_once
        finally:
            with self._lock:
                self._under_way[token] -= 1

    def _spend(self, token: str, today: date) -> bool:
        """Takes one call from the day's quota, licences x 1,000; False when none is left."""
        with self._lock:
            if self._answered[token, today] + self.elsewhere[token] >= self.quota(token, today):
                return False
            self._answered[token, today] += 1
        return True

    def quota(self, token: str, today: date) -> int:
        """The calls of a day: all tokens of the operation share them."""
        return gauge(token, "interaction_licenses", today) * self._calls_per_licence

    def _token_info(self, token: str, today: date) -> bytes:
        """Counts itself, as the vendor's does."""
        limit, used = self.quota(token, today), self._answered[token, today]
        row = {
            "description": "billing",
            "token_limit": str(limit),
            "token_use_today": str(used),
            "all_token_today": str(used + self.elsewhere[token]),
            "available_consumption_options": str(limit - used),
        }
        return _found([row], "1 records were found")


class SimulatorServer(ThreadingMixIn, WSGIServer):
    """A thread a request; `url` has no slash at its end."""

    daemon_threads = True
    request_queue_size = 128

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Logs nothing."""


@contextmanager
def serve(simulator: Simulator, host: str = "127.0.0.1", port: int = 0) -> Iterator[SimulatorServer]:
    """Runs the simulator on a real socket (a free port by default) until the block ends."""
    with make_server(host, port, simulator, SimulatorServer, _QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="simulated vendor")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _api(environ: WSGIEnvironment) -> str:
    query: str = environ.get("QUERY_STRING", "")
    return parse_qs(query).get("api", [""])[0]


def _drip(body: bytes) -> Iterator[bytes]:
    for byte in body:
        time.sleep(_DRIP_SECONDS)
        yield bytes((byte,))
