"""A vendor that says byte for byte what a test scripts, on a real socket, with or without TLS."""

import datetime as dt
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# What a script yields: bytes to send, or seconds to wait.
Script = Iterable[bytes | float]

GOOD = (
    b'{"code": 200, "error": null, "msg": "Information found for the current month", "data": '
    b'[{"operation": "Quito", "description": "Email", "items": "1234", "date": "2026-11-23"}]}'
)


def response(body: bytes = GOOD, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """An HTTP/1.1 response; `length` is what it announces, by default the truth."""
    size = len(body) if length is None else length
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {size}", *headers)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def start(*headers: str, status: str = "200 OK") -> bytes:
    """A response's head without a length, for a body that the script sends piece by piece."""
    return "\r\n".join((f"HTTP/1.1 {status}", *headers)).encode() + b"\r\n\r\n"


_GOOD_RESPONSE = response()


class ScriptedServer:
    """Answers each connection with the script's bytes and keeps the request that it got."""

    def __init__(self, script: Callable[[], Script], tls: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self._script = script
        self._tls = tls
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Lets what is under way end; may be called twice."""
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(60)  # as long as a call may wait for its turn, its answer unread
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self.requests.append(_request(connection))
                self._play(connection)

    def _play(self, connection: socket.socket) -> None:
        for step in self._script():
            if self._stopped.is_set():
                return
            if isinstance(step, bytes):
                connection.sendall(step)
            else:
                self._stopped.wait(step)


def _request(connection: socket.socket) -> bytes:
    """A request's head; of what is no GET (a TLS handshake), only what came first."""
    received = connection.recv(65536)
    while received.startswith((b"GET ", b"CONNECT ")) and b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    return received


class Proxy:
    """An HTTP proxy that answers CONNECT with `status` and, where that is 200, lets all pass to and fro.

    `asked` holds the requests that it got, `passed` what it let pass to the vendor.
    """

    def __init__(self, status: str = "200 Connection established") -> None:
        self.asked: list[bytes] = []
        self.passed = b""
        self._status = status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://me:hunter2@127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):  # the listener was shut down
            client, _ = self._listener.accept()
            with client:
                self.asked.append(_request(client))
                client.sendall(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
                if self._status.startswith("200"):
                    host, port = self.asked[0].split()[1].decode().split(":")
                    with socket.create_connection((host, int(port))) as vendor:
                        self._pass(client, vendor)

    def _pass(self, client: socket.socket, vendor: socket.socket) -> None:
        while True:
            for sock in select.select([client, vendor], [], [])[0]:
                if not (piece := sock.recv(65536)):
                    return
                (client if sock is vendor else vendor).sendall(piece)
                self.passed += piece if sock is client else b""

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def proxy() -> Iterator[Callable[..., Proxy]]:
    with ExitStack() as stack:

        def start_one(status: str = "200 Connection established") -> Proxy:
            made = Proxy(status)
            stack.callback(made.stop)
            return made

        yield start_one


@contextmanager
def _running(script: Callable[[], Script], tls: ssl.SSLContext | None) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script, tls)
    try:
        yield server
    finally:
        server.stop()


VendorFactory = Callable[..., ScriptedServer]


@pytest.fixture
def vendor() -> Iterator[VendorFactory]:
    """Starts a server that sends some bytes, or what a generator function yields: bytes, and pauses in seconds."""
    with ExitStack() as stack:

        def start_one(
            script: bytes | Callable[[], Script] = _GOOD_RESPONSE, *, tls: ssl.SSLContext | None = None
        ) -> ScriptedServer:
            play = (lambda: [script]) if isinstance(script, bytes) else script
            return stack.enter_context(_running(play, tls))

        yield start_one


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and a certificate for 127.0.0.1 that nobody but itself has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "self-signed.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """The server's side of TLS under that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
