"""A total deadline for a call, since the timeouts of requests and urllib3 start anew with each byte."""

import functools
import math
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast

from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError

RESET = struct.pack("ii", 1, 0)
"""Resets a connection that is closed, so that the vendor knows at once that nobody reads what it sends."""


class Deadline:
    """Ends what is under way on a socket when its seconds are up, by the monotonic clock, from the watchdog's thread.

    A context manager: the clock starts at `began`, by default on construction, and stops on exit. It holds a
    duplicate of the socket's descriptor, since TLS takes over the original, and shuts that down: reads and writes
    that are under way end at once, as if the other side had closed the connection.

    The request has a third of the time to leave, and is not sent if it is later, however that came: from then on the
    vendor may work on it for a whole call's time, and who claimed the token must be able to reckon with that.
    """

    def __init__(self, seconds: float, *, began: float | None = None) -> None:
        self.seconds = seconds
        self.seconds_to_send = seconds / 3
        self.has_sent = False
        began = time.monotonic() if began is None else began
        self.ends = began + seconds
        self._sends_until = began + self.seconds_to_send
        self._lock = threading.Lock()
        self._watched: socket.socket | None = None

    def __enter__(self) -> Self:
        _watchdog.mind(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _watchdog.forget(self)
        with self._lock:
            self._let_go()

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self.ends

    @property
    def seconds_left(self) -> float:
        return max(self.ends - time.monotonic(), 0.0)

    def sending(self) -> None:
        """To be called right before the request leaves. Raises TimeoutError when it is too late for that."""
        self._refuse_if_late()
        self.has_sent = True

    def watch(self, sock: socket.socket) -> None:
        """Watches this socket from now on, instead of any before. Raises TimeoutError like `sending`."""
        with self._lock:
            self._let_go()
            self._refuse_if_late()
            self._watched = sock.dup()

    def connect(self, host: str, port: int) -> socket.socket:
        """A watched connection to the first of the host's addresses that answers; they share the time to send.

        Looking up the name can't be ended from here, so it may take longer; nothing is sent if it does.
        Raises OSError, of which socket.gaierror for an unknown name and TimeoutError are kinds.
        """
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        trouble = OSError("The name has no address.")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            share = (self._sends_until - time.monotonic()) / (len(addresses) - tried)
            try:
                return self._connected(socket.socket(family, kind, protocol), address, share)
            except OSError as error:
                trouble = error
        raise trouble

    def _connected(self, sock: socket.socket, address: Any, seconds: float) -> socket.socket:
        try:
            self.watch(sock)
            sock.settimeout(max(seconds, 0.001))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _refuse_if_late(self) -> None:
        if time.monotonic() >= self._sends_until:
            raise TimeoutError

    def end(self) -> None:
        with self._lock, suppress(OSError):
            if self._watched:
                self._watched.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self._watched.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        if self._watched:
            self._watched.close()
            self._watched = None


class Watchdog:
    """One thread that ends all calls whose seconds are up: to start a thread for each call costs more than to watch it.

    It sleeps until the first deadline that it knows of. A later one doesn't wake it, nor does a call that is over.
    """

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._deadlines: set[Deadline] = set()
        self._looks_at = math.inf
        self._thread: threading.Thread | None = None

    def mind(self, deadline: Deadline) -> None:
        with self._news:
            self._deadlines.add(deadline)
            if not self._thread or not self._thread.is_alive():  # none yet, or none in this process since a fork
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            elif deadline.ends < self._looks_at:
                self._news.notify()

    def forget(self, deadline: Deadline) -> None:
        with self._news:
            self._deadlines.discard(deadline)

    def _run(self) -> None:
        with self._news:
            while True:
                for deadline in [deadline for deadline in self._deadlines if deadline.has_passed]:
                    self._deadlines.remove(deadline)
                    deadline.end()
                self._looks_at = min((deadline.ends for deadline in self._deadlines), default=math.inf)
                seconds = self._looks_at - time.monotonic()
                self._news.wait(None if seconds == math.inf else max(seconds, 0))


_watchdog = Watchdog()


class WatchedAdapter(HTTPAdapter):
    """Requests' adapter, with every connection made by a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        """Called by `send` for the pool that will make the connection (requests 2.32 and later)."""
        pool = cast(HTTPConnectionPool, super().get_connection_with_tls_context(*args, **kwargs))
        made: Callable[..., HTTPConnection] = functools.partial(WatchedHTTPConnection, deadline=self._deadline)
        if pool.scheme == "https":
            made = functools.partial(WatchedHTTPSConnection, deadline=self._deadline, ssl_context=trust())
        pool.ConnectionCls = cast(Any, made)
        return pool

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Reads no certificates: the context has them, and verifies."""


_of_thread = threading.local()


def trust() -> ssl.SSLContext:
    """This thread's TLS context, which refuses what no known authority has signed.

    Made once, for reading the authorities' certificates takes longer than all the rest of a call. Threads don't share
    one, since urllib3 sets it up again for each connection, and OpenSSL takes no lock for that.
    """
    if not hasattr(_of_thread, "context"):
        _of_thread.context = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
    context: ssl.SSLContext = _of_thread.context
    return context


class WatchedHTTPConnection(HTTPConnection):
    """urllib3 makes its socket in `_new_conn`, before TLS and before anything is sent (urllib3 2.x)."""

    def __init__(self, *args: Any, deadline: Deadline, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline = deadline

    def _new_conn(self) -> socket.socket:
        try:
            return self.deadline.connect(self._dns_host, self.port)
        except OSError as error:  # urllib3 takes a bare reset for one that came after the request
            raise NewConnectionError(self, "not connected") from error

    def send(self, data: Any) -> None:
        """http.client sends the request through here, its head and no body: in one piece.

        Before that, it asks a proxy for a tunnel, of which the vendor hears nothing.
        """
        if self.sock is None:
            self.connect()
        if not data.startswith(b"CONNECT "):
            self.deadline.sending()
        super().send(data)


class WatchedHTTPSConnection(WatchedHTTPConnection, HTTPSConnection):
    """The same under TLS."""
