"""What the settings read from the environment, refused in one clear line where it is wrong."""

import os
import re
import sys
from io import StringIO
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ

HOST = re.compile(r"\*|\.?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]", re.IGNORECASE)
ORIGIN = re.compile(r"https?://(\*\.)?(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?", re.IGNORECASE)
FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def stop(line: str) -> NoReturn:
    """End the process with one line on standard error and exit code 2."""
    print(f"billing dashboard: {line}", file=sys.stderr)  # noqa: T201  there is no logging yet
    raise SystemExit(2)


def split(url: str) -> SplitResult:
    """The parts of a URL; all are empty where its port, say, can be none."""
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else urlsplit("")
    except ValueError:
        return urlsplit("")


class Environment:
    """The process's environment over `.env`: a variable wins over a line of the file."""

    def __init__(self, dotenv: Path) -> None:
        try:
            environ.Env.read_env(StringIO(dotenv.read_text("utf-8"))) if dotenv.exists() else None
        except (OSError, ValueError) as error:
            stop(f"{dotenv} can't be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}.")
        self._values = environ.Env.ENVIRON

    def text(self, name: str, default: str = "") -> str:
        return str(self._values.get(name) or default).strip()

    def required(self, name: str) -> str:
        return self.text(name) or stop(
            f"{name} is not set. `make start` writes a .env with fresh secrets; elsewhere, set it in the environment."
        )

    def flag(self, name: str) -> bool:
        value = self.text(name).lower()
        if value not in TRUE + FALSE:
            stop(f"{name} is {value!r}; it takes one of {', '.join(TRUE)} or {', '.join(FALSE[:-1])}.")
        return value in TRUE

    def names(self, name: str, default: str = "") -> list[str]:
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def hosts(self, name: str, default: str) -> list[str]:
        hosts = self.names(name, default)
        for host in hosts:
            if not HOST.fullmatch(host):
                stop(f"{name} has {host!r}; a host is a name or an address alone, such as billing.example.com.")
        return hosts

    def origins(self, name: str) -> list[str]:
        origins = self.names(name)
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                stop(f"{name} has {origin!r}; an origin is http:// or https:// and a host, with nothing after it.")
        return origins

    def one_of(self, name: str, choices: list[str], default: str) -> str:
        value = self.text(name, default)
        if value not in choices:
            stop(f"{name} is {value!r}; it takes one of {', '.join(choices)}.")
        return value

    def time_zone(self, name: str, default: str) -> str:
        value = self.text(name, default)
        try:
            return ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            stop(f"{name} is {value!r}; it takes a zone's name such as America/Bogota.")

    def fernet_keys(self, name: str) -> list[str]:
        keys = [key.strip() for key in self.required(name).split(",")]
        for number, key in enumerate(keys, 1):
            if not FERNET_KEY.fullmatch(key):
                stop(f"{name}: key {number} is not a Fernet key (32 bytes as URL-safe base64, 44 characters).")
        return keys

    def database(self, name: str, default: str) -> dict[str, object]:
        """A Django database from a URL: sqlite:///path or postgres://user:password@host:port/name."""
        url = self.text(name, default)
        parts = split(url.replace("#", "%23"))  # as in a password
        is_file = parts.scheme == "sqlite"
        is_server = parts.scheme in ("postgres", "postgresql")  # without a host, it is on a local socket
        if not ((is_file and not parts.netloc) or is_server) or parts.path in ("", "/"):
            stop(f"{name} can't be read; it takes sqlite:///path/to/file or postgres://user:password@host:5432/name.")
        database = dict(environ.Env.db_url_config(url))
        if is_file:
            self._make_place(name, Path(str(database["NAME"])))
        return database

    def _make_place(self, name: str, file: Path) -> None:
        """SQLite makes a file that is missing, but no folder; and it writes beside it."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            stop(f"{name}: {file.parent} can't be made: {error.strerror}.")
        if file.is_dir() or not os.access(file.parent, os.W_OK):
            stop(f"{name}: {file} is a folder, or lies in one that can't be written to.")

    def broker(self, name: str, default: str) -> str:
        """A broker's URL as Celery wants it; `unix://` is a Redis or Valkey on a local socket."""
        url = self.text(name, default)
        parts = split(url)
        is_socket = parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1
        is_server = parts.scheme in ("redis", "rediss") and parts.hostname and re.fullmatch(r"/?[0-9]*", parts.path)
        if not (is_socket or is_server):
            stop(f"{name} can't be read; it takes redis://host:6379/0, rediss://… or unix:///path/to/socket.")
        return url.replace("unix://", "redis+socket://", 1) if is_socket else url

    def vendor(self, name: str, default: str) -> str:
        """The vendor's address, which holds no user, query or fragment: the client would refuse it at each call."""
        url = self.text(name, default)
        parts = split(url.replace("{server}", "0000"))
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s@?#{}]", parts.geturl()):
            stop(f"{name} can't be read; it takes http(s)://host, where {{server}} is the operation's server.")
        return url.rstrip("/")

    def proxy(self, name: str) -> str:
        """The address of an HTTP proxy, or nothing: which one is used is never taken from HTTP_PROXY and its like."""
        url = self.text(name)
        parts = split(url)
        if url and (parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or " " in url):
            stop(f"{name} can't be read; it takes http://host:3128 or http://user:password@host:3128.")
        return url

    def mail(self, name: str) -> dict[str, object]:
        try:
            return dict(environ.Env.email_url_config(self.text(name, "consolemail://")))
        except (KeyError, ValueError, environ.ImproperlyConfigured):
            stop(f"{name} can't be read; it takes smtp+tls://user:password@host:587 or consolemail://.")
