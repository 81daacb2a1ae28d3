"""An encryption key that is lost: it costs the tokens and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.utils import timezone, translation

from tests.conftest import hear
from usage.collecting import operations, polling
from usage.models import TOKEN_UNREADABLE, MonthlyUsage, Operation
from usage.wolkvox.client import BillingClient
from usage.wolkvox.simulator import Simulator, serve, token_of

pytestmark = pytest.mark.django_db

NEW_TOKEN = token_of("pasted again")


class Vendor(Simulator):
    """Keeps each token that it is sent, whatever that looks like."""

    def __init__(self) -> None:
        super().__init__()
        self.was_sent: list[str] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.was_sent.append(environ["HTTP_WOLKVOX_TOKEN"])
        return super().__call__(environ, start_response)


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def poll(vendor: Vendor) -> Iterator[Callable[[Operation], list[str]]]:
    """Polls all feeds of an operation. The outcomes."""
    with serve(vendor) as server:
        yield lambda operation: [
            poll.outcome
            for poll in polling.poll_operation(operation.pk, client=BillingClient(server.url), is_due=False)
        ]


@pytest.fixture
def another_key(operation: Operation) -> Iterator[None]:
    with override_settings(TOKEN_ENCRYPTION_KEYS=[Fernet.generate_key().decode()]):
        yield


@pytest.mark.usefixtures("another_key")
def test_nothing_is_sent_under_another_key_and_a_pasted_token_mends_it(
    operation: Operation, poll: Callable[[Operation], list[str]], vendor: Vendor
) -> None:
    assert poll(operation) == [TOKEN_UNREADABLE]
    assert vendor.was_sent == []
    operations.set_token(operation, NEW_TOKEN)
    operation.save()
    assert poll(operation) == ["good", "good"]
    assert vendor.was_sent == [NEW_TOKEN, NEW_TOKEN]


@pytest.mark.parametrize(
    ("language", "title"), [("en", "Token can&#x27;t be decrypted"), ("es", "El token no se puede descifrar")]
)
def test_pages_and_reports_work_under_another_key_and_say_what_is_wrong(  # noqa: PLR0917
    operation: Operation,
    poll: Callable[[Operation], list[str]],
    client: Client,
    sign_in: Callable[[str], User],
    language: str,
    title: str,
) -> None:
    hear(operation, "interactions", timezone.now(), ("Email", "12"))
    figures = list(MonthlyUsage.objects.values())
    with (
        override_settings(TOKEN_ENCRYPTION_KEYS=[Fernet.generate_key().decode()]),
        translation.override(language),
    ):
        poll(operation)
        sign_in("Administrators")
        said = {path: read(client, path, language) for path in pages_of(operation)}
    assert title in said["/status/"]
    assert ",Email,usage,12," in said["/reports/monthly.csv"]
    assert list(MonthlyUsage.objects.values()) == figures
    assert not [path for path, text in said.items() if operation.token_encrypted in text]


def pages_of(operation: Operation) -> list[str]:
    admin = f"/admin/usage/operation/{operation.pk}/change/"
    return ["/", operation.get_absolute_url(), "/products/", "/status/", "/reports/", "/reports/monthly.csv", admin]


def read(client: Client, path: str, language: str) -> str:
    answer = client.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200, path
    return b"".join(answer if answer.streaming else [answer.content]).decode()
