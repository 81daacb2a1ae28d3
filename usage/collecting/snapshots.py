"""The snapshots of a feed: which figures were shown before, and which are new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from usage.models import DailyUsage, Feed, MonthlyUsage, Poll, Snapshot

from . import storing
from .folding import Key
from .rows import Figure, ShownRow, SnapshotRow


def shown_last(feed: Feed) -> dict[Key, ShownRow]:
    """The snapshots that the last good poll showed, by product and day, but for those that a closed month stands on.

    Those are never moved: what is seen after the closing stands beside them.
    """
    if not feed.last_good_poll_at:
        return {}
    shown = storing.select(
        ShownRow,
        """feed_id = %s AND last_seen = %s AND COALESCE(first_seen > (
            SELECT closed_at FROM usage_monthlyusage AS its WHERE operation_id = %s
            AND its.product_id = usage_snapshot.product_id AND its.month = usage_snapshot.month), TRUE)""",
        feed.pk,
        feed.last_good_poll_at,
        feed.operation_id,
    )
    return {(row.product_id, row.day): row for row in shown}


def compare(figures: Sequence[Figure], shown: Mapping[Key, ShownRow]) -> tuple[list[ShownRow], list[Figure]]:
    """The snapshots whose figures are shown again, and the figures that differ from those shown before."""
    again, changed = [], []
    for figure in figures:
        before = shown.get((figure.product.id, figure.day))
        if before and before.items == figure.items and before.counts_day == figure.counts_day:
            again.append(before)
        else:
            changed.append(figure)
    return again, changed


def show_again(feed: Feed, again: Sequence[ShownRow], seen_at: datetime) -> None:
    """Move the time, and nothing else, of snapshots that are shown again and of the rows that follow from them."""
    storing.update(Snapshot, {"last_seen = %s": seen_at}, storing.is_one_of("id"), [row.id for row in again])
    of_month, of_day = follows("usage_monthlyusage", "month"), follows("usage_dailyusage", "day")
    for month in {row.month for row in again}:
        its = feed.operation_id, [row.id for row in again if row.month == month]
        is_open = storing.update(MonthlyUsage, {"as_of = %s": seen_at}, f"{of_month} AND state <> 'closed'", *its)
        if is_open:
            storing.update(DailyUsage, {"as_of = %s": seen_at}, of_day, *its)


def follows(table: str, date_column: str) -> str:
    """The condition that a row of an operation follows from one of some snapshots.

    The inner query is answered by the key of its table, row by row. A join would be planned from statistics, which know
    nothing yet of rows that came a moment ago: with 60,000 it took minutes.
    """
    row = f"its.product_id = shown.product_id AND its.{date_column} = shown.{date_column}"
    its_id = f"(SELECT id FROM {table} AS its WHERE operation_id = %s AND {row})"  # noqa: S608  names of ours
    return storing.is_found("id", its_id, f"usage_snapshot AS shown WHERE {storing.is_one_of('id')}")


def new_snapshot(poll: Poll, figure: Figure, seen_at: datetime, *, ends_silence: bool) -> SnapshotRow:
    return SnapshotRow(
        feed_id=poll.feed_id,
        product_id=figure.product.id,
        month=figure.month,
        day=figure.day,
        counts_day=figure.counts_day,
        items=figure.items,
        vendor_date=figure.vendor_date,
        first_seen=seen_at,
        last_seen=seen_at,
        first_poll_id=poll.pk,
        ends_silence=ends_silence,
    )
