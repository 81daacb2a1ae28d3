"""The project's own settings, with a tick each second, so that no test waits half a minute for one."""

import os

from billing_dashboard.settings import *  # noqa: F403
from billing_dashboard.settings import CELERY_BEAT_SCHEDULE, DATABASES

CELERY_BEAT_SCHEDULE["dispatch"]["schedule"] = 1.0
KEEP_FREE_MEGABYTES = int(os.environ.get("KEEP_FREE_MEGABYTES", "0"))

if "SQLITE_TIMEOUT" in os.environ:
    DATABASES["default"]["OPTIONS"] |= {"timeout": float(os.environ["SQLITE_TIMEOUT"])}  # type: ignore[operator]
