"""Readings -> snapshots -> daily and monthly usage, in the transaction of their poll.

Daily and monthly rows are a fold over snapshots in the order in which they were first seen. A poll folds its new
snapshots onto the rows that stand; `rebuild` folds all of them from nothing: both by `fold`, so both give the
same bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from usage.models import GOOD, Answer, DailyUsage, Feed, MonthlyUsage, Operation, Poll, Product, Snapshot
from usage.wolkvox.answers import Reading
from usage.wolkvox.catalogue import APIS
from usage.wolkvox.client import Reply
from usage.wolkvox.errors import AnswerRefused

from . import months

SUMMARY_ROWS = {"TOTAL", "TOTALES", "SUBTOTAL", "GRAND TOTAL", "TOTAL GENERAL"}
NOTHING = Decimal(0)

CLOCKS_DIFFER = timedelta(hours=1)
"""More than this between the vendor's clock and ours is an error of one of them, and ours is watched."""

Key = tuple[int, date]
"""A product's id and a month (or a day, of daily rows)."""

Row = TypeVar("Row", DailyUsage, MonthlyUsage)


@dataclass(frozen=True)
class Figure:
    """A reading in its place: whose, of which day, and whether it counts that day alone or the month so far."""

    product: Product
    day: date
    items: Decimal
    counts_day: bool
    vendor_date: str


# A poll


def record(feed: Feed, reply: Reply, readings: Sequence[Reading]) -> Poll:
    """Keep a good answer and all that follows from it. To be called inside the poll's transaction.

    Raises AnswerRefused, before anything is written that would have to stand, for a figure that has no place.
    """
    operation = feed.operation
    figures = place(feed, readings, clock=clock_of(reply))
    poll = Poll.objects.create(
        feed=feed,
        started_at=reply.started_at,
        ended_at=reply.ended_at,
        outcome=GOOD,
        http_status=reply.http_status,
        code="200",
        rows=len(readings),
        size=len(reply.body),
        answer=keep_answer(reply.body),
    )
    seen_at = reply.started_at
    if feed.last_good_poll_at and seen_at <= feed.last_good_poll_at:  # our clock was set back
        seen_at = feed.last_good_poll_at + timedelta(microseconds=1)
    note_name(operation, readings)
    months.note_gap(feed, seen_at)
    rows = months_before(feed, figures)
    sealed = {key for key, row in rows.items() if row.is_closed}
    snapshots = keep_snapshots(feed, poll, figures, seen_at, sealed)
    follow(
        feed,
        [snapshot for snapshot in snapshots if (snapshot.product_id, snapshot.month) not in sealed],
        rows,
    )
    feed.last_good_poll_at = seen_at
    return poll


def clock_of(reply: Reply) -> datetime:
    """The vendor's clock, which dates what has no date of its own; ours, where that one is too far off to be right."""
    ours, theirs = reply.started_at, reply.vendor_clock
    return theirs if theirs and abs(theirs - ours) < CLOCKS_DIFFER else ours


def keep_answer(body: bytes) -> Answer:
    sha256 = hashlib.sha256(body).hexdigest()
    return Answer.objects.get_or_create(sha256=sha256, defaults={"compressed": zlib.compress(body)})[0]


def note_name(operation: Operation, readings: Sequence[Reading]) -> None:
    """Remember the operation's name at the vendor, and flag another one: the token may be another customer's."""
    for name in {reading.operation for reading in readings} - {"", operation.vendor_name}:
        if operation.vendor_name:
            operation.other_vendor_name = name
        else:
            operation.vendor_name = name
        operation.save(update_fields=["vendor_name", "other_vendor_name"])


def place(feed: Feed, readings: Sequence[Reading], *, clock: datetime) -> list[Figure]:
    """The figures of an answer that was given at `clock`, without those of summary rows.

    Several dates for one product in one answer mean that each row counts its own day (vendor-api.md).
    """
    products = products_of(feed, readings)
    dates = defaultdict(set)
    for reading in readings:
        dates[reading.description].add(reading.date)
    is_day_by_day = any(len(found) > 1 for found in dates.values())
    counts_day = is_day_by_day or feed.counts == Feed.Counts.DAY
    is_undated = any(reading.month is None for reading in readings)
    to_date = {
        product.pk: reading.items
        for reading in readings
        if is_undated and not counts_day and (product := products[reading.description]).is_usage
    }
    undated = months.day_of_undated(feed, to_date, clock=clock)
    figures = [
        Figure(
            product=(product := products[reading.description]),
            day=months.day_of(reading, clock=clock, zone=feed.operation.zone) or undated,
            items=reading.items,
            counts_day=product.is_usage and counts_day,
            vendor_date=reading.date,
        )
        for reading in readings
        if products[reading.description].is_counted
    ]
    if len({(figure.product.pk, figure.day) for figure in figures}) < len(figures):
        raise AnswerRefused("Two rows speak of the same product and day.")
    return figures


def products_of(feed: Feed, readings: Sequence[Reading]) -> dict[str, Product]:
    """The products that an answer names, by description; the new ones are made."""
    known = {product.description: product for product in Product.objects.filter(api=feed.api)}
    new = {reading.description: reading for reading in readings if reading.description not in known}
    if new:
        Product.objects.bulk_create([new_product(feed, reading) for reading in new.values()], ignore_conflicts=True)
        link_licences(feed)
        known = {product.description: product for product in Product.objects.filter(api=feed.api)}
    for reading in readings:
        if known[reading.description].is_duration != reading.is_duration:
            raise AnswerRefused(f"“{reading.description}” came as a duration before and not now, or the other way.")
    return known


def new_product(feed: Feed, reading: Reading) -> Product:
    return Product(
        api=feed.api,
        description=reading.description,
        name=reading.description,
        unit="seconds" if reading.is_duration else feed.about.unit,
        kind=feed.about.kind,
        is_duration=reading.is_duration,
        is_counted=reading.description.upper() not in SUMMARY_ROWS,
    )


def link_licences(feed: Feed) -> None:
    """Hold usage products against the licences that the catalogue names, where just one product can be meant."""
    for api in APIS.values():
        if api.licensed_by and feed.api in (api.name, api.licensed_by):
            licences = list(Product.objects.filter(api=api.licensed_by, is_counted=True)[:2])
            if len(licences) == 1:
                Product.objects.filter(api=api.name, licensed_by=None).update(licensed_by=licences[0])


# Snapshots


def keep_snapshots(
    feed: Feed, poll: Poll, figures: Sequence[Figure], seen_at: datetime, sealed: set[Key]
) -> list[Snapshot]:
    """A new snapshot for each figure that differs from the one shown before; the others are seen again.

    One of a sealed month is never moved: what is seen after the closing stands beside it.
    """
    shown_last = Snapshot.objects.none()
    if feed.last_good_poll_at:
        shown_last = Snapshot.objects.filter(feed=feed, last_seen=feed.last_good_poll_at)
    shown = {(snapshot.product_id, snapshot.day): snapshot for snapshot in shown_last}
    new, again = [], []
    for figure in figures:
        month = months.first_of(figure.day)
        before = shown.get((figure.product.pk, figure.day))
        if (
            before
            and (before.items, before.counts_day) == (figure.items, figure.counts_day)
            and (figure.product.pk, month) not in sealed
        ):
            before.last_seen, before.product = seen_at, figure.product
            again.append(before)
            continue
        new.append(
            Snapshot(
                feed=feed,
                product=figure.product,
                month=month,
                day=figure.day,
                counts_day=figure.counts_day,
                items=figure.items,
                vendor_date=figure.vendor_date,
                first_seen=seen_at,
                last_seen=seen_at,
                first_poll=poll,
            )
        )
    Snapshot.objects.filter(pk__in=[snapshot.pk for snapshot in again]).update(last_seen=seen_at)
    return again + Snapshot.objects.bulk_create(new)


# Daily and monthly usage


def months_before(feed: Feed, figures: Sequence[Figure]) -> dict[Key, MonthlyUsage]:
    rows = MonthlyUsage.objects.filter(
        operation=feed.operation_id,
        product__in={figure.product.pk for figure in figures},
        month__in={months.first_of(figure.day) for figure in figures},
    )
    return {(row.product_id, row.month): row for row in rows}


def follow(feed: Feed, snapshots: Sequence[Snapshot], rows: dict[Key, MonthlyUsage]) -> None:
    """Bring the daily and monthly rows in step with a poll's snapshots, none of which is of a sealed month."""
    if not snapshots:
        return
    days = {
        (row.product_id, row.day): row
        for row in DailyUsage.objects.filter(
            operation=feed.operation_id,
            product__in={snapshot.product_id for snapshot in snapshots},
            day__gte=min(snapshot.day for snapshot in snapshots),
        )
    }
    changed = [row for snapshot in snapshots for row in fold(feed.operation_id, snapshot, days, rows)]
    gaps = {month: months.gap_seconds(feed, month) for month in {snapshot.month for snapshot in snapshots}}
    touched = {(snapshot.product_id, snapshot.month): snapshot.month for snapshot in snapshots}
    for key, month in touched.items():
        rows[key].gap_seconds = gaps[month]
    write(DailyUsage, changed, date_field="day")
    write(MonthlyUsage, [rows[key] for key in touched], date_field="month")


def fold(
    operation_id: int, snapshot: Snapshot, days: dict[Key, DailyUsage], rows: dict[Key, MonthlyUsage]
) -> list[DailyUsage]:
    """Fold a snapshot into its day and its month, made here if need be. Returns the daily rows that it changed."""
    product = snapshot.product
    month = rows.setdefault(
        (product.pk, snapshot.month),
        MonthlyUsage(operation_id=operation_id, product=product, month=snapshot.month),
    )
    day = days.setdefault(
        (product.pk, snapshot.day),
        DailyUsage(
            operation_id=operation_id,
            product=product,
            day=snapshot.day,
            highest=snapshot.items,
            lowest=snapshot.items,
        ),
    )
    day.as_of = snapshot.last_seen
    day.highest = max(day.highest, snapshot.items)
    day.lowest = min(day.lowest, snapshot.items)
    if product.is_usage:
        fold_usage(day, snapshot, month)
    else:
        day.items = snapshot.items
    fold_month(month, day)
    return [day, *following(month, day, days, counts_day=snapshot.counts_day)]


def fold_usage(day: DailyUsage, snapshot: Snapshot, month: MonthlyUsage) -> None:
    """What the day used is what the month gained since the end of the day before, if that is known."""
    number = snapshot.day.day
    sums = [None if text is None else Decimal(text) for text in month.to_date_by_day[: number - 1]]
    known = [total for total in sums if total is not None]
    before = known[-1] if known else NOTHING
    if snapshot.counts_day:
        is_fallen = day.items is not None and snapshot.items < day.items
        day.items, day.month_to_date = snapshot.items, before + snapshot.items
    else:
        is_fallen = snapshot.items < max(before, day.month_to_date or NOTHING)
        is_known = number == 1 or (len(sums) == number - 1 and sums[-1] is not None)
        day.items, day.month_to_date = (snapshot.items - before if is_known else None), snapshot.items
    day.is_restated = day.is_restated or is_fallen


def fold_month(month: MonthlyUsage, day: DailyUsage) -> None:
    for by_day, figure in ((month.items_by_day, day.items), (month.to_date_by_day, day.month_to_date)):
        by_day += [None] * (day.day.day - len(by_day))  # noqa: PLW2901  in place
        by_day[day.day.day - 1] = None if figure is None else f"{figure.normalize():f}"
    month.as_of = day.as_of if month.as_of is None else max(month.as_of, day.as_of)  # type: ignore[redundant-expr]
    month.is_restated = month.is_restated or day.is_restated
    if month.product.is_usage:
        month.items = Decimal(month.to_date_by_day[-1])
        whole = items_of_whole_days(month)
        month.highest, month.lowest = max(whole, default=None), min(whole, default=None)
    else:
        month.items = Decimal(month.items_by_day[-1])
        month.highest = max(day.highest, month.highest or day.highest)
        month.lowest = min(day.lowest, day.lowest if month.lowest is None else month.lowest)


def items_of_whole_days(month: MonthlyUsage) -> list[Decimal]:
    """What the days used that are known and over: the last one shown is, once it is the month's last."""
    days = list(month.items_by_day)
    if month.month + timedelta(days=len(days)) != months.next_month(month.month):
        days.pop()
    return [Decimal(text) for text in days if text is not None]


def following(
    month: MonthlyUsage, changed: DailyUsage, days: dict[Key, DailyUsage], *, counts_day: bool
) -> list[DailyUsage]:
    """The later days that follow a day that changed before them.

    Where rows count their own day, all later sums do; else only what the next day used, since its sum was told.
    """
    later = []
    total = changed.month_to_date
    for number in range(changed.day.day + 1, len(month.to_date_by_day) + 1):
        row = days.get((month.product_id, month.month.replace(day=number)))
        if row is None or row.items is None or row.month_to_date is None or total is None:
            break
        if counts_day:
            total += row.items
            is_same, row.month_to_date = row.month_to_date == total, total
        else:
            items = row.month_to_date - total
            is_same, row.items = row.items == items, items
        if not is_same:
            fold_month(month, row)
            later.append(row)
        if not counts_day:
            break
    return later


def write(model: type[Row], rows: Iterable[Row], *, date_field: str) -> None:
    """Insert or update by operation, product and date. Without their ids, so that no other constraint is met first."""
    key: list[str] = ["operation", "product", date_field]
    unique = {(row.operation_id, row.product_id, getattr(row, date_field)): row for row in rows}
    for row in unique.values():
        row.pk = None
    columns = [field.name for field in model._meta.concrete_fields if field.name not in ("id", *key)]
    model._default_manager.bulk_create(unique.values(), update_conflicts=True, unique_fields=key, update_fields=columns)
