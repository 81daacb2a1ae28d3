"""Operations and their feeds.

A worker writes to both at any time, so a form here writes only the columns that it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Field, Prefetch, QuerySet
from django.forms import BaseInlineFormSet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from usage import tasks
from usage.collecting import operations, polling, quota, rebuilding, turns
from usage.forms import OperationForm, describe_token
from usage.models import Feed, Operation, Poll
from usage.presenting import feeds, first_use, words
from usage.wolkvox.catalogue import Kind

from . import buttons

NEEDS_A_POLL = {"token", "server"}
"""What, once changed, makes what failed before count no more."""


if TYPE_CHECKING:
    FeedFormSet = BaseInlineFormSet[Feed, Operation, Any]


NOTHING = "-"

AT_THE_VENDOR = ["vendor_name", "other_name", "vendors_month", "clock", "calls_today"]


def moment(at: datetime | None, operation: Operation) -> str:
    return words.moment(at, operation.zone, timezone.now()) if at else NOTHING


class FeedInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Feed
    fields = ("title", "is_enabled", "interval", "counts", "state", "heard", "next_poll")
    readonly_fields = ("title", "state", "heard", "next_poll")
    ordering = ("-is_enabled", "id")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Operation | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Feed]:
        return super().get_queryset(request).select_related("operation")

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """With what the page showed beside it: only what its reader changed is written over another's change."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field:
            field.show_hidden_initial = True
        return field

    @admin.display(description=_("API"))
    def title(self, feed: Feed) -> str:
        return words.api_title(feed.api)

    @admin.display(description=_("state"))
    def state(self, feed: Feed) -> str:
        """In short: what to do about a failure stands once, above all feeds."""
        if not feed.is_enabled:
            return NOTHING
        state = feeds.state_of(feed, feed.operation, timezone.now())
        more = f"{state.outlook} {state.contrary}".strip()
        return f"{state.sentence}. {more}" if more else state.sentence

    @admin.display(description=_("last good poll"))
    def heard(self, feed: Feed) -> str:
        return moment(feed.last_good_poll_at, feed.operation)

    @admin.display(description=_("next poll"))
    def next_poll(self, feed: Feed) -> str:
        return moment(feed.next_due_at if feed.is_enabled else None, feed.operation)


@admin.register(Operation)
class OperationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = OperationForm
    list_display = ("name", "server", "is_active", "state", "heard", "other_name")
    list_filter = ("is_active",)
    search_fields = ("name", "slug", "server")
    actions = None

    # What is shown

    def get_queryset(self, request: HttpRequest) -> QuerySet[Operation]:
        polled = Prefetch("feeds", Feed.objects.filter(is_enabled=True), to_attr="polled")
        return Operation.objects.visible_to(request.user).prefetch_related(polled)

    def get_fieldsets(self, request: HttpRequest, obj: Operation | None = None) -> list[Any]:
        """To add an operation takes four fields. What else may be chosen then is folded away."""
        needed, seen_by = ["name", "server", "token", "time_zone"], ["groups", "slug"]
        who = gettext("Who may see it, and its short name")
        if obj is None:
            return [(None, {"fields": needed}), (who, {"fields": seen_by, "classes": ["collapse"]})]
        return [
            (None, {"fields": [*needed, "is_active"]}),
            (who, {"fields": seen_by}),
            (gettext("At the vendor"), {"fields": AT_THE_VENDOR}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Operation | None = None) -> list[str]:
        """Closed months carry the slug in their CSV, so it stands once there are figures."""
        return [*AT_THE_VENDOR, *(["slug"] if obj and is_polled(obj) else [])]

    def get_inlines(self, request: HttpRequest, obj: Operation | None) -> list[Any]:
        return [FeedInline] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Operation | None = None) -> bool:
        """Figures are kept: an operation that has been polled is switched off, not deleted."""
        return super().has_delete_permission(request, obj) and not (obj and is_polled(obj))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return not lookup.startswith("token") and super().lookup_allowed(lookup, value, request)

    @admin.display(description=_("token"))
    def token(self, operation: Operation) -> str:
        """For who may look but not change: without it, Django would show the model's own, in the clear."""
        return describe_token(operation)

    @admin.display(description=_("state"))
    def state(self, operation: Operation) -> str:
        polled = polled_feeds(operation)
        health = feeds.health_of(operation, polled, timezone.now())
        if not polled:
            return gettext("No feed is polled")
        if health.worst is None:
            return gettext("Good")
        if not health.is_trouble:
            return health.worst.sentence
        api = words.api_title(health.worst.feed.api)
        said = gettext("%(api)s: %(state)s") % {"api": api, "state": health.worst.sentence}
        more = ngettext("%(count)s more feed in trouble", "%(count)s more feeds in trouble", health.others)
        return f"{said}; {more % {'count': health.others}}" if health.others else said

    def view_on_site(self, operation: Operation) -> str:
        """Straight there: Django's own way would tell the address to who may not see it."""
        return operation.get_absolute_url()

    @admin.display(description=_("last good poll"))
    def heard(self, operation: Operation) -> str:
        times = [feed.last_good_poll_at for feed in polled_feeds(operation) if feed.last_good_poll_at]
        return moment(max(times, default=None), operation)

    @admin.display(description=_("another name at the vendor"))
    def other_name(self, operation: Operation) -> str:
        return operation.other_vendor_name or NOTHING

    @admin.display(description=_("the vendor's month"))
    def vendors_month(self, operation: Operation) -> str:
        return f"{words.vendors_month(operation)} {words.other_zone(operation)}".strip() or NOTHING

    @admin.display(description=_("its clock"))
    def clock(self, operation: Operation) -> str:
        is_heard = any(feed.last_good_poll_at for feed in polled_feeds(operation))
        return words.skew(operation.clock_skew) if is_heard else NOTHING

    @admin.display(description=_("its calls"))
    def calls_today(self, operation: Operation) -> str:
        return feeds.calls_of(operation, polled_feeds(operation), timezone.now()).sentence

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """With the three steps of a first use, and with what is in trouble, unless they say it."""
        operation: Operation | None = context["original"]
        if operation is None:
            one_way = {"show_save_and_add_another": False, "show_save_and_continue": False}
            context |= {"steps": first_use.before_adding(), **one_way}
        else:
            steps = first_use.steps_of(operation, polled_feeds(operation), timezone.now())
            is_said = steps is not None and steps.testing.is_next
            context |= {"steps": steps, "troubles": [] if is_said else self.troubles(operation)}
        return super().render_change_form(request, context, *args, **kwargs)

    def troubles(self, operation: Operation) -> list[str]:
        states = feeds.troubles_of(operation, polled_feeds(operation), timezone.now())
        return [said for said in [*map(first_use.in_full, states), words.another_name(operation)] if said]

    # What is written

    @method_decorator(sensitive_post_parameters("token"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Operation, form: OperationForm, change: bool) -> None:
        obj.save(update_fields=form.columns) if change else obj.save()

    def save_formset(self, request: HttpRequest, form: OperationForm, formset: FeedFormSet, change: bool) -> None:
        formset.save(commit=False)
        hastened = []
        self.warn_of_seldom(request, [feed for feed, _ in formset.changed_objects])
        for feed, changed in formset.changed_objects:
            feed.save(update_fields=changed)
            if "counts" in changed:
                rebuilding.recount(feed)
            if feed.is_enabled and {"is_enabled", "interval"} & set(changed):
                hastened.append(feed.pk)
        polling.bring_forward(form.instance, timezone.now(), pk__in=hastened)

    def save_related(
        self, request: HttpRequest, form: OperationForm, formsets: Sequence[FeedFormSet], change: bool
    ) -> None:
        super().save_related(request, form, formsets, change)
        operation = form.instance
        self.warn_of_quota(request, operation)
        if change and "time_zone" in form.changed_data:
            for feed in operation.feeds.select_related("operation"):
                rebuilding.refold(feed)
        if change and not NEEDS_A_POLL & set(form.changed_data):
            return
        (operations.make_due if change else operations.add_feeds)(operation, timezone.now())
        if operation.is_active:
            transaction.on_commit(partial(self.poll_soon, request, operation.pk, is_told=change))

    def warn_of_quota(self, request: HttpRequest, operation: Operation) -> None:
        """Say where the schedule needs more calls a day than there are. It is saved all the same."""
        is_told = operation.call_limit is not None
        told = operation if is_told else Operation(call_limit=quota.likely_limit(operation))
        calls = feeds.calls_of(told, operation.feeds.filter(is_enabled=True), timezone.now())
        if not calls.are_short:
            return
        said = gettext(
            "This schedule needs %(needed)s calls a day. The vendor allows %(limit)s, of which %(reserve)s are kept in "
            "reserve: the least important feeds will be polled less often than set."
        )
        if not is_told:
            said = gettext(
                "This schedule needs %(needed)s calls a day. The vendor hasn't told its limit; 1,000 for each licence "
                "would be %(limit)s, of which %(reserve)s are kept in reserve."
            )
        figures = {"needed": calls.needed, "limit": calls.limit, "reserve": calls.reserve}
        shown = {name: words.number(figure or 0) for name, figure in figures.items()}
        self.message_user(request, said % shown, messages.WARNING)

    def warn_of_seldom(self, request: HttpRequest, feeds: Sequence[Feed]) -> None:
        """Say of which feeds nobody will notice that they count the other thing than they are set to."""
        seldom = [
            feed for feed in feeds if feed.is_enabled and feed.pace > turns.SELDOM and feed.about.kind is Kind.USAGE
        ]
        if seldom:
            said = gettext(
                "Polled so seldom, it can't be noticed whether these count what they are set to: %(apis)s. Every 6 "
                "hours would do."
            )
            shown = ", ".join(words.api_title(feed.api) for feed in seldom)
            self.message_user(request, said % {"apis": shown}, messages.WARNING)

    def poll_soon(self, request: HttpRequest, operation_id: int, *, is_told: bool) -> None:
        """Of a new operation, its steps tell."""
        if not tasks.poll_soon(operation_id):
            self.message_user(request, buttons.no_broker(), messages.WARNING)
        elif is_told:
            said = gettext("It is being polled now: reload this page to see what came of it.")
            self.message_user(request, said, messages.INFO)

    def response_post_save_add(self, request: HttpRequest, obj: Operation) -> HttpResponseRedirect:
        """On to the operation's own page, where its feeds and its first poll are seen."""
        return redirect("admin:usage_operation_change", obj.pk)

    # Buttons

    def get_urls(self) -> list[URLPattern]:
        acts = {"test": buttons.test, "poll": buttons.poll_now, "accept_name": self.accept_name}
        return [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(partial(self.press, act=act)),
                name=f"usage_operation_{name}",
            )
            for name, act in acts.items()
        ] + super().get_urls()

    def press(
        self, request: HttpRequest, object_id: str, act: Callable[[HttpRequest, Operation], None]
    ) -> HttpResponse:
        operation = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, operation):
            raise PermissionDenied
        if operation is None:
            raise Http404
        if request.method == "POST":  # else who pressed had to log in first, and was led here
            act(request, operation)
        return redirect("admin:usage_operation_change", operation.pk)

    def accept_name(self, request: HttpRequest, operation: Operation) -> None:
        if operations.accept_name(operation):
            self.log_change(request, operation, [{"changed": {"fields": ["name at the vendor"]}}])
            said = gettext("“%(name)s” is its name at the vendor from now on.")
            messages.success(request, said % {"name": operation.other_vendor_name})
        else:
            messages.info(request, gettext("The vendor has given no other name."))


def polled_feeds(operation: Operation) -> list[Feed]:
    """As `get_queryset` fetched them beforehand."""
    return operation.polled  # type: ignore[attr-defined, no-any-return]


def is_polled(operation: Operation) -> bool:
    return Poll.objects.filter(feed__operation=operation).exists()
