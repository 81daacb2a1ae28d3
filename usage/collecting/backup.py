"""A copy of the embedded database while it runs, and the way back.

A database under open connections is never replaced as a file. Its content is read and written through SQLite, where
in WAL neither who reads nor who records waits for a copy, and what is restored comes in one transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from django.core.management import call_command
from django.db import DatabaseError, connection, connections
from django.db.migrations.loader import MigrationLoader

from usage.models import Operation

PREPARED = "prepared"
"""Django's alias of the copy that is to be restored, while it is made ready."""

PATIENCE = 20.0
"""Seconds for which another process may keep the database locked: no transaction takes as long."""


class Refused(Exception):
    """What was asked can't be done, and nothing was written. `str()` is a sentence for a person."""


class Failed(Exception):
    """It went wrong on the way, and all is as it was. `str()` is a sentence for a person."""


def back_up(file: Path, *, overwrite: bool = False) -> None:
    """Write the database, as it is now, to a file for its owner alone. Raises Refused and Failed."""
    live = embedded()
    with plainly(f"{file} was not written"):
        require_place(file, live, overwrite=overwrite)
        with whole(file) as part:
            copy(live, part)
            require_sound(part, live)


def require_place(file: Path, live: Path, *, overwrite: bool) -> None:
    """Raises Refused unless a backup of the database can be written to that file."""
    if not live.exists():
        raise Refused(f"there is no database at {live} to back up")
    if not file.parent.is_dir():
        raise Refused(f"there is no folder {file.parent}")
    if is_of(live, file):
        raise Refused(f"{file} is the database itself, or belongs to it")
    if os.path.lexists(file):
        if not file.is_file():
            raise Refused(f"{file} is no plain file")
        if not overwrite:
            raise Refused(f"{file} is there already; --force overwrites it")


def restore(file: Path, now: datetime) -> Path | None:
    """Give the database the content of a backup, and return where its content of before is kept, if it had any.

    Whoever has it open sees the one up to its transaction's end, and the other from the next on.
    Raises Refused and Failed.
    """
    live = embedded()
    with plainly(f"{file} was not restored"):
        is_there = file.is_file()
    if not is_there:
        raise Refused(f"there is no file {file}")
    if is_of(live, file):
        raise Refused(f"{file} is the database itself, or belongs to it")
    with plainly(f"{file} was not restored"), TemporaryDirectory(dir=live.parent, prefix=".restore-") as folder:
        prepared = Path(folder, live.name)
        copy(file, prepared)
        require_sound(prepared, file)
        with opened(prepared):
            call_command("migrate", database=PREPARED, interactive=False, skip_checks=True, verbosity=0)
            return put_in_place(live, now)


def embedded() -> Path:
    """The file of the embedded database. Raises Refused where the database is a server's."""
    if connection.vendor != "sqlite":
        raise Refused(
            "the database is PostgreSQL, which has programs of its own for this, pg_dump and pg_restore: "
            "docs/backup.md says how"
        )
    return Path(str(connection.settings_dict["NAME"]))


def is_of(live: Path, file: Path) -> bool:
    """Whether a file is the database's own, or one of those that SQLite keeps beside it."""
    resolved = str(file.resolve())
    return any(resolved == f"{live.resolve()}{end}" for end in ("", "-wal", "-shm", "-journal"))


# Copies


@contextmanager
def plainly(what: str) -> Iterator[None]:
    """Turn what SQLite and the disk complain of into Failed, in one line that begins with what wasn't done."""
    try:
        yield
    except (sqlite3.Error, DatabaseError) as error:
        raise Failed(f"{what}: {error}") from None
    except OSError as error:
        raise Failed(f"{what}: {error.strerror or error}") from None


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A place to write to, which becomes `file` at the end: whole and on the disk, or not at all."""
    with TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as folder:
        part = Path(folder, file.name)
        part.touch(mode=0o600)
        yield part
        sync(part)
        part.replace(file)
        sync(file.parent)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy(source: Path, target: Path) -> None:
    """Copy a database as it is now, in one step: in several, every poll recorded meanwhile would start it anew."""
    with closing(read(source)) as old, closing(sqlite3.connect(target)) as new:
        new.execute("PRAGMA synchronous=OFF")
        old.backup(new, progress=require_unlocked)
        new.execute("PRAGMA journal_mode=DELETE")  # one file, which needs none beside it


def read(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=PATIENCE)


def require_unlocked(status: int, remaining: int, pages: int) -> None:
    """After a step of SQLite's: it alone would try again for ever."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise Failed("another process keeps the database locked; nothing was changed, try again")


def require_sound(part: Path, file: Path) -> None:
    """Raises Failed where a copy of `file` is damaged, and Refused where it isn't ours, or of a newer version."""
    with closing(read(part)) as database:
        [found] = database.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise Failed(f"{file} is damaged: {' '.join(found.split())}")
        is_ours = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'usage_operation'").fetchone()
        if not is_ours:
            raise Refused(f"{file} is no database of this dashboard")
        applied = database.execute("SELECT name FROM django_migrations WHERE app = 'usage' ORDER BY name")
        known = {name for app, name in MigrationLoader(None).disk_migrations if app == "usage"}
        newer = [name for (name,) in applied if name not in known]
        if newer:
            raise Refused(f"{file} is of a newer version of the dashboard ({newer[-1]}): update this one first")


# The way back


@contextmanager
def opened(prepared: Path) -> Iterator[None]:
    """Let Django know a database file as PREPARED, for as long as the context lasts."""
    connections.settings[PREPARED] = connection.settings_dict | {"NAME": str(prepared)}
    try:
        yield
    finally:
        connections[PREPARED].close()
        del connections[PREPARED], connections.settings[PREPARED]


def put_in_place(live: Path, now: datetime) -> Path | None:
    """Write PREPARED into the database, in one transaction that begins by keeping what it replaces.

    Every token is claimed then. A poll under way has lost its claim, so that it records nothing; and nobody calls
    with its token before it must have ended. How many calls the day has had since the backup only the vendor knows:
    it is asked in the next round.
    """
    has_content = live.exists() and live.stat().st_size > 0
    kept = live.with_name(f"{live.stem}-before-restore-{now.astimezone(UTC):%Y-%m-%dT%H%M%S.%f}Z{live.suffix}")
    is_locked = is_kept = False

    def once_locked(status: int, remaining: int, pages: int) -> None:
        """After the first step nobody else can write, so what is kept is the very last."""
        nonlocal is_locked, is_kept
        require_unlocked(status, remaining, pages)
        if is_locked:
            return
        is_locked = True
        if has_content:
            with whole(kept) as part:
                copy(live, part)
            is_kept = True
        Operation.objects.using(PREPARED).update(claimed_by=str(uuid4()), claimed_at=now, limit_due_at=now)

    if not has_content:
        live.touch(mode=0o600)
    target = sqlite_of(connection)
    try:
        # A page a step: however small the copy, the first step isn't the last. Its own writes reach the target too.
        sqlite_of(connections[PREPARED]).backup(target, pages=1, progress=once_locked)
    except BaseException:
        if is_kept:
            kept.unlink()
        raise
    target.execute("PRAGMA wal_checkpoint")  # or the next poll would wait for it
    return kept if is_kept else None


def sqlite_of(database: Any) -> sqlite3.Connection:
    database.ensure_connection()
    raw: sqlite3.Connection = database.connection
    return raw
