"""The launcher as a process: what it refuses, what it writes, and that it leaves nothing running."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from billing_dashboard.launch import DEMO, ROOT, choose_places, claim, free_port, write_secrets

pytestmark = pytest.mark.process

SLEEP = "import sys, time; print('up', flush=True); time.sleep(60)"
SHRUG_OFF_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
LEAVE_A_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}])"
DIE = "import time; time.sleep(0.5); raise SystemExit(3)"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `python ARGUMENTS...`; it and its children carry the test's folder in their environment."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str | Path, **variables: str) -> "subprocess.Popen[str]":
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=inherited | {"STARTED_BY": str(tmp_path)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()
    for left in running(tmp_path):
        os.kill(left, signal.SIGKILL)


@pytest.fixture
def launch(start: Start, tmp_path: Path) -> Start:
    return lambda *options, **variables: start(
        "-m", "billing_dashboard.launch", "--folder", tmp_path, *options, **variables
    )


@pytest.fixture
def supervise(start: Start) -> Start:
    def run(**programs: str) -> "subprocess.Popen[str]":
        children = [f"launch.Program({name!r}, [sys.executable, '-c', {code!r}])" for name, code in programs.items()]
        return start(
            "-c",
            "import sys; from billing_dashboard import launch; launch.GRACE = 1.0; "
            f"sys.exit(launch.Supervisor([{', '.join(children)}]).run())",
        )

    return run


def running(folder: Path) -> list[int]:
    """The processes, other than this one, that were started by a test with this folder."""
    mark = f"STARTED_BY={folder}\0".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [int(environment.parent.name)] if mark in environment.read_bytes() else []
        except OSError:  # it ended meanwhile
            continue
    return found


def until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def read_until(process: "subprocess.Popen[str]", *texts: str) -> None:
    """Until each was said, in whatever order."""
    assert process.stdout is not None
    unsaid = set(texts)
    for line in process.stdout:
        unsaid = {text for text in unsaid if text not in line}
        if not unsaid:
            return
    raise AssertionError(f"ended without saying {unsaid}")


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def refusal(process: "subprocess.Popen[str]") -> str:
    """What a refused launch said, which must be one line."""
    _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert error.count("\n") == 1
    return error


# What it refuses


def test_a_port_in_use_is_refused(launch: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} can't be used" in refusal(launch("--port", port))


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "８０００", "8" * 5000])
def test_a_port_that_is_none_is_refused(launch: Start, port: str) -> None:
    assert "PORT is" in refusal(launch(PORT=port))


def test_a_second_launch_on_the_same_data_is_refused(launch: Start, tmp_path: Path) -> None:
    with claim(tmp_path / "data"):
        assert "is in use by another launch" in refusal(launch("--port", str(free_port())))


def test_a_data_folder_that_cannot_be_written_is_refused(launch: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands here")
    assert "can't be written" in refusal(launch("--port", str(free_port())))


def test_a_folder_too_deep_for_a_socket_is_refused(start: Start, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    said = refusal(start("-m", "billing_dashboard.launch", "--folder", deep, "--port", str(free_port())))
    assert "too long for a socket" in said


def test_a_database_out_of_reach_is_refused(launch: Start) -> None:
    url = f"postgres://nobody@127.0.0.1:{free_port()}/none"
    said = refusal(launch("--port", str(free_port()), DATABASE_URL=url))
    assert "the database can't be brought up to date" in said


# What it writes


def test_secrets_are_written_once_for_their_owner_alone(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    write_secrets(dotenv)
    written = dotenv.read_text()
    write_secrets(dotenv)

    assert dotenv.read_text() == written
    assert stat.S_IMODE(dotenv.stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in written.splitlines() if not line.startswith("#"))
    assert set(values) == {"SECRET_KEY", "TOKEN_ENCRYPTION_KEYS"}
    assert len(values["SECRET_KEY"]) > 50
    Fernet(values["TOKEN_ENCRYPTION_KEYS"])


def test_the_demo_never_meets_real_data(tmp_path: Path) -> None:
    real = {"DATABASE_URL": "postgres://db/real", "REDIS_URL": "redis://real", "WOLKVOX_URL": "https://real"}
    real |= {"ALLOWED_HOSTS": "billing.example.com", "CSRF_TRUSTED_ORIGINS": "https://billing.example.com"}
    real |= {"NOTICE": "Ask Laura"}
    environment = dict(real)

    assert choose_places(environment, tmp_path, vendor_port=9000)
    assert environment["DATABASE_URL"] == f"sqlite:///{tmp_path}/billing.sqlite3"
    assert environment["REDIS_URL"] == f"unix://{tmp_path}/valkey.sock"
    assert environment["WOLKVOX_URL"] == "http://127.0.0.1:9000"
    assert environment["ALLOWED_HOSTS"] == "localhost,127.0.0.1"
    assert environment["CSRF_TRUSTED_ORIGINS"] == ""
    assert environment["NOTICE"] == DEMO

    environment = dict(real)
    assert not choose_places(environment, tmp_path, vendor_port=None)
    assert environment == real


# What it runs


def test_a_childs_death_is_said_and_ends_the_others(supervise: Start, tmp_path: Path) -> None:
    process = supervise(broker=SLEEP, web=DIE)
    said, _ = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "web ended with exit code 3; ending the rest" in said
    assert running(tmp_path) == []


def test_a_child_killed_outright_is_said_with_its_signal(supervise: Start, tmp_path: Path) -> None:
    process = supervise(worker="import os; os.kill(os.getpid(), 9)")
    said, _ = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "worker was ended by SIGKILL" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_child(supervise: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = supervise(broker=SLEEP, web=SLEEP, worker=SLEEP)
    for _ in range(3):
        read_until(process, "up")
    process.send_signal(number)
    process.communicate(timeout=20)

    assert process.returncode == 0
    assert running(tmp_path) == []


def test_a_child_that_shrugs_off_the_end_is_killed(supervise: Start, tmp_path: Path) -> None:
    process = supervise(broker=SLEEP, worker=SHRUG_OFF_SIGTERM)
    for _ in range(2):
        read_until(process, "up")
    process.terminate()
    said, _ = process.communicate(timeout=20)

    assert "worker did not stop within 1 s and is killed" in said
    assert running(tmp_path) == []


def test_what_a_child_leaves_behind_is_ended_too(supervise: Start, tmp_path: Path) -> None:
    process = supervise(broker=SLEEP, web=LEAVE_A_CHILD)
    process.communicate(timeout=20)

    assert running(tmp_path) == []


def test_the_broker_is_stopped_last(supervise: Start) -> None:
    def saying_farewell(name: str) -> str:
        return f"""
import atexit, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
atexit.register(print, "farewell from the {name}")
{SLEEP}"""

    process = supervise(broker=saying_farewell("broker"), worker=saying_farewell("worker"))
    for _ in range(2):
        read_until(process, "up")
    process.terminate()
    said, _ = process.communicate(timeout=20)

    assert said.index("farewell from the worker") < said.index("farewell from the broker")


def test_a_launcher_killed_outright_leaves_no_child(supervise: Start, tmp_path: Path) -> None:
    process = supervise(broker=SLEEP, web=SLEEP)
    for _ in range(2):
        read_until(process, "up")
    process.kill()

    until(lambda: running(tmp_path) == [])


def test_it_ends_when_nobody_reads_its_output(supervise: Start, tmp_path: Path) -> None:
    process = supervise(web="import time\nwhile True: print('up', flush=True); time.sleep(0.1)")
    read_until(process, "up")
    assert process.stdout is not None
    process.stdout.close()

    assert process.wait(20) == 0
    assert running(tmp_path) == []


def test_the_real_children_answer_and_end(launch: Start, tmp_path: Path) -> None:
    folder, port = tmp_path, free_port()
    process = launch("--port", str(port))
    read_until(process, f"http://127.0.0.1:{port}", "ready.")
    assert answers(port)
    assert stat.S_IMODE((folder / "data" / "valkey.sock").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "data" / "billing.sqlite3").stat().st_mode) == 0o600

    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert running(folder) == []


def test_the_real_children_end_with_a_launcher_killed_outright(launch: Start, tmp_path: Path) -> None:
    port = free_port()
    process = launch("--port", str(port))
    read_until(process, f"http://127.0.0.1:{port}")
    process.kill()

    until(lambda: running(tmp_path) == [])
