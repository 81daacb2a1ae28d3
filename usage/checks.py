"""What `manage.py migrate`, `manage.py check --database default` and the launcher look at before all goes on."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004  Django's own name
from django.db import DEFAULT_DB_ALIAS, DatabaseError

from .collecting import keys


@register(Tags.database)
def tokens_can_be_read(*, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """A warning, not an error: without their key the tokens are lost, and all else must go on."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        unreadable = keys.unreadable()
    except DatabaseError:  # it is new, or waits for its migrations
        return []
    return [Warning(keys.say_unreadable(unreadable), id="usage.W001")] if unreadable else []
