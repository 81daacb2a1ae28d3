"""A vendor on a socket that writes down what it truly served, whom it saw at once, and who came too often."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from random import Random
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Protocol

from .accounts import Account, Shown, Style, rows
from .answering import Answer, Asked, Way, as_php, fault, good, in_hex

BILLING, INFORMATION = "/api/v2/billing.php", "/api/v2/information.php"
HOLDS_ON = timedelta(seconds=60)
"""How long the vendor works on a call whose caller has died: it doesn't know of it."""

CONTESTED = 0.02
"""Seconds that an answer takes where two workers were sent for it: enough for them to meet."""


class Dangers(Protocol):
    """What befalls the process that is calling. Each says whether it did: the process may be elsewhere by now."""

    def kill(self, account: Account) -> bool: ...

    def pause(self, account: Account) -> bool: ...


@dataclass(frozen=True)
class Odds:
    """Of a call: that it is faulty, that its process is killed, that its process sleeps until its claim is gone."""

    fault: float = 0.2
    kill: float = 0.003
    pause: float = 0.0005


@dataclass
class Call:
    """An entry of the ledger: a call that came at `at` by our clock, and what was truly said."""

    account: Account
    api: str
    at: datetime
    fault: str = ""
    outcome: str = ""
    sha256: str = ""
    rows: Sequence[Shown] = ()
    is_late_news: bool = False
    is_under_another_name: bool = False
    was_killed: bool = False
    was_paused: bool = False
    is_read: bool = False


@dataclass
class UnderWay:
    connection: socket.socket
    is_over: bool = False

    def has_let_go(self) -> bool:
        """The caller has closed its side, which it does before it calls again."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


class Vendor:
    def __init__(self, accounts: Sequence[Account], *, clock: Callable[[], datetime], seed: int, odds: Odds) -> None:
        self.accounts = {account.token: account for account in accounts}
        self.calls: list[Call] = []
        self.overlaps: list[str] = []
        self.breaches: list[str] = []
        self.used: dict[tuple[int, date], list[datetime]] = defaultdict(list)
        self.contested: set[int] = set()
        self.odds = odds
        self.dangers: Dangers | None = None
        self.url = self.elsewhere = ""
        self.strangers: list[str] = []
        self._clock, self._seed, self._began = clock, seed, clock()
        self._lock = threading.Lock()
        self._under_way: dict[int, list[UnderWay]] = {account.number: [] for account in accounts}
        self._held: dict[int, datetime] = {}
        self._killed_at: dict[int, datetime] = {}
        self._count: Counter[tuple[int, str]] = Counter()

    # A call

    def serve(self, connection: socket.socket) -> None:
        asked = read_request(connection)
        if asked is None:
            return
        path, api, token = asked
        account = self.accounts.get(token)
        if account is None:
            return send(
                connection, Answer(b'{"code": 401, "msg": "PLEASE ENTER THE WOLKVOX-TOKEN"}', 401), self._clock()
            )
        with self._at_once(account, connection):
            if path == INFORMATION:
                self._inform(account, connection)
            else:
                self._bill(account, api, connection)

    @contextmanager
    def _at_once(self, account: Account, connection: socket.socket) -> Iterator[None]:
        """Notes who else is calling with the token, or may be for all that the vendor knows."""
        mine, at = UnderWay(connection), self._clock()
        with self._lock:
            others = [
                other for other in self._under_way[account.number] if not other.is_over and not other.has_let_go()
            ]
            if others:
                self.overlaps.append(f"{account.name}: {len(others) + 1} calls at once at {at}")
            if (held := self._held.get(account.number)) and at < held:
                self.overlaps.append(f"{account.name}: a call at {at}, while one of a process that died is under way")
            self._under_way[account.number] = [*others, mine]
        try:
            yield
        finally:
            mine.is_over = True

    def _spend(self, account: Account, at: datetime) -> bool:
        """Counts a call of the vendor's day. False, and a breach, if there was none left."""
        today = account.local(at).date()
        with self._lock:
            used = self.used[account.number, today]
            used.append(at)
            if is_over := len(used) > account.quota:
                calls = ", ".join(f"{call:%d %H:%M:%S}" for call in used)
                self.breaches.append(f"{account.name}: {account.quota} calls a day, and it made {calls}")
        return not is_over

    def _inform(self, account: Account, connection: socket.socket) -> None:
        at = self._clock()
        self._spend(account, at)
        used = len(self.used[account.number, account.local(at).date()])
        told = {
            "description": account.name,
            "token_limit": str(account.quota),
            "token_use_today": str(used),
            "all_token_today": str(used),
            "available_consumption_options": str(max(0, account.quota - used)),
        }
        send(connection, Answer(json.dumps({"code": "200", "error": None, "msg": "", "data": [told]}).encode()), at)

    def _bill(self, account: Account, api: str, connection: socket.socket) -> None:
        at = self._clock()
        with self._lock:
            self._count[account.number, api] += 1
            number = self._count[account.number, api]
            call = Call(account, api, at, was_killed=self._killed_at.get(account.number) == at)
            self.calls.append(call)
        chance = Random(f"{self._seed} {account.number} {api} {number}")
        moment = self._moment(account, at, chance)
        is_within = self._spend(account, at)
        before = late_in_the_month_before(account, moment, chance)
        call.is_late_news = before > self._began and is_late(account, api, moment)
        shown = rows(account, api, before if call.is_late_news else moment)
        asked = Asked(account, api, moment, shown, self.elsewhere, chance)
        if not is_within:
            call.fault, answer = (
                "over quota",
                Answer(b'{"code": 403, "msg": "TOKEN LIMIT EXCEEDED"}', 403, outcome="quota_exceeded"),
            )
        elif chance.random() < self.odds.fault:
            call.fault, answer = fault(asked)
        else:
            answer = good(asked)
            call.rows, call.sha256 = shown, digest(answer.body, account.token)
            call.is_under_another_name = answer.is_under_another_name
        call.outcome = answer.outcome
        if account.number in self.contested:
            time.sleep(CONTESTED)
        self._endanger(call, answer, connection, moment, chance)

    def _endanger(
        self, call: Call, answer: Answer, connection: socket.socket, moment: datetime, chance: Random
    ) -> None:
        fate, dangers = chance.random(), self.dangers
        clock = moment + call.account.skew
        if dangers and answer.way is Way.SENT and fate < self.odds.kill:
            when = chance.choice(("before", "midway", "after", "after", "after"))
            if when == "after":
                self._deliver(call, answer, connection, clock)
                time.sleep(chance.uniform(0, 0.015))
            elif when == "midway":
                connection.sendall(head(answer, clock) + answer.body[: len(answer.body) // 2])
            if dangers.kill(call.account):
                self._note_death(call, is_under_way=when != "after")
        elif dangers and answer.way is Way.SENT and fate < self.odds.kill + self.odds.pause:
            call.was_paused = dangers.pause(call.account)
            self._deliver(call, answer, connection, clock)
        else:
            self._deliver(call, answer, connection, clock)

    def _note_death(self, call: Call, *, is_under_way: bool) -> None:
        """Of the calls that the dead process made in this round, only the last can have been lost."""
        number = call.account.number
        with self._lock:
            self._killed_at[number] = call.at
            last = next(each for each in reversed(self.calls) if each.account.number == number)
            last.was_killed = True
            if is_under_way:
                self._held[number] = call.at + HOLDS_ON

    def _deliver(self, call: Call, answer: Answer, connection: socket.socket, clock: datetime) -> None:
        """For the vendor a call is over with the last byte that it sends; where none is, once the caller goes."""
        if answer.way is Way.SENT:
            with self._lock:
                for each in self._under_way[call.account.number]:
                    each.is_over = each.is_over or each.connection is connection
        with suppress(OSError):
            send(connection, answer, clock)

    def _moment(self, account: Account, at: datetime, chance: Random) -> datetime:
        """When the vendor looks at its counters: the call may have been long on its way."""
        if account.style is Style.UNDATED_DAY_COUNTER:
            return at
        return at + timedelta(seconds=chance.uniform(0, 50) if chance.random() < 0.2 else chance.uniform(0, 1))

    # Sockets

    @contextmanager
    def listening(self) -> Iterator[None]:
        """On a free port; and beside it another host, whom nobody should ever call."""
        with listener(self.serve) as self.url, listener(self._betrayed) as self.elsewhere:
            yield

    def _betrayed(self, connection: socket.socket) -> None:
        asked = read_request(connection)
        token = asked[2] if asked else ""
        self.strangers.append(f"another host was called, {'with' if token else 'without'} a token")
        account = self.accounts.get(token)
        shown = rows(account, asked[1] or account.api, self._clock()) if asked and account else ()
        if account:
            wrong = Asked(account, account.api, self._clock(), shown, "", Random(0)).wrong()
            send(connection, Answer(json.dumps({"code": 200, "data": wrong}).encode()), self._clock())


def is_late(account: Account, api: str, moment: datetime) -> bool:
    """Some machines of the vendor, asked by day, still speak of the old month when others have told of the new one."""
    lags = account.number % 4 == 1 and account.style.names_month and api == account.api
    ours, theirs = moment.astimezone(account.zone), account.local(moment)
    return lags and ours.day == theirs.day == 1 and 10 <= ours.hour < 20


def late_in_the_month_before(account: Account, moment: datetime, chance: Random) -> datetime:
    begins = account.local(moment).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begins - timedelta(seconds=chance.randint(1, 7200))


def digest(body: bytes, token: str) -> str:
    """Of what is kept: an answer without the token in it."""
    forms = "|".join(re.escape(form) for form in (token, as_php(token), in_hex(token)))
    return sha256(re.sub(forms.encode(), "•••".encode(), body, flags=re.IGNORECASE)).hexdigest()


def read_request(connection: socket.socket) -> tuple[str, str, str] | None:
    """The path, the API and the token."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(8192)
        received += piece
        if not piece or not received.startswith(b"GET "):  # nothing, or a TLS handshake
            return None
    first, *lines = received.decode("latin-1").split("\r\n")
    path, _, query = first.split(" ")[1].partition("?")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return path, query.removeprefix("api="), headers.get("wolkvox-token", "")


def head(answer: Answer, clock: datetime) -> bytes:
    names = dict(answer.headers)
    lines = [
        f"HTTP/1.1 {answer.status} Said",
        f"Date: {format_datetime(clock.astimezone(UTC), usegmt=True)}",
        *([f"Content-Type: {answer.content_type}"] if answer.content_type else []),
        *([] if "Content-Length" in names else [f"Content-Length: {len(answer.body)}"]),
        *(f"{name}: {value}" for name, value in answer.headers),
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def send(connection: socket.socket, answer: Answer, clock: datetime) -> None:
    if answer.way is Way.RESET:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif answer.way is Way.HELD:
        connection.recv(1)  # nothing, once the caller has gone
    elif answer.way is Way.NOT_HTTP:
        connection.sendall(answer.body)
    elif answer.way is Way.CUT:
        connection.sendall(head(answer, clock) + answer.body[: len(answer.body) // 2])
    elif answer.way is Way.DRIPPED:
        connection.sendall(head(answer, clock))
        for byte in answer.body:
            connection.sendall(bytes((byte,)))
            time.sleep(0.05)
    else:
        connection.sendall(head(answer, clock) + answer.body)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server with a thread a connection."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                serve(self.request)

    with _Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
