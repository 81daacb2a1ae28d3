"""Run a command with DATABASE_URL at a throwaway PostgreSQL: python tests/with_postgres.py COMMAND...

The cluster lives in a temporary folder and takes no care of its data; the command's exit code is passed on.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pwd import getpwnam
from typing import NoReturn

import psycopg

SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "100"}


def stop(line: str) -> NoReturn:
    print(f"with_postgres: {line}", file=sys.stderr)
    raise SystemExit(2)


def binaries() -> Path:
    """The folder of the newest server's programs; Debian keeps them off PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = installed[-1] if installed else shutil.which("initdb")
    return Path(found).parent if found else stop("there is no PostgreSQL server: apt-get install postgresql")


def unprivileged() -> tuple[int | None, list[str | Path]]:
    """Whom the server runs as, and the command's prefix that does it: it refuses root."""
    if os.geteuid() != 0:
        return None, []
    for name in ("postgres", "nobody"):
        try:
            user = getpwnam(name)
        except KeyError:
            continue
        group = f"--regid={user.pw_gid}"
        return user.pw_uid, ["setpriv", f"--reuid={user.pw_uid}", group, "--clear-groups"]
    stop("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
    stop(f"PostgreSQL did not start: {last_line(log)}")


def last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]


class Cluster:
    """A server on a free port, with its data in a folder that is the server's own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.port = folder, folder / "log", free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self._programs = binaries()
        self._owner, self._as_owner = unprivileged()

    def make(self) -> None:
        if self._owner is not None:
            os.chown(self.folder, self._owner, -1)
        make: list[str | Path] = [*self._as_owner, self._programs / "initdb", "--pgdata", self.folder / "data"]
        make += ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        with self.log.open("wb") as output:
            made = subprocess.run(make, cwd=self.folder, stdout=output, stderr=output, check=False)
        if made.returncode:
            stop(f"initdb failed: {last_line(self.log)}")

    def start(self) -> None:
        # The kernel ends the server if this script is killed outright.
        guard = [*(self._as_owner or ["setpriv"]), "--pdeathsig", "QUIT", "--"]
        serve: list[str | Path] = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        serve += ["-h127.0.0.1", f"-p{self.port}", *(f"-c{key}={value}" for key, value in SETTINGS.items())]
        with self.log.open("ab") as output:
            self._server = subprocess.Popen(
                [*guard, *serve], cwd=self.folder, stdout=output, stderr=output, start_new_session=True
            )
        wait_for(self._server, self.url, self.log)

    def stop(self) -> None:
        self._server.send_signal(signal.SIGINT)  # a fast shutdown: open sessions don't hold it up
        self._server.wait(30)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster that runs, and may be stopped and started, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        made = Cluster(Path(name))
        made.make()
        try:
            made.start()
            yield made
        finally:
            made.stop()


@contextmanager
def cluster() -> Iterator[str]:
    """A cluster's URL, for as long as the context lasts."""
    with running_cluster() as made:
        yield made.url


def main(command: Sequence[str]) -> int:
    if not command:
        stop("it takes a command: python tests/with_postgres.py COMMAND...")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with cluster() as url:
            code = subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        stop(f"{error.filename} can't be run: {error.strerror}")
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
