"""The polls as they were: to read, to filter, not to write."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from usage.models import FAULT, GOOD, SUPERSEDED, TOKEN_UNREADABLE, Answer, Operation, Poll
from usage.presenting import words
from usage.tokens import TokenUnreadable
from usage.wolkvox.blackening import blackened
from usage.wolkvox.errors import OUTCOMES

MOST_COUNTED = 10_000
"""Polls run into millions: no page counts more of them than this. The filters reach the others."""

SHOWN, UNPACKED = 4_000, 65_536
"""Of an answer, how many characters are shown and how many bytes are unpacked for that."""

FAILED = "failed"


class Pages(Paginator):  # type: ignore[type-arg]
    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:MOST_COUNTED].count()  # type: ignore[attr-defined, no-any-return]


class OutcomeFilter(admin.SimpleListFilter):
    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        outcomes = [
            (outcome, words.of_outcome(outcome).title)
            for outcome in (GOOD, TOKEN_UNREADABLE, SUPERSEDED, FAULT, *OUTCOMES)
        ]
        return [(FAILED, gettext("All that failed")), *outcomes]

    def queryset(self, request: HttpRequest, polls: QuerySet[Poll]) -> QuerySet[Poll]:
        if self.value() == FAILED:
            return polls.exclude(outcome=GOOD)
        return polls.filter(outcome=self.value()) if self.value() else polls


class OperationFilter(admin.SimpleListFilter):
    title = _("operation")
    parameter_name = "operation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Operation.objects.visible_to(request.user).values_list("slug", "name"))

    def queryset(self, request: HttpRequest, polls: QuerySet[Poll]) -> QuerySet[Poll]:
        return polls.filter(feed__operation__slug=self.value()) if self.value() else polls


@admin.register(Poll)
class PollAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("started", "operation", "api", "duration", "outcome_title", "rows", "message")
    list_filter = (OutcomeFilter, OperationFilter, "started_at", ("feed__api", admin.ChoicesFieldListFilter))
    list_select_related = ("feed__operation",)
    sortable_by = ("started",)
    paginator = Pages
    show_full_result_count = False
    fields = (
        "operation",
        "api",
        "started",
        "ended",
        "duration",
        "outcome_title",
        "advice",
        "next_poll",
        "http_status",
        "code",
        "message",
        "excerpt",
        "rows",
        "size",
        "answer",
        "beginning",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Poll | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Poll | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Poll]:
        polls = super().get_queryset(request).select_related("feed__operation")
        if request.user.has_perm("usage.change_operation"):  # sees all, and is spared the join
            return polls
        return polls.filter(feed__operation__in=Operation.objects.visible_to(request.user))

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Raises IncorrectLookupParameters also for a time at the calendar's edge, which is none in UTC."""
        try:
            return super().get_changelist_instance(request)
        except OverflowError as error:
            raise IncorrectLookupParameters from error

    @admin.display(description=_("operation"))
    def operation(self, poll: Poll) -> str:
        return poll.feed.operation.name

    @admin.display(description=_("API"))
    def api(self, poll: Poll) -> str:
        return words.api_title(poll.feed.api)

    @admin.display(description=_("started"), ordering="started_at")
    def started(self, poll: Poll) -> str:
        return to_the_second(poll.started_at)

    @admin.display(description=_("ended"))
    def ended(self, poll: Poll) -> str:
        return to_the_second(poll.ended_at)

    @admin.display(description=_("duration"))
    def duration(self, poll: Poll) -> str:
        seconds = number_format((poll.ended_at - poll.started_at).total_seconds(), 2)
        return gettext("%(seconds)s s") % {"seconds": seconds}

    @admin.display(description=_("outcome"))
    def outcome_title(self, poll: Poll) -> str:
        return words.of_outcome(poll.outcome).title

    @admin.display(description=_("what to do"))
    def advice(self, poll: Poll) -> str:
        return words.of_outcome(poll.outcome).explained or "-"

    @admin.display(description=_("next poll"))
    def next_poll(self, poll: Poll) -> str:
        """Of its feed, which may be long after the poll that is shown."""
        feed = poll.feed
        if not (feed.is_enabled and feed.operation.is_active and feed.next_due_at):
            return "-"
        return words.moment(feed.next_due_at, feed.operation.zone, timezone.now())

    @admin.display(description=_("the answer's beginning"))
    def beginning(self, poll: Poll) -> str:
        if poll.answer is None:
            return "-"
        text = beginning_of(poll.answer)
        with suppress(TokenUnreadable):
            text = blackened(text, poll.feed.operation.token)
        return format_html("<pre>{}</pre>", text)


def to_the_second(time: datetime) -> str:
    """In the server's time zone."""
    return words.date_format(timezone.localtime(time), gettext("j M Y, H:i:s"))


def beginning_of(answer: Answer) -> str:
    """An answer's first characters, laid out where it is short enough to be read as a whole."""
    body = zlib.decompressobj().decompress(answer.compressed, UNPACKED)
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
