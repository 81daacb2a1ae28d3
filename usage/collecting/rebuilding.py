"""Daily and monthly usage again from the snapshots, to the same bytes, or as a feed is now said to count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from itertools import groupby
from operator import attrgetter
from typing import TypeVar
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Count, QuerySet

from usage.models import KEPT_OF_A_PRODUCT, DailyUsage, Feed, Gap, MonthlyUsage, Product, Snapshot

from . import folding, months, storing
from .folding import MANY, Fold, Key
from .rows import OF_FEED, DailyRow, Figure, MonthlyRow, ProductRow, SnapshotRow

Row = TypeVar("Row", DailyRow, MonthlyRow)

SEALED = (
    *("state", "closed_at", "gaps", "gap_seconds", "closed_zone"),
    *(f"closed_{name}" for name in KEPT_OF_A_PRODUCT),
)
"""What a closed month holds that its snapshots don't tell."""


@dataclass(frozen=True)
class Difference:
    """A row that stands otherwise than its snapshots say."""

    column: str
    row: str
    stands: object
    should: object


def rebuild(*, write: bool) -> Iterator[Difference]:
    """Compare each feed's months with what their snapshots say, and with `write` put right what differs.

    Months of which there are rows and no snapshots differ too, but for rows that stand on a correction alone. A closed
    month is compared with what was known when it closed, and never rewritten.
    """
    feeds = Feed.objects.select_related("operation").order_by("pk")
    for feed in feeds.iterator():
        rows = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api)
        for month in sorted({*_months_of(feed.snapshots.all()), *_months_of(rows)}):
            with transaction.atomic():
                Feed.objects.select_for_update().get(pk=feed.pk)
                found = list(_rebuild_month(feed, month, write=write))
            yield from found  # outside, since who reads them may take all day


def _months_of(rows: QuerySet[Snapshot] | QuerySet[MonthlyUsage]) -> Iterable[date]:
    return rows.order_by("month").values_list("month", flat=True).distinct()


def recount(feed: Feed) -> None:
    """Take what a feed told in months that aren't closed for what it is set to count now."""
    with transaction.atomic():
        Feed.objects.filter(pk=feed.pk).update(contrary_midnights=0)
        refold(feed)


def refold(feed: Feed) -> None:
    """Fold the months that aren't closed anew, as their products, the feed and the time zone are now.

    Answers with a row for each day count days, whatever their product was taken for. What has no date was told of a day
    that may not have begun yet in a zone to the west: it is of the day that it was told on there.
    """
    is_day = feed.counts == Feed.Counts.DAY
    with transaction.atomic():
        Feed.objects.select_for_update().get(pk=feed.pk)
        rows = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api)
        unfinished = rows.exclude(state=MonthlyUsage.State.CLOSED).values_list("month", flat=True).distinct()
        heard_on = feed.last_good_poll_at and feed.last_good_poll_at.astimezone(feed.operation.zone).date()
        for month in list(unfinished):
            if heard_on and months.first_of(heard_on) == month:
                feed.snapshots.filter(month=month, day__gt=heard_on, vendor_date="").update(day=heard_on)
            told = feed.snapshots.filter(month=month, product__kind=Product.Kind.USAGE)
            products = named_day_by_day(told)
            told.filter(product__in=products).update(counts_day=True)
            told.exclude(product__in=products).update(counts_day=is_day)
            _rebuild_month(feed, month, write=True)


def named_day_by_day(told: QuerySet[Snapshot]) -> set[int]:
    """The ids of the products of which an answer named several days, among the snapshots of one month."""
    of_answers = told.values("product", "last_seen").alias(days=Count("day")).filter(days__gt=1)
    return set(of_answers.values_list("product", flat=True))


def count_days(feed: Feed, figures: Sequence[Figure]) -> None:
    """Where an answer has a row for each day, those before it had too, though they named a single day and were taken
    for the month to date.

    That is so where each day they named stands in this answer, with no less: a month to date would be more than a day.
    """
    months_told = {figure.month for figure in figures if figure.counts_day}
    if not months_told or feed.counts == Feed.Counts.DAY:
        return
    rows = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api)
    closed = rows.filter(state=MonthlyUsage.State.CLOSED).values("month")
    of_months = feed.snapshots.filter(month__in=months_told).exclude(month__in=closed)
    taken = of_months.filter(product__kind=Product.Kind.USAGE, counts_day=False)
    days = list(taken.values_list("product", "month", "day", "items"))
    if not days:
        return
    told = {(figure.product.id, figure.day): figure.items for figure in figures if figure.counts_day}
    others = {(product, month) for product, month, day, items in days if told.get((product, day), -1) < items}
    counted = {(product, month) for product, month, _, _ in days} - others
    for month in {month for _, month in counted}:
        products = [product for product, its_month in counted if its_month == month]
        taken.filter(month=month, product__in=products).update(counts_day=True)
        _rebuild_month(feed, month, write=True)


def _rebuild_month(feed: Feed, month: date, *, write: bool) -> list[Difference]:
    of_feed = (feed.operation_id, feed.api, month)
    found_months = storing.select(MonthlyRow, f"{OF_FEED} AND month = %s", *of_feed)
    found_days = storing.select(DailyRow, f"{OF_FEED} AND day >= %s AND day < %s", *of_feed, months.next_month(month))
    stand_months = {(row.product_id, row.month): row for row in found_months}
    stand_days = {(row.product_id, row.day): row for row in found_days}
    fold = _fold(feed, month, stand_months)
    gaps = months.gaps_of(feed, month)
    for product_and_month, row in fold.rows.items():
        stands = stand_months.get(product_and_month)
        if stands and stands.is_closed:
            for column in SEALED:
                setattr(row, column, getattr(stands, column))
        else:
            row.state = stands.state if stands else row.state
            row.gaps, row.gap_seconds = gaps, months.seconds_of(gaps)
    known = {key: row for key, row in stand_months.items() if row.items_by_day or not row.is_closed}
    differences = [*_compare(stand_days, fold.days), *_compare(known, fold.rows)]
    if write and differences:
        sealed = {product for (product, _), row in stand_months.items() if row.is_closed}
        _remove(DailyUsage, feed, stand_days.keys() - fold.days, sealed)
        _remove(MonthlyUsage, feed, stand_months.keys() - fold.rows, sealed)
        folding.write(_but(sealed, fold.days), _but(sealed, fold.rows))
    return differences


def _fold(feed: Feed, month: date, stand: Mapping[Key, MonthlyRow]) -> Fold:
    """A month's rows from nothing: all that was told of it, until it closed if it did."""
    products = {product.id: product for product in storing.select(ProductRow, "api = %s", feed.api)}
    for (product, _), row in stand.items():
        if row.closed_kind:
            products[product].kind = row.closed_kind
    long_polls = feed.polls.filter(rows__gt=MANY).values_list("pk", flat=True)
    gaps = Gap.objects.filter(feed=feed).values_list("ended_at", "began_at")
    closed_at = next((row.closed_at for row in stand.values() if row.closed_at), None)
    zone = next((ZoneInfo(row.closed_zone) for row in stand.values() if row.closed_zone), feed.operation.zone)
    fold = Fold(feed, zone, products, dict(gaps), set(long_polls))
    told = storing.select(SnapshotRow, "feed_id = %s AND month = %s ORDER BY first_seen, id", feed.pk, month)
    for first_seen, snapshots in groupby(told, key=attrgetter("first_seen")):
        if closed_at is None or first_seen <= closed_at:
            fold.add(snapshots)
    fold.sum_up()
    return fold


def _compare(stand: Mapping[Key, Row], should: Mapping[Key, Row]) -> Iterator[Difference]:
    for key in sorted({*stand, *should}):
        was, is_now = stand.get(key), should.get(key)
        if row := was or is_now:
            for column in (field.name for field in fields(row)):
                before, after = getattr(was, column, None), getattr(is_now, column, None)
                if before != after:
                    yield Difference(f"{row.model.__name__}.{column}", f"{key[0]} · {key[1]}", before, after)


def _remove(model: type[DailyUsage | MonthlyUsage], feed: Feed, keys: Iterable[Key], sealed: set[int]) -> None:
    date_column = "day" if model is DailyUsage else "month"
    for product, day in keys:
        if product not in sealed:
            model.objects.filter(operation=feed.operation_id, product=product, **{date_column: day}).delete()


def _but(sealed: set[int], rows: Mapping[Key, Row]) -> Iterator[Row]:
    return (row for (product, _), row in rows.items() if product not in sealed)
