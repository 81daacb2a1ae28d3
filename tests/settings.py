"""The settings of the tests: the project's own, with secrets made for the run and static files as they lie."""

import os

from cryptography.fernet import Fernet

os.environ["SECRET_KEY"] = "for the tests alone"
os.environ["TOKEN_ENCRYPTION_KEYS"] = Fernet.generate_key().decode()
os.environ["ALLOWED_HOSTS"] = "localhost,127.0.0.1,testserver"
os.environ["LANGUAGE_CODE"] = "en"
os.environ["WOLKVOX_PROXY"] = ""
os.environ.setdefault("WOLKVOX_URL", "http://127.0.0.1:9")  # nobody listens there

from billing_dashboard.settings import *  # noqa: F403

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True
