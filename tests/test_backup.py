"""Backup and return, as an administrator runs them: commands on a database of their own, files looked at after."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg
import pytest
from cryptography.fernet import Fernet

from tests.installation import zone_at_noon
from tests.test_commands import ROOT, TOKEN, Installation
from tests.with_postgres import binaries, cluster
from usage.collecting import backup
from usage.wolkvox.simulator import Simulator, serve, token_of

KEPT = "*-before-restore-*"
ZONE = zone_at_noon()
"""Where the operation is: 20 minutes ago are of the same day there."""


@pytest.fixture(scope="module")
def polled(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation with an operation and its first two polls."""
    with serve(Simulator()) as server:
        database = tmp_path_factory.mktemp("polled") / "live.sqlite3"
        made = Installation(database, Fernet.generate_key().decode(), server.url)
        assert made.run("migrate", "--verbosity=0").code == 0
        assert made.add("Medellín", TOKEN, "--time-zone", ZONE).code == 0
        assert made.run("poll").code == 0
    return made


@pytest.fixture
def manage(polled: Installation, tmp_path: Path) -> Iterator[Installation]:
    """A copy of it for a test, in a folder `data` of its own."""
    (tmp_path / "data").mkdir()
    with serve(Simulator()) as server:
        database = Path(shutil.copy(polled.database, tmp_path / "data" / "live.sqlite3"))
        yield Installation(database, polled.key, server.url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "billing.sqlite3"


def of(manage: Installation, file: Path) -> Installation:
    """The same keys on another database."""
    return Installation(file, manage.key, manage.vendor)


def content(file: Path) -> list[str]:
    """Everything in a database, but for when the token was last claimed, and when its limit is to be asked for."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE usage_operation SET claimed_by = '', claimed_at = NULL, limit_due_at = NULL")
        return list(database.iterdump())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm")))


def write(file: Path, sql: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(sql)


# backup


def test_a_backup_is_one_sound_file_for_its_owner_alone(manage: Installation, file: Path) -> None:
    ran = manage.run("backup", str(file))
    assert (ran.code, ran.error) == (0, "")
    assert ran.out.startswith(f"wrote {file}, ")
    assert "without its TOKEN_ENCRYPTION_KEYS the tokens are lost, the figures are not." in ran.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names(file.parent) == [file.name]
    assert content(file) == content(manage.database)
    assert of(manage, file).run("rebuild", "--check").out == "0 differences\n"


def test_a_backup_overwrites_only_when_told_to(manage: Installation, file: Path) -> None:
    file.write_text("something of value")
    ran = manage.run("backup", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert ran.error == f"CommandError: {file} is there already; --force overwrites it\n"
    assert file.read_text() == "something of value"
    assert manage.run("backup", str(file), "--force").code == 0
    assert content(file) == content(manage.database)


def damage(manage: Installation) -> None:
    """Spoil a page of an index, as a bad disk does: the file opens and most of it can be read."""
    with closing(sqlite3.connect(manage.database)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        [page] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'polls_by_time'").fetchone()
        [size] = database.execute("PRAGMA page_size").fetchone()
    with manage.database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))


def lose(manage: Installation) -> None:
    manage.database.unlink()


def empty(manage: Installation) -> None:
    manage.database.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "code", "sentence"),
    [
        (lose, 2, "there is no database at "),
        (empty, 2, " is no database of this dashboard"),
        (damage, 1, " is damaged: "),
    ],
)
def test_a_database_that_can_not_be_backed_up_leaves_nothing(
    manage: Installation, file: Path, spoil: Callable[[Installation], None], code: int, sentence: str
) -> None:
    spoil(manage)
    before = names(manage.database.parent)
    ran = manage.run("backup", str(file))
    assert (ran.code, ran.out, ran.error.count("\n")) == (code, "", 1)
    assert sentence in ran.error
    assert (names(manage.database.parent), names(file.parent)) == (before, [])


@pytest.mark.parametrize(("command", "sentence"), [("backup", "was not written"), ("restore", "was not restored")])
def test_a_place_that_can_not_be_looked_at_is_said_in_a_line(
    manage: Installation, tmp_path: Path, command: str, sentence: str
) -> None:
    ran = manage.run(command, str(tmp_path / ("x" * 300) / "billing.sqlite3"))
    assert (ran.code, ran.out, ran.error.count("\n")) == (1, "", 1)
    assert f"{sentence}: File name too long" in ran.error


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("none/billing.sqlite3", "there is no folder "),
        (".", " is no plain file"),
        ("data/live.sqlite3", " is the database itself, or belongs to it"),
        ("backups/../data/live.sqlite3-wal", " is the database itself, or belongs to it"),
    ],
)
def test_a_backup_goes_to_a_file_of_its_own(
    manage: Installation, file: Path, tmp_path: Path, where: str, sentence: str
) -> None:
    ran = manage.run("backup", str(tmp_path / where), "--force")
    assert (ran.code, ran.out, ran.error.count("\n")) == (2, "", 1)
    assert sentence in ran.error
    assert (names(manage.database.parent), names(file.parent)) == (["live.sqlite3"], [])


def on_a_small_disk(manage: Installation, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py where `folder` is a file system of 300 kB, and list what is in it then."""
    script = (
        'folder=$1; shift; mount -t tmpfs -o size=300k none "$folder" && "$@"; code=$?; ls -A "$folder"; exit $code'
    )
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", folder, sys.executable, *arguments],
        cwd=ROOT,
        env=manage.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_full_disk_is_a_line_and_leaves_nothing(manage: Installation, file: Path) -> None:
    ran = on_a_small_disk(manage, file.parent, "manage.py", "backup", str(file))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"CommandError: {file} was not written: database or disk is full\n"


def test_polls_are_recorded_while_a_backup_is_made(manage: Installation, file: Path) -> None:
    """A writer that waits for nobody writes all the time: it is never held up, and the backup comes to its end."""
    written = 0
    has_ended = threading.Event()

    def keep_writing() -> None:
        nonlocal written
        with closing(sqlite3.connect(manage.database, timeout=0, isolation_level=None)) as database:
            while not has_ended.is_set():
                database.execute("UPDATE usage_poll SET size = size + 1")
                written += 1

    write(manage.database, "PRAGMA journal_mode=WAL")
    writer = threading.Thread(target=keep_writing)
    writer.start()
    ran = manage.run("backup", str(file))
    is_writing = writer.is_alive()
    has_ended.set()
    writer.join()
    assert (ran.code, is_writing) == (0, True)
    assert written > 100
    assert of(manage, file).run("rebuild", "--check").out == "0 differences\n"


# restore


def test_a_restored_database_is_the_one_of_the_backup_and_the_present_one_is_kept(
    manage: Installation, file: Path
) -> None:
    manage.run("backup", str(file))
    assert manage.add("Lima", token_of("Lima")).code == 0
    before = content(manage.database)
    ran = manage.run("restore", str(file))
    assert (ran.code, ran.error) == (0, "")
    assert ran.out.startswith(f"restored {file}; operations: 1\nwhat was there before is kept as ")
    assert content(manage.database) == content(file)
    [kept] = manage.database.parent.glob(KEPT)
    assert str(kept) in ran.out
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert content(kept) == before
    assert manage.run("restore", str(kept)).code == 0
    assert content(manage.database) == before


def test_who_has_the_database_open_sees_the_old_one_to_the_transactions_end_and_then_the_new_one(
    manage: Installation, file: Path
) -> None:
    manage.run("backup", str(file))
    write(manage.database, "UPDATE usage_operation SET name = 'Later'")
    name = "SELECT name FROM usage_operation"
    with closing(sqlite3.connect(manage.database, isolation_level=None)) as reader:
        reader.execute("PRAGMA journal_mode=WAL")
        reader.execute("BEGIN")
        assert reader.execute(name).fetchall() == [("Later",)]
        assert manage.run("restore", str(file)).code == 0
        assert reader.execute(name).fetchall() == [("Later",)]
        reader.execute("COMMIT")
        assert reader.execute(name).fetchall() == [("Medellín",)]
        reader.execute("UPDATE usage_operation SET name = 'And it can be written to'")


def test_a_poll_under_way_during_a_restore_records_nothing_and_nobody_calls_beside_it(
    manage: Installation, file: Path
) -> None:
    is_asked, is_restored = threading.Event(), threading.Event()

    class Slow(Simulator):
        def __call__(self, environ: Any, start_response: Any) -> Any:
            is_asked.set()
            assert is_restored.wait(60)
            return super().__call__(environ, start_response)

    manage.run("backup", str(file))
    write(file, "UPDATE usage_feed SET next_due_at = '2026-01-01 00:00:00', last_poll_at = NULL")
    assert manage.run("restore", str(file)).code == 0
    write(manage.database, "UPDATE usage_operation SET claimed_at = '2026-01-01 00:00:00'")
    ran = []
    with serve(Slow()) as server:
        slowly = Installation(manage.database, manage.key, server.url)
        poll = threading.Thread(target=lambda: ran.append(slowly.run("poll")))
        poll.start()
        assert is_asked.wait(60)
        [(holder,)] = manage.rows("SELECT claimed_by FROM usage_operation")
        write(file, f"UPDATE usage_operation SET claimed_by = '{holder}', claimed_at = '{datetime.now(UTC):%F %T}'")
        for kept in manage.database.parent.glob(KEPT):
            kept.unlink()
        restored = manage.run("restore", str(file))
        beside = manage.run("poll")
        is_restored.set()
        poll.join()
    assert restored.code == 0
    assert (beside.code, beside.out) == (1, "medellin: another poll is using the token; try again in a minute\n")
    assert [(one.code, one.out) for one in ran] == [
        (1, "medellin: the claim on the token ran out; nothing was recorded\n")
    ]
    assert content(manage.database) == content(file)


def test_the_time_since_the_backup_becomes_a_gap(manage: Installation, file: Path) -> None:
    manage.run("backup", str(file))
    began = datetime.now(UTC) - timedelta(minutes=20)
    write(file, f"UPDATE usage_feed SET last_good_poll_at = '{began:%F %T}' WHERE last_good_poll_at IS NOT NULL")
    write(file, f"UPDATE usage_feed SET next_due_at = '{began:%F %T}', last_poll_at = '{began:%F %T}' WHERE is_enabled")
    assert manage.run("restore", str(file)).code == 0
    write(manage.database, "UPDATE usage_operation SET claimed_at = '2026-01-01 00:00:00'")  # as after 90 s
    polled = manage.run("poll", "--due")
    assert polled.code == 0
    assert polled.out.count(": good, ") == 2
    gaps = manage.rows("SELECT api, began_at FROM usage_gap JOIN usage_feed ON usage_feed.id = feed_id")
    assert ("interactions", f"{began:%F %T}") in gaps
    assert manage.run("rebuild", "--check").out == "0 differences\n"


def test_what_was_called_since_the_backup_is_asked_of_the_vendor(manage: Installation, file: Path) -> None:
    """The day's count is the backup's. Kept to, it would let the day's limit be broken."""
    manage.run("backup", str(file))
    now = datetime.now(UTC)
    today, due, later = now.astimezone(ZoneInfo(ZONE)).date(), now - timedelta(minutes=20), now + timedelta(days=1)
    write(file, f"UPDATE usage_operation SET calls = 80, calls_day = '{today}', limit_due_at = '{later:%F %T}'")
    write(file, f"UPDATE usage_feed SET next_due_at = '{due:%F %T}', last_poll_at = '{due:%F %T}' WHERE is_enabled")
    assert manage.run("restore", str(file)).code == 0
    write(manage.database, "UPDATE usage_operation SET claimed_at = '2026-01-01 00:00:00'")  # as after 90 s
    counting = Simulator()
    counting.elsewhere[TOKEN] = 900
    with serve(counting) as server:
        assert Installation(manage.database, manage.key, server.url).run("poll", "--due").code == 0
    [(calls,)] = manage.rows("SELECT calls FROM usage_operation")
    assert calls > 900


def test_a_backup_of_an_older_version_is_brought_up_to_date(manage: Installation, file: Path) -> None:
    older = of(manage, file)
    assert older.run("migrate", "usage", "0002", "--verbosity=0").code == 0
    write(file, "INSERT INTO auth_group (name) VALUES ('Made then')")
    assert older.run("migrate", "--check").code == 1
    assert manage.run("restore", str(file)).code == 0
    assert manage.run("migrate", "--check").code == 0
    assert manage.rows("SELECT name FROM auth_group WHERE name = 'Made then'") == [("Made then",)]


def test_a_backup_is_restored_where_there_is_no_database_yet(manage: Installation, file: Path, tmp_path: Path) -> None:
    manage.run("backup", str(file))
    elsewhere = of(manage, tmp_path / "elsewhere" / "billing.sqlite3")
    ran = elsewhere.run("restore", str(file))
    assert (ran.code, ran.error) == (0, "")
    assert "kept as" not in ran.out
    assert names(elsewhere.database.parent) == ["billing.sqlite3"]
    assert stat.S_IMODE(elsewhere.database.stat().st_mode) == 0o600
    assert content(elsewhere.database) == content(file)


def no_file(file: Path) -> None:
    file.unlink()


def no_database(file: Path) -> None:
    file.write_bytes(b"no database at all, but long enough to be looked at" * 20)


def no_bytes(file: Path) -> None:
    file.write_bytes(b"")


def another_program(file: Path) -> None:
    file.unlink()
    write(file, "CREATE TABLE songs (title TEXT)")


def newer(file: Path) -> None:
    write(file, "INSERT INTO django_migrations (app, name, applied) VALUES ('usage', '9999_later', '2030-01-01')")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "code", "sentence"),
    [
        (no_file, 2, "there is no file "),
        (no_database, 1, " was not restored: file is not a database"),
        (no_bytes, 2, " is no database of this dashboard"),
        (another_program, 2, " is no database of this dashboard"),
        (newer, 2, " is of a newer version of the dashboard (9999_later): update this one first"),
        (cut, 1, " was not restored: database disk image is malformed"),
    ],
)
def test_what_can_not_be_restored_changes_nothing(
    manage: Installation, file: Path, spoil: Callable[[Path], None], code: int, sentence: str
) -> None:
    manage.run("backup", str(file))
    before = content(manage.database)
    spoil(file)
    ran = manage.run("restore", str(file))
    assert (ran.code, ran.out, ran.error.count("\n")) == (code, "", 1)
    assert sentence in ran.error
    assert names(manage.database.parent) == ["live.sqlite3"]
    assert content(manage.database) == before


def test_the_database_is_not_restored_from_itself(manage: Installation) -> None:
    ran = manage.run("restore", str(manage.database))
    assert (ran.code, ran.error) == (
        2,
        f"CommandError: {manage.database} is the database itself, or belongs to it\n",
    )


def test_a_restore_that_the_disk_has_no_room_for_changes_nothing(manage: Installation, file: Path) -> None:
    manage.run("backup", str(file))
    before = content(manage.database)
    ran = on_a_small_disk(manage, manage.database.parent, "manage.py", "restore", str(file))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"CommandError: {file} was not restored: database or disk is full\n"
    assert content(manage.database) == before


def test_a_lock_that_does_not_go_ends_a_copy() -> None:
    with closing(sqlite3.connect("file:locked?mode=memory&cache=shared", uri=True, timeout=0)) as writer:
        writer.execute("CREATE TABLE songs (title TEXT)")
        writer.execute("BEGIN EXCLUSIVE")
        with (
            closing(sqlite3.connect("file:locked?mode=memory&cache=shared", uri=True, timeout=0)) as reader,
            closing(sqlite3.connect(":memory:")) as target,
            pytest.raises(backup.Failed, match="another process keeps the database locked"),
        ):
            reader.backup(target, progress=backup.require_unlocked)


# A lost key


def test_a_lost_key_is_said_and_costs_the_tokens_alone(manage: Installation, file: Path) -> None:
    manage.run("backup", str(file))
    other = Installation(manage.database, Fernet.generate_key().decode(), manage.vendor)
    said = "No key in TOKEN_ENCRYPTION_KEYS opens the tokens of these operations, so they are not polled: medellin."
    ran = other.run("restore", str(file))
    assert (ran.code, said in ran.error) == (0, True)
    ran = other.run("check", "--database", "default")
    assert (ran.code, said in ran.error) == (0, True)
    assert said not in manage.run("check", "--database", "default").error
    assert other.run("rebuild", "--check").out == "0 differences\n"


def test_tokens_move_to_a_new_key_and_the_old_one_can_go(manage: Installation) -> None:
    new = Fernet.generate_key().decode()
    ran = manage.run("rotate_token_keys", TOKEN_ENCRYPTION_KEYS=f"{new},{manage.key}")
    assert (ran.code, ran.error) == (0, "")
    assert ran.out.startswith("tokens encrypted with the first key of TOKEN_ENCRYPTION_KEYS: 1\nThe other keys can be")
    ran = manage.run("rotate_token_keys", TOKEN_ENCRYPTION_KEYS=new, SECRET_KEY="another one")
    assert (ran.code, ran.out.count("\n")) == (0, 2)
    assert ran.out.endswith("with a new fingerprint, since SECRET_KEY has changed: 1\n")
    ran = manage.run("rotate_token_keys")
    assert (ran.code, ran.out) == (1, "tokens encrypted with the first key of TOKEN_ENCRYPTION_KEYS: 0\n")
    assert "opens the tokens of these operations, so they are not polled: medellin." in ran.error
    assert ran.error.endswith("CommandError: not every token is as it should be; keep all keys until it is\n")


# PostgreSQL


def documented(command: str) -> str:
    """The line of docs/backup.md that begins with a command."""
    lines = (ROOT / "docs" / "backup.md").read_text().splitlines()
    [line] = [line.strip() for line in lines if line.startswith(f"    {command} ")]
    return line


@pytest.mark.process
def test_what_the_documentation_says_of_postgresql_works(manage: Installation, tmp_path: Path) -> None:
    with cluster() as superuser:
        port = str(urlsplit(superuser).port)
        url = f"postgres://billing@127.0.0.1:{port}/billing"
        dashboard = partial(manage.run, DATABASE_URL=url)
        environment = {
            "PATH": f"{binaries()}:{manage.environment()['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": port,
            "PGUSER": "postgres",
            "DATABASE_URL": url,
        }

        def run(command: str) -> None:
            line = documented(command).replace(" --pwprompt", "")  # this cluster trusts everyone
            subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, check=True)

        run("createuser")
        run("createdb")
        assert dashboard("migrate", "--verbosity=0").code == 0
        assert dashboard("add_operation", "Cali", "--server", "0012", given=TOKEN.encode()).code == 0
        assert dashboard("poll").code == 0
        run("pg_dump")
        lima = token_of("Lima").encode()
        assert dashboard("add_operation", "Lima", "--server", "0012", given=lima).code == 0
        run("psql --dbname=postgres")
        run("createdb")
        run("pg_restore")
        run('psql --dbname="$DATABASE_URL"')
        assert dashboard("migrate", "--check").code == 0
        assert dashboard("rebuild", "--check").out == "0 differences\n"
        missing = dashboard("poll", "--operation", "lima")
        assert missing.error == "CommandError: there is no active operation lima; there is: cali\n"
        with psycopg.connect(url) as database:
            owners = database.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
            assert owners.fetchall() == [("billing",)]
            due = database.execute("SELECT bool_and(limit_due_at <= now()) FROM usage_operation")
            assert due.fetchall() == [(True,)]
        for command in ("backup", "restore"):
            refused = dashboard(command, str(tmp_path / "file"))
            assert (refused.code, refused.error.count("\n")) == (2, 1)
            assert "pg_dump and pg_restore: docs/backup.md says how" in refused.error
