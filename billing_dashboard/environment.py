"""What the settings read from the environment, refused in one clear line where it is wrong."""

import sys
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from cryptography.fernet import Fernet

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def stop(line: str) -> NoReturn:
    """End the process with one line on standard error and exit code 2."""
    print(f"billing dashboard: {line}", file=sys.stderr)  # noqa: T201  there is no logging yet
    raise SystemExit(2)


class Environment:
    """The process's environment over `.env`: a variable wins over a line of the file."""

    def __init__(self, dotenv: Path) -> None:
        environ.Env.read_env(str(dotenv)) if dotenv.is_file() else None
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

    def origins(self, name: str) -> list[str]:
        origins = self.names(name)
        for origin in origins:
            if not origin.startswith(("http://", "https://")):
                stop(f"{name} has {origin!r}; an origin begins with http:// or https://.")
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
        self.required(name)
        keys = self.names(name)
        for number, key in enumerate(keys, 1):
            try:
                Fernet(key)
            except (ValueError, TypeError):
                stop(f"{name}: key {number} is not a Fernet key (32 bytes as URL-safe base64, 44 characters).")
        return keys

    def database(self, name: str, default: str) -> dict[str, object]:
        """A Django database from a URL: sqlite:///path or postgres://user:password@host:port/name."""
        try:
            url = self.text(name, default)
            database = environ.Env.db_url_config(url)
            known = urlsplit(url).scheme in ("sqlite", "postgres", "postgresql") and bool(database.get("NAME"))
        except ValueError:
            known = False
        if not known:
            stop(f"{name} can't be read; it takes sqlite:///path/to/file or postgres://user:password@host:5432/name.")
        if "sqlite" in database["ENGINE"]:
            folder = Path(database["NAME"]).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                stop(f"{name}: {folder} can't be made: {error.strerror}.")
        return dict(database)

    def broker(self, name: str, default: str) -> str:
        """A broker's URL as Celery wants it; `unix://` is a Redis or Valkey on a local socket."""
        url = self.text(name, default)
        scheme = urlsplit(url).scheme
        if scheme not in ("redis", "rediss", "unix"):
            stop(f"{name} can't be read; it takes redis://host:6379/0, rediss://… or unix:///path/to/socket.")
        return url.replace("unix://", "redis+socket://", 1) if scheme == "unix" else url

    def vendor(self, name: str, default: str) -> str:
        url = self.text(name, default)
        if not url.startswith(("http://", "https://")) or not urlsplit(url).netloc:
            stop(f"{name} is {url!r}; it takes http(s)://host, where {{server}} stands for the operation's server.")
        return url.rstrip("/")

    def mail(self, name: str) -> dict[str, object]:
        try:
            return dict(environ.Env.email_url_config(self.text(name, "consolemail://")))
        except (KeyError, ValueError, environ.ImproperlyConfigured):
            stop(f"{name} can't be read; it takes smtp+tls://user:password@host:587 or consolemail://.")
