"""Which day and month an answer belongs to, and closing a month."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import transaction

from usage.models import GAP_INTERVALS, Feed, Gap, MonthlyUsage, Product
from usage.wolkvox.answers import Reading
from usage.wolkvox.errors import AnswerRefused

BOUNDARY = timedelta(hours=24)
"""How far from a month's end the vendor's date may still name the month beside: its zone is not known for sure."""

RESET = timedelta(hours=6)
"""How far from our midnight the vendor may begin a month."""

GRACE = timedelta(hours=24)
"""How long after its end a month stays closing when no poll of the next month comes."""


def first_of(day: date) -> date:
    return day.replace(day=1)


def next_month(month: date) -> date:
    return first_of(month + timedelta(days=31))


def begins_at(month: date, zone: ZoneInfo) -> datetime:
    """The aware instant at which a month begins in an operation's time zone."""
    return datetime.combine(month, time.min, tzinfo=zone)


def day_of(reading: Reading, *, clock: datetime, zone: ZoneInfo) -> date | None:
    """The day whose figure a dated reading is; None where the vendor's date can't be read.

    Raises AnswerRefused for a date outside the month that the vendor can be speaking of.
    """
    today = clock.astimezone(zone).date()
    named = reading.day or reading.month
    if named is None:
        return None
    earliest, latest = ((clock + shift).astimezone(zone).date() for shift in (-BOUNDARY, BOUNDARY))
    if not first_of(earliest) <= first_of(named) <= first_of(latest) or (reading.day and reading.day > latest):
        raise AnswerRefused(f"“{reading.description}” is dated {reading.date}, but it is {today} there.")
    if reading.day:
        return reading.day
    return min(max(today, named), next_month(named) - timedelta(days=1))


def day_of_undated(feed: Feed, figures: Mapping[int, Decimal], *, clock: datetime) -> date:
    """The day of month-to-date figures, by product, that came without a date that can be read.

    That is the day of `clock`, but near a month's end the figures decide, for the vendor's zone is not known: usage of
    which every product fell to less than half is the new month's, and any other still the old one's. A product that is
    told of no more has fallen to nothing. What has begun stays begun.
    """
    zone = feed.operation.zone
    today = clock.astimezone(zone).date()
    if not figures:
        return today
    old, new = (first_of((clock + shift).astimezone(zone).date()) for shift in (-RESET, RESET))
    if old == new:
        return today
    known = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api, month__in=(old, new))
    items = {(month, product): items for month, product, items in known.values_list("month", "product", "items")}
    if any(month == new for month, _ in items):
        return max(today, new)
    pairs = [(before, figures.get(product, Decimal(0))) for (_, product), before in items.items() if before]
    has_fallen = all(now < before / 2 for before, now in pairs)
    has_begun = has_fallen if pairs else today >= new
    return max(today, new) if has_begun else min(today, new - timedelta(days=1))


def note_gap(feed: Feed, seen_at: datetime) -> None:
    """Keep the stretch that a good poll has just ended, if it was one. Before the first poll, the month's own start."""
    if feed.last_good_poll_at is None:
        zone = feed.operation.zone
        began = begins_at(first_of(seen_at.astimezone(zone).date()), zone)
    else:
        began = feed.last_good_poll_at
    if seen_at - began > feed.pace * GAP_INTERVALS:
        Gap.objects.create(feed=feed, began_at=began, ended_at=seen_at)


def gap_seconds(feed: Feed, month: date, *, known_at: datetime | None = None) -> int:
    """Seconds of a month that lie in the gaps of a feed, or in those that had ended at `known_at`."""
    zone = feed.operation.zone
    begin, end = begins_at(month, zone), begins_at(next_month(month), zone)
    gaps = Gap.objects.filter(feed=feed, ended_at__gt=begin, began_at__lt=end)
    if known_at:
        gaps = gaps.filter(ended_at__lte=known_at)
    seconds = sum(
        (min(ended, end) - max(began, begin)).total_seconds()
        for began, ended in gaps.values_list("began_at", "ended_at")
    )
    return round(seconds)


def close_months(now: datetime) -> int:
    """Move every month that has ended to closing, and to closed where its figures are final.

    A feed's month closes once the feed has been read in a later month, or GRACE after its end.
    Returns how many feeds' months were closed.
    """
    unfinished = (
        MonthlyUsage.objects.exclude(state=MonthlyUsage.State.CLOSED)
        .filter(month__lt=first_of((now + BOUNDARY).date()))
        .order_by("operation", "product__api", "month")
        .values_list("operation", "product__api", "month")
        .distinct()
    )
    return sum(_end_month(operation, api, month, now) for operation, api, month in unfinished)


def _end_month(operation_id: int, api: str, month: date, now: datetime) -> bool:
    with transaction.atomic():
        feed = (
            Feed.objects.select_for_update(of=("self",))
            .select_related("operation")
            .get(operation=operation_id, api=api)
        )
        end = begins_at(next_month(month), feed.operation.zone)
        if now < end:
            return False
        rows = MonthlyUsage.objects.filter(operation=operation_id, product__api=api, month=month).exclude(
            state=MonthlyUsage.State.CLOSED
        )
        next_has_begun = MonthlyUsage.objects.filter(operation=operation_id, product__api=api, month__gt=month).exists()
        if now < end + GRACE and not next_has_begun:
            rows.update(state=MonthlyUsage.State.CLOSING)
            return False
        heard, seconds = feed.last_good_poll_at, gap_seconds(feed, month)
        if heard and heard < end and end - heard > feed.pace * GAP_INTERVALS:
            seconds += round((end - heard).total_seconds())
        for product in Product.objects.filter(months__in=rows).distinct():
            rows.filter(product=product).update(
                state=MonthlyUsage.State.CLOSED,
                closed_at=now,
                gap_seconds=seconds,
                closed_name=product.name,
                closed_kind=product.kind,
                closed_licensed_by=product.licensed_by_id,
            )
        return True
