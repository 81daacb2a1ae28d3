"""Adding an operation, and what follows when its token changes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import F
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from usage import tokens
from usage.models import Feed, Interval, Operation
from usage.wolkvox.catalogue import APIS

DEFAULT_INTERVALS = {"interactions": Interval.FIVE_MINUTES, "interaction_licenses": Interval.HOUR}
"""What a new operation polls, and how often; the other APIs are a tick away."""


class TokenTaken(Exception):
    """The token is another operation's: one token, one operation. `str()` is a sentence for a person."""


@sensitive_variables("token")
def set_token(operation: Operation, token: str) -> None:
    """Give an operation a token, not saved yet. Raises ValueError for what can't be one, and TokenTaken."""
    if not tokens.SHAPE.fullmatch(token):
        raise ValueError(
            _("A token is 16 to 256 letters, digits and signs without spaces. Copy it again from wolkvox Manager.")
        )
    holder = Operation.objects.filter(token_fingerprint=tokens.fingerprint(token)).exclude(pk=operation.pk).first()
    if holder:
        raise TokenTaken(_("This token is already the one of “%(name)s”.") % {"name": holder})
    operation.token = token
    operation.vendor_name = operation.other_vendor_name = ""


def add_feeds(operation: Operation, now: datetime, apis: Iterable[str] = DEFAULT_INTERVALS) -> None:
    """A feed for each of the 27 APIs, those of `apis` polled from now on."""
    Feed.objects.bulk_create(
        Feed(
            operation=operation,
            api=api,
            interval=DEFAULT_INTERVALS.get(api, Interval.HOUR),
            is_enabled=api in apis,
            next_due_at=now if api in apis else None,
        )
        for api in APIS
    )


def make_due(operation: Operation, now: datetime) -> None:
    """Poll all enabled feeds at once: after a new token, neither what failed before nor its pace or limit counts."""
    operation.feeds.filter(is_enabled=True).update(next_due_at=now, last_poll_at=None, failures=0)
    Operation.objects.filter(pk=operation.pk).update(call_limit=None, limit_due_at=None)


def accept_name(operation: Operation) -> bool:
    """Take the other name that the vendor gave for the operation's own. False where there is none."""
    flagged = Operation.objects.filter(pk=operation.pk).exclude(other_vendor_name="")
    return flagged.update(vendor_name=F("other_vendor_name"), other_vendor_name="") == 1
