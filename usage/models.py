"""What is stored, and what must hold of it. Instants are aware and UTC; a `day` and a `month` (its first day)
are dates in the operation's own time zone; items are decimals with four places. A foreign key that another index of its
table begins with has none of its own.
"""

from __future__ import annotations

import zlib
from copy import copy
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.signals import m2m_changed
from django.dispatch import receiver
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from . import tokens
from .wolkvox.catalogue import APIS, Api, Kind

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

DIGITS, PLACES = 15, 4
"""SQLite keeps a decimal as a double, which holds 15 digits exactly: no figure may have more."""


RESERVE = 20
"""One call in so many of a day's limit is kept in reserve."""

API_CHOICES = [(name, _(api.title)) for name, api in APIS.items()]


def items_field(*, null: bool = False) -> models.DecimalField[Any, Any]:
    return models.DecimalField(max_digits=DIGITS, decimal_places=PLACES, null=null)


WITHOUT_SUMMER = frozenset({"CET", "EET", "MET", "WET"})
"""Names that PostgreSQL takes for abbreviations, always winter's, where Python knows their summers."""


def validate_time_zone(name: str) -> None:
    if name in WITHOUT_SUMMER or name not in available_timezones():
        raise ValidationError(
            _("“%(name)s” is not a time zone. Write one such as America/Bogota."), params={"name": name}
        )


validate_server = RegexValidator(
    r"\A[0-9]{4}\Z", _("A server is four digits, such as 0012: the number in https://wv0012.wolkvox.com.")
)


class OperationQuerySet(models.QuerySet["Operation"]):
    def visible_to(self, user: User | AnonymousUser) -> OperationQuerySet:
        """Those that are everyone's, and those kept to a group of theirs. Who manages operations sees all."""
        if user.has_perm("usage.change_operation"):
            return self
        theirs = Operation.groups.through.objects.filter(group__user=user.pk).values("operation_id")
        return self.filter(Q(is_kept_to_groups=False) | Q(pk__in=theirs))


class Operation(models.Model):
    """A customer's operation at the vendor: a server number and a token.

    Between `reset_after` and `reset_before`, in seconds from midnight in its time zone, negative before it, the vendor
    was seen to begin its months; both are None until that was seen. `clock_skew` is by how many seconds the vendor's
    clock is ahead of ours.

    On `calls_day`, a day of its time zone, `calls` were made: ours, each written before it leaves, and those of other
    programs as far as the vendor told. It allows `call_limit` a day, None where it never told; it is asked again at
    `limit_due_at`.
    """

    name = models.CharField(_("name"), max_length=100, unique=True)
    slug = models.SlugField(_("slug"), max_length=100, unique=True, help_text=_("Its name in addresses and in CSV."))
    server = models.CharField(
        _("server"), max_length=4, validators=[validate_server], help_text=_("Four digits, such as 0012.")
    )
    token_encrypted = models.TextField(editable=False)
    token_fingerprint = models.CharField(max_length=64, unique=True, editable=False)
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        default="America/Bogota",
        validators=[validate_time_zone],
        help_text=_("Where its days and months begin at midnight."),
    )
    is_active = models.BooleanField(_("active"), default=True, help_text=_("Untick to stop polling; figures stay."))
    groups = models.ManyToManyField(
        Group,
        blank=True,
        related_name="operations",
        verbose_name=_("kept to groups"),
        help_text=_("Who may see it. Everyone with a role, when none is chosen."),
    )
    is_kept_to_groups = models.BooleanField(default=False, editable=False)
    vendor_name = models.CharField(_("name at the vendor"), max_length=200, blank=True, editable=False)
    other_vendor_name = models.CharField(max_length=200, blank=True, editable=False)
    reset_after = models.IntegerField(null=True, editable=False)
    reset_before = models.IntegerField(null=True, editable=False)
    clock_skew = models.IntegerField(default=0, editable=False)
    claimed_at = models.DateTimeField(null=True, editable=False)
    claimed_by = models.CharField(max_length=36, blank=True, editable=False)
    calls = models.PositiveIntegerField(default=0, editable=False)
    calls_day = models.DateField(null=True, editable=False)
    call_limit = models.PositiveIntegerField(null=True, editable=False)
    limit_due_at = models.DateTimeField(null=True, editable=False)

    objects = OperationQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        permissions = [("view_pages", "Can see the pages"), ("download_reports", "Can download reports")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("operation", args=[self.slug])

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def calls_on(self, day: date) -> int:
        return self.calls if self.calls_day == day else 0

    @property
    def call_budget(self) -> int | None:
        """What a schedule may use of the limit; the rest is kept for tests, last polls and what isn't known."""
        return None if self.call_limit is None else self.call_limit - self.call_limit // RESERVE

    @property
    def token(self) -> str:
        """The token in the clear, for the call alone. Raises TokenUnreadable."""
        return tokens.decrypt(self.token_encrypted)

    @token.setter
    def token(self, token: str) -> None:
        self.token_encrypted = tokens.encrypt(token)
        self.token_fingerprint = tokens.fingerprint(token)


@receiver(m2m_changed, sender=Operation.groups.through)
def note_groups(
    sender: object, instance: models.Model, action: str, reverse: bool, pk_set: set[int] | None, **kwargs: object
) -> None:
    """Choosing groups for an operation keeps it to them, choosing none opens it. Deleting a group opens nothing."""
    if action == "post_add":
        kept = Operation.objects.filter(pk__in=(pk_set or ()) if reverse else [instance.pk])
        kept.update(is_kept_to_groups=True)
    elif action in ("post_remove", "post_clear") and isinstance(instance, Operation):
        Operation.objects.filter(pk=instance.pk).update(is_kept_to_groups=instance.groups.exists())


class Interval(models.IntegerChoices):
    """Minutes between two polls of a feed. Each divides a day, so that every day ends with a poll."""

    FIVE_MINUTES = 5, _("5 minutes")
    TEN_MINUTES = 10, _("10 minutes")
    FIFTEEN_MINUTES = 15, _("15 minutes")
    HALF_HOUR = 30, _("30 minutes")
    HOUR = 60, _("1 hour")
    THREE_HOURS = 180, _("3 hours")
    SIX_HOURS = 360, _("6 hours")
    TWELVE_HOURS = 720, _("12 hours")
    DAY = 1440, _("1 day")


class Feed(models.Model):
    """One API polled for one operation, at its own interval.

    Since `held_since`, good answers are held: whether they are of the old month or the new one can't be told yet.
    At `contrary_midnights` midnights in a row, its figures behaved as if they counted the other thing than `counts`.
    While it `waits_for_quota`, `next_due_at` is later than its interval would have it: the day's calls run short.
    `heard_interval` is the interval at the last good poll, by which it is told whether a stretch since then is a gap.
    `took` is how long a good call takes, in milliseconds, lately.
    """

    class Counts(models.TextChoices):
        MONTH = "month", _("month to date")
        DAY = "day", _("the day")

    operation = models.ForeignKey(Operation, models.CASCADE, related_name="feeds", verbose_name=_("operation"))
    api = models.CharField(_("API"), max_length=32, choices=API_CHOICES)
    interval = models.PositiveSmallIntegerField(_("every"), choices=Interval, default=Interval.HOUR)
    is_enabled = models.BooleanField(_("polled"), default=False)
    counts = models.CharField(
        _("figures count"),
        max_length=5,
        choices=Counts,
        default=Counts.MONTH,
        help_text=_("What a usage figure counts: the month so far, or the day alone."),
    )
    next_due_at = models.DateTimeField(_("next poll"), null=True, editable=False)
    last_poll_at = models.DateTimeField(_("last poll"), null=True, editable=False)
    last_good_poll_at = models.DateTimeField(_("last good poll"), null=True, editable=False)
    failing_since = models.DateTimeField(_("failing since"), null=True, editable=False)
    failing_outcome = models.CharField(max_length=32, blank=True, editable=False)
    failing_message = models.CharField(max_length=500, blank=True, editable=False)
    failures = models.PositiveIntegerField(default=0, editable=False)
    held_since = models.DateTimeField(null=True, editable=False)
    contrary_midnights = models.PositiveSmallIntegerField(default=0, editable=False)
    waits_for_quota = models.BooleanField(default=False, editable=False)
    heard_interval = models.PositiveSmallIntegerField(null=True, editable=False)
    took = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["operation_id", "id"]
        verbose_name = _("feed")
        verbose_name_plural = _("feeds")
        constraints = [models.UniqueConstraint(fields=["operation", "api"], name="one_feed_an_api")]
        indexes = [models.Index(fields=["next_due_at"], condition=Q(is_enabled=True), name="feeds_due")]

    def __str__(self) -> str:
        return f"{self.operation} · {self.api}"

    @property
    def about(self) -> Api:
        return APIS[self.api]

    @property
    def pace(self) -> timedelta:
        return timedelta(minutes=self.interval)

    @property
    def gap_limit(self) -> timedelta:
        """A longer stretch without a good poll is a gap, by the interval that held when it was last heard."""
        return timedelta(minutes=self.heard_interval or self.interval) * GAP_INTERVALS

    @property
    def calls_a_day(self) -> int:
        return Interval.DAY // self.interval


class Answer(models.Model):
    """The bytes that came back: one row per different body."""

    sha256 = models.CharField(max_length=64, unique=True)
    compressed = models.BinaryField()

    class Meta:
        verbose_name = _("answer")
        verbose_name_plural = _("answers")

    def __str__(self) -> str:
        return self.sha256

    @property
    def body(self) -> bytes:
        return zlib.decompress(self.compressed)


GOOD = "good"
TOKEN_UNREADABLE = "token_unreadable"  # noqa: S105  an outcome, not a token
SUPERSEDED = "superseded"
FAULT = "fault"
"""Outcomes of our own, beside those of `wolkvox.errors`. Of an unreadable token nothing was sent; an answer was
superseded where the operation's token or server changed during the call."""

GAP_INTERVALS = 2.5
"""A stretch of more than this many intervals without a good poll is a gap: a late poll or two is no news."""


class Poll(models.Model):
    """One call of a feed, with its outcome: `good`, or the outcome of a class of error.

    While `is_held`, the figures of its answer stand nowhere yet. Where it was not sent, the vendor heard nothing of it.
    """

    feed = models.ForeignKey(Feed, models.CASCADE, related_name="polls", verbose_name=_("feed"), db_index=False)
    started_at = models.DateTimeField(_("started"))
    ended_at = models.DateTimeField(_("ended"))
    outcome = models.CharField(_("outcome"), max_length=32)
    http_status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    code = models.CharField(_("code"), max_length=20, blank=True)
    message = models.CharField(_("message"), max_length=500, blank=True)
    excerpt = models.CharField(_("excerpt"), max_length=300, blank=True)
    rows = models.PositiveIntegerField(_("rows"), default=0)
    size = models.PositiveIntegerField(_("bytes"), default=0)
    answer = models.ForeignKey(Answer, models.PROTECT, null=True, related_name="polls", verbose_name=_("answer"))
    is_held = models.BooleanField(default=False)
    was_sent = models.BooleanField(default=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        verbose_name = _("poll")
        verbose_name_plural = _("polls")
        indexes = [
            models.Index(fields=["feed", "-started_at"], name="polls_of_a_feed"),
            models.Index(fields=["-started_at"], name="polls_by_time"),
            models.Index(fields=["feed", "started_at"], condition=Q(is_held=True), name="polls_held"),
        ]

    def __str__(self) -> str:
        return gettext("poll %(number)s") % {"number": self.pk}

    @property
    def is_good(self) -> bool:
        return self.outcome == GOOD


class Product(models.Model):
    """What a reading's description names, within an API."""

    class Kind(models.TextChoices):
        USAGE = Kind.USAGE, _("usage")
        LICENCES = Kind.LICENCES, _("licences")
        ACTIVE_COUNT = Kind.ACTIVE_COUNT, _("active count")

    api = models.CharField(_("API"), max_length=32, choices=API_CHOICES)
    description = models.CharField(_("description"), max_length=200)
    name = models.CharField(_("shown name"), max_length=200)
    unit = models.CharField(_("unit"), max_length=40, blank=True)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind)
    is_duration = models.BooleanField(default=False, editable=False)
    is_counted = models.BooleanField(
        _("counted"), default=True, help_text=_("Untick for a summary row: its figures are left out.")
    )
    licensed_by = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="licenses",
        limit_choices_to={"kind": Kind.LICENCES.value},
        verbose_name=_("licensed by"),
    )

    class Meta:
        ordering = ["api", "name", "id"]
        verbose_name = _("product")
        verbose_name_plural = _("products")
        constraints = [models.UniqueConstraint(fields=["api", "description"], name="one_product_a_description")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.pk])

    @property
    def is_usage(self) -> bool:
        return self.kind == Kind.USAGE


class Snapshot(models.Model):
    """A figure that the vendor showed for a day, and from when until when it showed it.

    It `ends_silence` where its product had been told of before, but not towards the end of the day that was the last
    one until then.
    """

    feed = models.ForeignKey(Feed, models.CASCADE, related_name="snapshots", db_index=False)
    product = models.ForeignKey(Product, models.PROTECT, related_name="snapshots")
    month = models.DateField()
    day = models.DateField()
    counts_day = models.BooleanField(default=False)
    items = items_field()
    vendor_date = models.CharField(max_length=40, blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    first_poll = models.ForeignKey(Poll, models.PROTECT, related_name="snapshots")
    ends_silence = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["feed", "product", "day", "first_seen"], name="one_snapshot_at_a_time"),
            models.CheckConstraint(condition=Q(last_seen__gte=F("first_seen")), name="snapshot_seen_in_order"),
            models.CheckConstraint(condition=Q(items__gte=0), name="snapshot_not_negative"),
        ]
        indexes = [
            models.Index(fields=["feed", "last_seen"], name="snapshots_shown_last"),
            models.Index(fields=["month", "feed"], name="snapshots_of_a_month"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} · {self.day} · {self.items}"


class Gap(models.Model):
    """A stretch without a good poll of a feed, known once it has ended."""

    feed = models.ForeignKey(Feed, models.CASCADE, related_name="gaps", db_index=False)
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["feed", "began_at"], name="one_gap_at_a_time"),
            models.CheckConstraint(condition=Q(ended_at__gt=F("began_at")), name="gap_in_order"),
        ]
        indexes = [models.Index(fields=["feed", "ended_at"], name="gaps_of_a_feed")]

    def __str__(self) -> str:
        return f"{self.feed_id} · {self.began_at} – {self.ended_at}"


class DailyUsage(models.Model):
    """A product's day in an operation.

    Of usage, `items` is what the day used, and `month_to_date` what the month had used by the day's end, or by its last
    good poll. Where a stretch without a good poll ran over midnight, what was used in it is spread over its days by
    time, and each of them `is_reckoned`; on those without a poll of their own, nothing is known of `highest` and
    `lowest`. Where days are counted each from nothing, the one that such a stretch began in `is_reckoned`, and lacks
    what came after its last poll. Of a gauge, `items` is the day's last figure.
    """

    operation = models.ForeignKey(Operation, models.CASCADE, related_name="days", db_index=False)
    product = models.ForeignKey(Product, models.PROTECT, related_name="days")
    day = models.DateField()
    items = items_field(null=True)
    month_to_date = items_field(null=True)
    highest = items_field(null=True)
    lowest = items_field(null=True)
    as_of = models.DateTimeField()
    is_restated = models.BooleanField(default=False)
    is_reckoned = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["operation", "product", "day"], name="one_row_a_day")]
        indexes = [models.Index(fields=["day", "operation", "product"], name="days_by_day")]

    def __str__(self) -> str:
        return f"{self.product_id} · {self.day}"


KEPT_OF_A_PRODUCT = ("name", "kind", "unit", "licensed_by_id", "is_counted")
"""What an admin may change of a product, which a closed month keeps in its `closed_…` as it was at the closing."""


class MonthlyUsage(models.Model):
    """A product's month in an operation. Once `state` is closed, no column changes any more.

    Of usage, `items` is the month to date, and `highest` and `lowest` are those of whole days that are not reckoned; of
    a gauge, the last, highest and lowest figures. The two lists hold what its daily rows hold, as text from the 1st on,
    null where nothing is known: enough for an overview without reading days; `reckoned_days` are the numbers of the
    reckoned ones. `gaps` are the stretches without a good poll, each as two counts of seconds since the month began,
    and `gap_seconds` their sum. What an admin may change of the product, and of the operation's time zone, is kept in
    `closed_…` as it was at the closing.
    A usage product that is told of only after the month closed has a row with nothing in it, and a correction.
    """

    class State(models.TextChoices):
        OPEN = "open", _("open")
        CLOSING = "closing", _("closing")
        CLOSED = "closed", _("closed")

    operation = models.ForeignKey(Operation, models.CASCADE, related_name="months", db_index=False)
    product = models.ForeignKey(Product, models.PROTECT, related_name="months")
    month = models.DateField()
    items = items_field()
    highest = items_field(null=True)
    lowest = items_field(null=True)
    items_by_day = models.JSONField(default=list)
    to_date_by_day = models.JSONField(default=list)
    reckoned_days = models.JSONField(default=list)
    state = models.CharField(max_length=7, choices=State, default=State.OPEN)
    as_of = models.DateTimeField()
    gaps = models.JSONField(default=list)
    gap_seconds = models.PositiveIntegerField(default=0)
    is_restated = models.BooleanField(default=False)
    closed_at = models.DateTimeField(null=True)
    closed_name = models.CharField(max_length=200, blank=True)
    closed_kind = models.CharField(max_length=12, blank=True)
    closed_unit = models.CharField(max_length=40, blank=True)
    closed_licensed_by = models.ForeignKey(Product, models.PROTECT, null=True, related_name="+")
    closed_is_counted = models.BooleanField(default=True)
    closed_zone = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["operation", "product", "month"], name="one_row_a_month"),
            models.CheckConstraint(condition=Q(closed_at=None) ^ Q(state="closed"), name="closed_months_say_when"),
        ]
        indexes = [
            models.Index(fields=["month", "operation", "product"], name="months_by_month"),
            models.Index(fields=["month"], condition=~Q(state="closed"), name="months_not_closed"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} · {self.month:%Y-%m}"

    @property
    def is_closed(self) -> bool:
        return self.state == self.State.CLOSED

    @cached_property
    def its_product(self) -> Product:
        """The product; of a closed month with name, kind, unit, licences and counting as they were at the closing."""
        if not self.closed_name:
            return self.product
        as_it_was = copy(self.product)
        for name in KEPT_OF_A_PRODUCT:
            setattr(as_it_was, name, getattr(self, f"closed_{name}"))
        return as_it_was


class Certificate(models.Model):
    """What a closed month's figure stands on, written when the month is closed and never again.

    `seconds_unheard` lie between the last good poll and the vendor's new month: the boundary in the operation's zone
    (or when it was seen to begin its months, if that is later), or the first answer of the new month where the vendor
    began it earlier or later. `seconds_at_midnights` are those at the end of its other days of which nothing was told,
    where days are counted each from nothing: of a month to date there are none. `most_unseen` is the most that can have
    been used in both, at the quickest pace known: `pace_items` in `pace_seconds`. It is None where no pace is known,
    and of gauges.
    """

    class Pace(models.TextChoices):
        BUSIEST = "busiest", _("the busiest stretch of the day before it")
        MEAN = "mean", _("the month's mean")
        UNKNOWN = "unknown", _("not known")

    usage = models.OneToOneField(MonthlyUsage, models.PROTECT, related_name="certificate")
    poll = models.ForeignKey(Poll, models.PROTECT, null=True, related_name="certificates")
    last_good_poll_at = models.DateTimeField()
    seconds_unheard = models.PositiveIntegerField()
    seconds_at_midnights = models.PositiveIntegerField(default=0)
    most_unseen = items_field(null=True)
    pace = models.CharField(max_length=8, choices=Pace)
    pace_items = items_field(null=True)
    pace_seconds = models.PositiveIntegerField(null=True)
    answer_sha256 = models.CharField(max_length=64, blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.usage_id} · {self.last_good_poll_at}"


class Correction(models.Model):
    """What the vendor said of a month after its closing: the month's figure would be `items`. The closed one stands."""

    usage = models.ForeignKey(MonthlyUsage, models.PROTECT, related_name="corrections")
    poll = models.ForeignKey(Poll, models.PROTECT, related_name="corrections")
    items = items_field()
    seen_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        ordering = ["seen_at", "id"]
        constraints = [models.UniqueConstraint(fields=["usage", "poll"], name="one_correction_a_poll")]

    def __str__(self) -> str:
        return f"{self.usage_id} · {self.items}"
