"""The room on the disk under SQLite's file. A database server minds its own."""

import shutil
from pathlib import Path

from django.conf import settings
from django.db import OperationalError, connection


class DiskFull(OperationalError):
    """There is too little room to record an answer."""


def is_full() -> bool:
    """Whether the largest answer that is accepted might not find room, in the log of the transaction and the file."""
    if connection.vendor != "sqlite":
        return False
    folder = Path(connection.settings_dict["NAME"]).parent
    return shutil.disk_usage(folder).free < settings.KEEP_FREE_MEGABYTES * 2**20


def require_room() -> None:
    """Raises DiskFull. To be called before the vendor is."""
    if is_full():
        raise DiskFull(f"the disk has less than {settings.KEEP_FREE_MEGABYTES} MB left, and nothing is polled")
