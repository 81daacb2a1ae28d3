"""A day of a product in an operation, down to the polls that its figures came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property

from django.db.models import F

from usage.models import DailyUsage, Feed, MonthlyUsage, OperationQuerySet, Snapshot

from .comparing import per_licence
from .figures import ProductMonth, at, midnight, product_months
from .queries import counted, with_licences

MOST = 500
"""More figures than the polls of a day bring, five minutes apart: only a day that is told of later has more."""


@dataclass(frozen=True)
class DayPage:
    """A day and what was shown of it. `known` is None where nothing is: then `why_unknown` says why."""

    row: ProductMonth
    day: date
    known: DailyUsage | None
    snapshots: Sequence[Snapshot]
    is_cut: bool
    previous: date | None
    next: date | None
    first: date | None
    """The first day ever with a figure, where no month before this one has any."""

    @property
    def noon(self) -> datetime:
        """Seen from here, times of the day go without their date."""
        return midnight(self.day, self.row.operation.zone) + timedelta(hours=12)

    @property
    def licences(self) -> Decimal | None:
        by_day = self.row.licences.by_day if self.row.licences else ()
        return by_day[self.day.day - 1] if self.day.day <= len(by_day) else None

    @property
    def per_licence(self) -> Decimal | None:
        return per_licence(self.known.items, self.licences) if self.known else None

    @property
    def to_date_before(self) -> Decimal | None:
        """The month to date that the day's own use is counted from."""
        items = self.known.items if self.known else None
        to_date = self.known.month_to_date if self.known else None
        return None if items is None or to_date is None else to_date - items

    @property
    def is_unfinished(self) -> bool:
        """It was last heard of before it was over."""
        return self.known is not None and self.day.day == self.row.unfinished

    @property
    def span(self) -> tuple[datetime, datetime]:
        """When it begins and ends."""
        zone = self.row.operation.zone
        return midnight(self.day, zone), midnight(self.day + timedelta(days=1), zone)

    @property
    def stretches(self) -> list[tuple[datetime, datetime]]:
        """Those of the day without a good poll."""
        begin, end = self.span
        cut = [(max(began, begin), min(ended, end)) for began, ended in self.row.gaps]
        return [(began, ended) for began, ended in cut if began < ended]

    @property
    def is_unheard(self) -> bool:
        """Whether one of them is all of the day, as far as it has come."""
        begin, end = self.span
        until = min(end, self.row.now)
        return any(began <= begin and until - ended < timedelta(seconds=1) for began, ended in self.stretches)

    @property
    def why_unknown(self) -> str:
        today = self.row.now.astimezone(self.row.operation.zone).date()
        if self.day > today:
            return "to come"
        if self.first and self.day < self.first:
            return "before the first"
        if self.is_unheard:
            return "unheard"
        return "awaited" if self.day == today else "not told"

    @cached_property
    def corrections(self) -> set[int]:
        """The ids of the snapshots that came after the month was closed."""
        closed_at = self.row.usage.closed_at
        return {shown.pk for shown in self.snapshots if closed_at and shown.first_seen > closed_at}


def feed_with_months(operations: OperationQuerySet, slug: str, product: int) -> tuple[Feed, list[date]] | None:
    """The feed that tells of a product in an operation, and the months with figures of it, in one query."""
    rows = (
        Feed.objects.filter(
            counted("operation__months__"),
            operation__in=operations,
            operation__slug=slug,
            operation__months__product__pk=product,
            operation__months__product__api=F("api"),
        )
        .select_related("operation")
        .defer("operation__token_encrypted")
        .annotate(known=F("operation__months__month"))
    )
    found = list(rows.order_by("known"))
    return (found[0], [row.known for row in found]) if found else None


def day_page(feed: Feed, product: int, day: date, known: Sequence[date], now: datetime, *, most: int = MOST) -> DayPage:
    """A day of a month that is `known`, in their order, with its last snapshots, `most` of them: three queries."""
    month = day.replace(day=1)
    place = known.index(month)
    near = known[max(0, place - 1) : place + 2]
    rows = MonthlyUsage.objects.filter(operation=feed.operation_id, month__in=near)
    usages = list(with_licences(rows, product).select_related("product"))
    shown = product_months(usages, month, {feed.operation_id: feed.operation}, [feed], now)
    days = sorted(day for usage in usages if usage.product_id == product for day in known_days(usage))
    snapshots = list(
        Snapshot.objects.filter(feed=feed, product=product, month=month, day=day)
        .select_related("first_poll__answer")
        .defer("first_poll__answer__compressed")
        .order_by("-first_seen", "-pk")[: most + 1]
    )
    return DayPage(
        row=next(row for row in shown if row.product.pk == product),
        day=day,
        known=DailyUsage.objects.filter(operation=feed.operation_id, product=product, day=day).first(),
        snapshots=snapshots[:most][::-1],
        is_cut=len(snapshots) > most,
        previous=max((other for other in days if other < day), default=None),
        next=min((other for other in days if other > day), default=None),
        first=days[0] if days and not place else None,
    )


def known_days(usage: MonthlyUsage) -> list[date]:
    """The days of a month with a figure."""
    by_day = usage.to_date_by_day if usage.its_product.is_usage else usage.items_by_day
    return [usage.month.replace(day=number) for number in range(1, len(by_day) + 1) if at(by_day, number) is not None]
