"""All settings. What may differ between two installations comes from the environment."""

import socket
from pathlib import Path
from urllib.parse import quote

from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from .environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(BASE_DIR / ".env")

SECRET_KEY = env.required("SECRET_KEY")
DEBUG = env.flag("DEBUG")
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", "localhost,127.0.0.1")
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")

TOKEN_ENCRYPTION_KEYS = env.fernet_keys("TOKEN_ENCRYPTION_KEYS")
WOLKVOX_URL = env.vendor("WOLKVOX_URL", "https://wv{server}.wolkvox.com")
WOLKVOX_PROXY = env.proxy("WOLKVOX_PROXY")

INSTALLED_APPS = [
    "usage",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "billing_dashboard.middleware.refuse_nul",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "billing_dashboard.urls"
WSGI_APPLICATION = "billing_dashboard.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "billing_dashboard.context.notice",
            ],
        },
    },
]

# Data

DATA_DIR = BASE_DIR / "data"
DATABASES = {"default": env.database("DATABASE_URL", f"sqlite:///{quote(str(DATA_DIR / 'billing.sqlite3'))}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE and WAL: a writer waits for its turn instead of failing, and readers never wait.
    # FULL: a committed figure survives a power cut.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # Over a network that was gone, a connection is given up after 20 s: TCP would hold on to it for a quarter of an
    # hour, trying again every minute or two only. Parameters are bound by the server, as prepared statements need it
    # (usage/connections.py). What the URL says wins.
    options = {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 20_000,  # milliseconds
        "server_side_binding": True,
    }
    DATABASES["default"]["OPTIONS"] = {**options, **DATABASES["default"].get("OPTIONS", {})}  # type: ignore[dict-item]

# Tasks

# As for a database server, above.
GIVEN_UP_IN_TIME = {
    getattr(socket, name): value
    for name, value in {
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 2,
        "TCP_USER_TIMEOUT": 20_000,  # milliseconds
    }.items()
    if hasattr(socket, name)  # not every system has all of them
}
CELERY_BROKER_URL = env.broker("REDIS_URL", f"unix://{quote(str(DATA_DIR / 'valkey.sock'))}")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 10,
    "socket_keepalive": True,
    "socket_keepalive_options": GIVEN_UP_IN_TIME,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_POOL, CELERY_WORKER_CONCURRENCY = "threads", 2  # what polls is usage/tasks.py's own
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "dispatch": {"task": "usage.tasks.dispatch", "schedule": 30.0, "options": {"expires": 30}},
    "close-months": {"task": "usage.tasks.close_months", "schedule": 300.0, "options": {"expires": 300}},
    "prune": {"task": "usage.tasks.prune", "schedule": crontab(hour="3", minute="17"), "options": {"expires": 3600}},
}
KEEP_POLLS_DAYS = 90
KEEP_FREE_MEGABYTES = 200  # on the disk of an SQLite file: the largest answer takes its rows' room twice

# Languages and time

LANGUAGE_CODE = env.one_of("LANGUAGE_CODE", ["en", "es"], "es")
LANGUAGES = [("en", _("English")), ("es", _("Spanish"))]
LOCALE_PATHS = [BASE_DIR / "usage" / "locale"]
TIME_ZONE = env.time_zone("TIME_ZONE", "America/Bogota")
CELERY_TIMEZONE = TIME_ZONE
USE_TZ = True
USE_THOUSAND_SEPARATOR = True
FORMAT_MODULE_PATH = ["usage.formats"]

# People

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "registration/locked_out.html"
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ACCESS_FAILURE_LOG = False
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False  # its pages know no Spanish, and a lock ends by itself
AXES_VERBOSE = False
NOTICE = env.text("NOTICE")

# What a browser is told

DEFAULT_EXCEPTION_REPORTER_FILTER = "billing_dashboard.error_pages.Discreet"
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# An https origin says that a proxy in front speaks TLS; without one, this is plain http on a private network.
if any(origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
    SECURE_HSTS_SECONDS = 365 * 86400
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

vars().update(env.mail("EMAIL_URL"))

# What is written down

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "urllib3": {"level": "ERROR"},  # its warnings quote what it can't read, which may repeat the token
        "axes": {"level": "WARNING"},
    },
}
