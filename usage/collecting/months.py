"""The calendar of an operation: which day and month a dated reading is of, and the stretches that went unheard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from usage.models import Feed, Gap, MonthlyUsage
from usage.wolkvox.answers import Reading
from usage.wolkvox.errors import AnswerRefused

BOUNDARY = timedelta(hours=24)
"""How far from a month's end the vendor's date may still name the month beside: its zone is not known for sure."""


def first_of(day: date) -> date:
    return day.replace(day=1)


def next_month(month: date) -> date:
    return first_of(month + timedelta(days=31))


def last_of(month: date) -> date:
    return next_month(month) - timedelta(days=1)


def begins_at(day: date, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which a day, or a month by its first day, begins in an operation's time zone.

    Within one zone, Python reckons by the clock on the wall, which is an hour off where clocks are changed.
    """
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


@dataclass(frozen=True)
class Today:
    """The vendor's day at `clock`, and those that its date may name: `earliest` and `latest` are a day away."""

    clock: datetime
    day: date
    earliest: date
    latest: date

    @classmethod
    def at(cls, clock: datetime, zone: ZoneInfo) -> Today:
        day, earliest, latest = ((clock + by).astimezone(zone).date() for by in (timedelta(), -BOUNDARY, BOUNDARY))
        return cls(clock, day, earliest, latest)

    def of(self, reading: Reading) -> date | None:
        """The day whose figure a dated reading is; None where the vendor's date can't be read.

        Raises AnswerRefused for a date outside the month that the vendor can be speaking of.
        """
        named = reading.day or reading.month
        if named is None:
            return None
        if not self.is_near(first_of(named)) or (reading.day and reading.day > self.latest):
            raise AnswerRefused(f"“{reading.description}” is dated {reading.date}, but it is {self.day} there.")
        return reading.day or min(max(self.day, named), last_of(named))

    def is_near(self, month: date) -> bool:
        """Whether the vendor may be speaking of that month as its own."""
        return first_of(self.earliest) <= month <= first_of(self.latest)

    @property
    def last_month(self) -> date:
        return first_of(first_of(self.day) - timedelta(days=1))


# Gaps


def note_gap(feed: Feed, seen_at: datetime) -> Gap | None:
    """Keep the stretch that a good poll has just ended, if it was one, and count it in its months.

    Before the first poll, the month's own start counts.
    """
    if feed.last_good_poll_at is None:
        zone = feed.operation.zone
        began = begins_at(first_of(seen_at.astimezone(zone).date()), zone)
    else:
        began = feed.last_good_poll_at
    if seen_at - began <= feed.gap_limit:
        return None
    gap = Gap.objects.create(feed=feed, began_at=began, ended_at=seen_at)
    rows = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api).exclude(
        state=MonthlyUsage.State.CLOSED
    )
    for month in rows.values_list("month", flat=True).distinct():
        gaps = gaps_of(feed, month)
        rows.filter(month=month).update(gaps=gaps, gap_seconds=seconds_of(gaps))
    return gap


def gaps_of(feed: Feed, month: date, *, heard_last: datetime | None = None) -> list[list[int]]:
    """A month's part of each gap of a feed, as seconds since the month began: from, to.

    With `heard_last`, the stretch from there to the month's end is one too, if it is long enough.
    """
    zone = feed.operation.zone
    begin, end = begins_at(month, zone), begins_at(next_month(month), zone)
    gaps = list(
        Gap.objects.filter(feed=feed, ended_at__gt=begin, began_at__lt=end)
        .order_by("began_at")
        .values_list("began_at", "ended_at")
    )
    if heard_last and end - heard_last > feed.gap_limit:
        gaps.append((heard_last, end))
    return [
        [round((max(began, begin) - begin).total_seconds()), round((min(ended, end) - begin).total_seconds())]
        for began, ended in gaps
    ]


def seconds_of(gaps: Iterable[list[int]]) -> int:
    return sum(ended - began for began, ended in gaps)
