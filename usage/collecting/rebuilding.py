"""Daily and monthly usage again from the snapshots, to the same bytes, or as a feed is now said to count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from django.db import transaction
from django.db.models import Count

from usage.models import DailyUsage, Feed, Gap, MonthlyUsage, Product

from . import folding, months
from .folding import Fold, Key, Row

SEALED = ("state", "closed_at", "gaps", "gap_seconds", "closed_name", "closed_kind", "closed_licensed_by_id")
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

    A closed month is compared with what was known when it closed, and never rewritten.
    """
    feeds = Feed.objects.select_related("operation").order_by("pk")
    for feed in feeds.iterator():
        for month in feed.snapshots.order_by("month").values_list("month", flat=True).distinct():
            with transaction.atomic():
                Feed.objects.select_for_update().get(pk=feed.pk)
                yield from _rebuild_month(feed, month, write=write)


def recount(feed: Feed) -> None:
    """Take what a feed told in months that aren't closed for what it is set to count now.

    Answers with a row for each day counted days before, and still do.
    """
    is_day = feed.counts == Feed.Counts.DAY
    with transaction.atomic():
        Feed.objects.select_for_update().get(pk=feed.pk)
        Feed.objects.filter(pk=feed.pk).update(contrary_midnights=0)
        rows = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api)
        unfinished = rows.exclude(state=MonthlyUsage.State.CLOSED).values_list("month", flat=True).distinct()
        for month in list(unfinished):
            told = feed.snapshots.filter(month=month, product__kind=Product.Kind.USAGE)
            by_day = told.values("product", "last_seen").alias(days=Count("day")).filter(days__gt=1)
            told.exclude(product__in=by_day.values("product")).update(counts_day=is_day)
            _rebuild_month(feed, month, write=True)


def _rebuild_month(feed: Feed, month: date, *, write: bool) -> list[Difference]:
    rows = {"operation": feed.operation_id, "product__api": feed.api}
    stand_months = {(row.product_id, row.month): row for row in MonthlyUsage.objects.filter(**rows, month=month)}
    stand_days = {
        (row.product_id, row.day): row
        for row in DailyUsage.objects.filter(**rows, day__gte=month, day__lt=months.next_month(month))
    }
    closed_at = next((row.closed_at for row in stand_months.values() if row.closed_at), None)
    fold = Fold(feed, dict(Gap.objects.filter(feed=feed).values_list("ended_at", "began_at")))
    for snapshot in (
        feed.snapshots.filter(month=month).order_by("first_seen", "pk").select_related("product", "first_poll")
    ):
        stands = stand_months.get((snapshot.product_id, month))
        if stands and stands.closed_kind:
            snapshot.product.kind = stands.closed_kind
        if not (closed_at and snapshot.first_seen > closed_at):
            fold.add(snapshot)
    folding.sum_up(fold.rows.values())
    for product_and_month, row in fold.rows.items():
        stands = stand_months.get(product_and_month)
        if stands and stands.closed_at:
            for column in SEALED:
                setattr(row, column, getattr(stands, column))
        else:
            row.state = stands.state if stands else row.state
            row.gaps = months.gaps_of(feed, month)
            row.gap_seconds = months.seconds_of(row.gaps)
    known = {key: row for key, row in stand_months.items() if row.items_by_day or not row.is_closed}
    differences = [*_compare(DailyUsage, stand_days, fold.days), *_compare(MonthlyUsage, known, fold.rows)]
    if write and differences:
        sealed = {product for (product, _), row in stand_months.items() if row.is_closed}
        _replace(stand_days, fold.days, sealed, date_field="day")
        _replace(stand_months, fold.rows, sealed, date_field="month")
    return differences


def _compare(model: type[Row], stand: Mapping[Key, Row], should: Mapping[Key, Row]) -> Iterator[Difference]:
    for key in sorted({*stand, *should}):
        was, is_now = stand.get(key), should.get(key)
        for field in model._meta.concrete_fields:
            before, after = (getattr(row, field.attname, None) for row in (was, is_now))
            if not field.primary_key and before != after:
                yield Difference(f"{model.__name__}.{field.name}", str(was or is_now), before, after)


def _replace(stand: Mapping[Key, Row], should: Mapping[Key, Row], sealed: set[int], *, date_field: str) -> None:
    for key, row in stand.items():
        if key not in should and key[0] not in sealed:
            row.delete()
    rows = [row for (product, _), row in should.items() if product not in sealed]
    folding.write(rows, date_field=date_field)
