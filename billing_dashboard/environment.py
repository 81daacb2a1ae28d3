"""What the settings read from the environment, refused in one clear line where it is wrong."""

import os
import re
import sys
from io import StringIO
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ

HOST = re.compile(r"\*|\.?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]", re.IGNORECASE)
ORIGIN = re.compile(r"https?://(\*\.)?(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?", re.IGNORECASE)
CERTIFICATES = ("required", "optional", "none")  # or, as Celery's documents have it, CERT_REQUIRED
FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
LINE = re.compile(r"(export )?[A-Za-z_0-9]+=.*")
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
            text = dotenv.read_text("utf-8") if dotenv.exists() else ""
        except (OSError, ValueError) as error:
            stop(f"{dotenv} can't be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}.")
        for number, line in enumerate(map(str.strip, text.splitlines()), 1):
            if line and not line.startswith("#") and not LINE.fullmatch(line):  # which may hold a secret
                stop(f"{dotenv}: line {number} can't be read; it takes NAME=value, without blanks around the =.")
        environ.Env.read_env(StringIO(text))
        self._folder = dotenv.parent
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
        return hosts or stop(f"{name} names no host; a host is a name or an address, such as billing.example.com.")

    def origins(self, name: str) -> list[str]:
        origins = [origin.lower() for origin in self.names(name)]  # as browsers write them
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
        """A Django database from a URL: sqlite:///path or postgres://user:password@host:port/name.

        A path without a slash of its own leads from the folder of `.env`, wherever one is.
        """
        url = self.text(name, default)
        parts = split(url.replace("#", "%23"))  # as in a password
        is_file = parts.scheme == "sqlite"
        is_server = parts.scheme in ("postgres", "postgresql")  # without a host, it is on a local socket
        is_split_wrong = is_server and re.search("[@/]", parts.path[1:])  # by a slash in a password
        if not ((is_file and not parts.netloc) or is_server) or parts.path in ("", "/") or is_split_wrong:
            stop(f"{name} can't be read; it takes sqlite:///path/to/file or postgres://user:password@host:5432/name.")
        database = dict(environ.Env.db_url_config(url))
        if is_file:
            file = self._folder / str(database["NAME"])
            self._make_place(name, file)
            database["NAME"] = str(file)
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
        if not (is_socket or is_server) or parts.fragment:
            stop(f"{name} can't be read; it takes redis://host:6379/0, rediss://… or unix:///path/to/socket.")
        if parts.scheme == "rediss":
            return self._verified(name, parts)
        return url.replace("unix://", "redis+socket://", 1) if is_socket else url

    def _verified(self, name: str, parts: SplitResult) -> str:
        """Celery would take any certificate unless it is told otherwise."""
        chosen = parse_qs(parts.query).get("ssl_cert_reqs", [])
        if not chosen:
            return parts._replace(query="&".join(filter(None, [parts.query, "ssl_cert_reqs=required"]))).geturl()
        if chosen[-1] not in (
            *CERTIFICATES,
            *(f"CERT_{each.upper()}" for each in CERTIFICATES),
        ):  # as Celery names them
            stop(f"{name} has another ssl_cert_reqs than {', '.join(CERTIFICATES)}.")
        return parts.geturl()

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
        has_more = parts.path not in ("", "/") or re.search("[ ?#]", url)
        if url and (parts.scheme != "http" or not parts.hostname or has_more):
            stop(f"{name} can't be read; it takes http://host:3128 or http://user:password@host:3128.")
        return url

    def mail(self, name: str) -> dict[str, object]:
        try:
            return dict(environ.Env.email_url_config(self.text(name, "consolemail://")))
        except (KeyError, ValueError, environ.ImproperlyConfigured):
            stop(f"{name} can't be read; it takes smtp+tls://user:password@host:587 or consolemail://.")
