"""A bad variable stops the start with one line that says what would be right. Secrets are not repeated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

ROOT = Path(__file__).resolve().parent.parent
KEY = "A" * 43 + "="
GOOD = {"PATH": os.environ["PATH"], "SECRET_KEY": "for the tests alone", "TOKEN_ENCRYPTION_KEYS": KEY}
HIDDEN = "hunter2"

UNREADABLE = "can't be read; it takes "
A_KEY = "is not a Fernet key (32 bytes as URL-safe base64, 44 characters)."


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = command or ("manage.py", "check")
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=GOOD | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SECRET_KEY", "", "SECRET_KEY is not set."),
        ("DEBUG", "maybe", "DEBUG is 'maybe'; it takes one of 1, true, yes, on or 0, false, no, off."),
        ("ALLOWED_HOSTS", "https://billing.example.com", "a host is a name or an address alone"),
        ("ALLOWED_HOSTS", "example.com, billing.example.com:8000", "ALLOWED_HOSTS has 'billing.example.com:8000'"),
        ("ALLOWED_HOSTS", ",", "ALLOWED_HOSTS names no host"),
        ("CSRF_TRUSTED_ORIGINS", "billing.example.com", "an origin is http:// or https:// and a host"),
        ("CSRF_TRUSTED_ORIGINS", "https://", "CSRF_TRUSTED_ORIGINS has 'https://'"),
        ("CSRF_TRUSTED_ORIGINS", "https://example.com/billing", "with nothing after it."),
        ("TOKEN_ENCRYPTION_KEYS", "", "TOKEN_ENCRYPTION_KEYS is not set."),
        ("TOKEN_ENCRYPTION_KEYS", ",", f"key 1 {A_KEY}"),
        ("TOKEN_ENCRYPTION_KEYS", f"{KEY},{HIDDEN}", f"key 2 {A_KEY}"),
        ("TOKEN_ENCRYPTION_KEYS", f"{KEY} {KEY}", f"key 1 {A_KEY}"),
        ("DATABASE_URL", "billing.sqlite3", f"DATABASE_URL {UNREADABLE}sqlite:///path/to/file or postgres://"),
        ("DATABASE_URL", f"mysql://me:{HIDDEN}@host/name", UNREADABLE),
        ("DATABASE_URL", f"postgres://me:{HIDDEN}@host:port/name", UNREADABLE),
        ("DATABASE_URL", f"postgres://me:{HIDDEN}@host", UNREADABLE),
        ("DATABASE_URL", f"postgres://me:{HIDDEN}@[::1/name", UNREADABLE),
        ("DATABASE_URL", f"postgres://me:12/{HIDDEN}@host/name", UNREADABLE),
        ("DATABASE_URL", "sqlite://:memory:", UNREADABLE),
        ("DATABASE_URL", "sqlite:////proc/none/db", "/proc/none can't be made: No such file or directory."),
        ("DATABASE_URL", "sqlite:////usr", "/usr is a folder"),
        ("REDIS_URL", "localhost:6379", f"REDIS_URL {UNREADABLE}redis://host:6379/0, rediss://… or unix:///"),
        ("REDIS_URL", f"redis://:{HIDDEN}@host:port/0", UNREADABLE),
        ("REDIS_URL", f"redis://:{HIDDEN}@[::1/0", UNREADABLE),
        ("REDIS_URL", "redis://host/first", UNREADABLE),
        ("REDIS_URL", "unix://", UNREADABLE),
        ("REDIS_URL", f"redis://me:12#{HIDDEN}@host:6379/0", UNREADABLE),
        ("REDIS_URL", "rediss://host?ssl_cert_reqs=maybe", "another ssl_cert_reqs than required, optional, none."),
        ("WOLKVOX_URL", "wv0012.wolkvox.com", f"WOLKVOX_URL {UNREADABLE}http(s)://host, where {{server}} is"),
        ("WOLKVOX_URL", f"https://me:{HIDDEN}@wv0012.wolkvox.com", UNREADABLE),
        ("WOLKVOX_URL", "https://[::1", UNREADABLE),
        ("WOLKVOX_URL", "https://wolkvox.com:port", UNREADABLE),
        ("WOLKVOX_URL", "https://wolkvox.com/?api=interactions", UNREADABLE),
        ("WOLKVOX_URL", "https://wv{number}.wolkvox.com", UNREADABLE),
        ("WOLKVOX_PROXY", f"https://me:{HIDDEN}@host:3128", f"WOLKVOX_PROXY {UNREADABLE}http://host:3128 or"),
        ("WOLKVOX_PROXY", "host:3128", UNREADABLE),
        ("WOLKVOX_PROXY", f"http://me:{HIDDEN}@host:port", UNREADABLE),
        ("WOLKVOX_PROXY", "http://host:3128/proxy.pac", UNREADABLE),
        ("WOLKVOX_PROXY", f"http://me:12#{HIDDEN}@host:3128", UNREADABLE),
        ("WOLKVOX_PROXY", "http://host:3128?x=1", UNREADABLE),
        ("TIME_ZONE", "Bogota", "TIME_ZONE is 'Bogota'; it takes a zone's name such as America/Bogota."),
        ("TIME_ZONE", "America", "it takes a zone's name"),
        ("TIME_ZONE", "../../../etc/passwd", "it takes a zone's name"),
        ("LANGUAGE_CODE", "fr", "LANGUAGE_CODE is 'fr'; it takes one of en, es."),
        ("EMAIL_URL", "mail.example.com", f"EMAIL_URL {UNREADABLE}smtp+tls://user:password@host:587 or consolemail://"),
        ("EMAIL_URL", f"smtp://me:{HIDDEN}@host:port", UNREADABLE),
    ],
)
def test_a_bad_variable_is_one_line_and_exit_code_2(name: str, value: str, sentence: str) -> None:
    ran = run(**{name: value})
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("billing dashboard: ")
    assert ran.stderr.count("\n") == 1
    assert name in ran.stderr
    assert sentence in ran.stderr
    assert HIDDEN not in ran.stderr


def test_good_variables_are_taken(tmp_path: Path) -> None:
    good = {
        "DEBUG": "on",
        "ALLOWED_HOSTS": "*, .example.com,[::1],10.0.0.1, billing",
        "CSRF_TRUSTED_ORIGINS": "http://billing:8000, https://*.example.com",
        "TOKEN_ENCRYPTION_KEYS": f"{Fernet.generate_key().decode()}, {KEY}",
        "DATABASE_URL": f"sqlite:///{tmp_path}/a new folder/db.sqlite3",
        "REDIS_URL": "rediss://:secret@host:6380/1?ssl_cert_reqs=required",
        "WOLKVOX_URL": "http://127.0.0.1:9/vendor/{server}/",
        "WOLKVOX_PROXY": "http://me:secret@10.0.0.1:3128",
        "TIME_ZONE": "America/Argentina/Buenos_Aires",
        "LANGUAGE_CODE": "en",
        "EMAIL_URL": "smtp+tls://me:secret@host:587",
    }
    ran = run(**good)
    assert (ran.returncode, ran.stderr) == (0, "")
    for url in ("postgres://me:p%23@host:5432/name", "postgres://me:p#@host/name", "postgresql:///name"):
        assert run(DATABASE_URL=url).returncode == 0
    assert run(REDIS_URL=f"unix://{tmp_path}/a b.sock").returncode == 0


@pytest.mark.parametrize("content", [b"SECRET_KEY=\xff\xfe", None])
def test_an_env_file_that_can_not_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    dotenv = tmp_path / ".env"
    if content is None:
        dotenv.mkdir()  # nor can root read a folder
    else:
        dotenv.write_bytes(content)
    program = "import sys; from pathlib import Path; from billing_dashboard.environment import Environment; "
    ran = run("-c", f"{program}Environment(Path(sys.argv[1]))", str(dotenv))
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"billing dashboard: {dotenv} can't be read: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("line", [f"SECRET_KEY = {HIDDEN}", f"TOKEN_ENCRYPTION_KEYS: {HIDDEN}=", HIDDEN])
def test_a_line_of_the_env_file_that_can_not_be_read_is_named_and_not_repeated(tmp_path: Path, line: str) -> None:
    (dotenv := tmp_path / ".env").write_text(f"# secrets\n\nexport DEBUG=on\n{line}\n")
    program = "import sys; from pathlib import Path; from billing_dashboard.environment import Environment; "
    ran = run("-c", f"{program}Environment(Path(sys.argv[1]))", str(dotenv))
    assert ran.returncode == 2
    assert ran.stderr == (
        f"billing dashboard: {dotenv}: line 4 can't be read; it takes NAME=value, without blanks around the =.\n"
    )


def setting(name: str, **variables: str) -> str:
    show = f"import billing_dashboard.settings as its; print(its.{name}, end='')"
    return run("-c", show, **variables).stdout


def test_an_origin_is_taken_as_browsers_write_it() -> None:
    origins = {"CSRF_TRUSTED_ORIGINS": "HTTPS://Billing.example.com"}
    assert setting("CSRF_TRUSTED_ORIGINS", **origins) == "['https://billing.example.com']"
    assert setting("SECURE_SSL_REDIRECT", **origins) == "True"


def test_a_broker_over_tls_is_verified_unless_the_address_says_otherwise() -> None:
    asked = "ssl_cert_reqs=required"
    assert setting("CELERY_BROKER_URL", REDIS_URL="rediss://:pw@host:6380/1") == f"rediss://:pw@host:6380/1?{asked}"
    assert setting("CELERY_BROKER_URL", REDIS_URL="rediss://host/1?x=1") == f"rediss://host/1?x=1&{asked}"
    for chosen in ("none", "CERT_OPTIONAL"):
        address = f"rediss://host?ssl_cert_reqs={chosen}"
        assert setting("CELERY_BROKER_URL", REDIS_URL=address) == address


def test_a_databases_path_leads_from_the_projects_folder_wherever_one_is(tmp_path: Path) -> None:
    name = 'DATABASES["default"]["NAME"]'
    assert setting(name, DATABASE_URL="sqlite:///data/some.sqlite3") == str(ROOT / "data" / "some.sqlite3")
    assert setting(name, DATABASE_URL=f"sqlite:///{tmp_path}/some.sqlite3") == f"{tmp_path}/some.sqlite3"
    assert setting(name) == str(ROOT / "data" / "billing.sqlite3")


def test_the_projects_folder_may_have_any_name(tmp_path: Path) -> None:
    place = tmp_path / "a+b 100%25?#"
    shutil.copytree(ROOT / "billing_dashboard", place / "billing_dashboard")
    show = "import billing_dashboard.settings as its; print(its.DATABASES['default']['NAME'], end='')"
    ran = subprocess.run([sys.executable, "-c", show], cwd=place, env=GOOD, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{place}/data/billing.sqlite3"


def test_a_variable_wins_over_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET_KEY=of the file\nDEBUG=on\n")
    program = "import sys; from pathlib import Path; from billing_dashboard.environment import Environment; "
    ran = run(
        "-c",
        f"{program}env = Environment(Path(sys.argv[1])); print(env.text('SECRET_KEY'), env.flag('DEBUG'))",
        str(tmp_path / ".env"),
    )
    assert ran.stdout == "for the tests alone True\n"
