"""Readings -> snapshots -> daily and monthly usage, in the transaction of their poll.

An answer that can't be told to be of the old month or the new one is held, and takes its place later.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter

from django.db.models import Max

from usage.models import (
    GOOD,
    Answer,
    Correction,
    DailyUsage,
    Feed,
    MonthlyUsage,
    Operation,
    Poll,
    Product,
    Snapshot,
)
from usage.wolkvox import answers
from usage.wolkvox.answers import Reading
from usage.wolkvox.catalogue import APIS
from usage.wolkvox.client import Reply
from usage.wolkvox.errors import AnswerRefused

from . import months, storing, turns
from .folding import NOTHING, Fold, Gaps, Key, last_known, sum_up, write
from .turns import Figures, Side, Turn

SUMMARY_ROWS = {"TOTAL", "TOTALES", "SUBTOTAL", "GRAND TOTAL", "TOTAL GENERAL"}
OF_FEED = "operation_id = %s AND product_id IN (SELECT id FROM usage_product WHERE api = %s)"
"""Of which daily and monthly rows a feed tells."""

CLOCKS_DIFFER = timedelta(hours=1)
"""More than this between the vendor's clock and ours is an error of one of them, and ours is watched."""


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
    clock = clock_of(reply)
    products = products_of(feed, readings)
    usage = usage_of(readings, products)
    is_undated = any(reading.month is None for reading in readings)
    turn = turns.turn_of(feed, usage, clock) if is_undated and not is_day_by_day(readings) else None
    figures = place(feed, readings, products, clock=clock, turn=turn)
    poll = Poll(
        feed=feed,
        started_at=reply.started_at,
        ended_at=reply.ended_at,
        outcome=GOOD,
        http_status=reply.http_status,
        code="200",
        rows=len(readings),
        size=len(reply.body),
        answer_id=keep_answer(reply.body),
        is_held=turn is not None and turn.side is Side.UNSURE,
    )
    storing.insert_one(poll)
    note_name(feed.operation, readings)
    if poll.is_held:
        feed.held_since = feed.held_since or poll.started_at
        feed.save(update_fields=["held_since"])
        return poll
    if feed.held_since:
        settle(feed, usage, min(figure.day for figure in figures) if figures else None)
    keep(feed, poll, figures)
    return poll


def settle(feed: Feed, told: Figures | None = None, day: date | None = None) -> None:
    """Give the answers that were held their place, now that `told`, of `day`, shows where the count began anew.

    Where they are followed by figures of the old month, all of them were the old month's. Else the count began anew
    where it fell deepest. Where it never fell, what was learned of the vendor's midnight tells. Where that doesn't,
    nobody can, and the figures stand nowhere.
    """
    begins = turns.near(feed, feed.held_since) if feed.held_since else None
    held = list(feed.polls.filter(is_held=True).order_by("pk").select_related("answer"))
    feed.polls.filter(is_held=True).update(is_held=False)
    feed.held_since = None
    feed.save(update_fields=["held_since"])
    if begins is None:
        return
    heard = [answers.parse(poll.answer.body, feed.about) for poll in held if poll.answer]
    products = products_of(feed, [reading for readings in heard for reading in readings])
    before, _ = turns.told_about(feed, begins)
    after = [told] if told else []
    old = turns.fall_in(
        [before.figures if before else {}, *(usage_of(readings, products) for readings in heard), *after]
    )
    if day and day < begins:
        old = len(held) + 1
    for number, (poll, readings) in enumerate(zip(held, heard, strict=True), start=1):
        if old is None:
            side = turns.side_learned(feed, begins, poll.started_at)
        else:
            side = Side.OLD if number < old else Side.NEW
        if side is not Side.UNSURE:
            keep(feed, poll, place(feed, readings, products, clock=poll.started_at, turn=Turn(begins, side)))


def keep(feed: Feed, poll: Poll, figures: Sequence[Figure]) -> None:
    """Snapshots of an answer's figures, and what follows from them. What is told of a closed month corrects it."""
    seen_at = seen_next(feed, figures, poll.started_at)
    gap = months.note_gap(feed, seen_at)
    rows = months_before(feed, figures)
    learn_reset(feed, poll, figures, rows)
    sealed = {key: row for key, row in rows.items() if row.is_closed}
    again, new = keep_snapshots(feed, poll, figures, seen_at, sealed)
    follow(
        feed,
        [snapshot for snapshot in (*again, *new) if (snapshot.product_id, snapshot.month) not in sealed],
        rows,
        {gap.ended_at: gap.began_at} if gap else {},
    )
    latest = {(snapshot.product_id, snapshot.month): snapshot for snapshot in sorted(new, key=attrgetter("day"))}
    for key in latest.keys() & sealed.keys():
        correct(sealed[key], latest[key])
    feed.last_good_poll_at = seen_at


def seen_next(feed: Feed, figures: Sequence[Figure], at: datetime) -> datetime:
    """When an answer was seen: `at`, but after all that was heard and closed before it, whatever clocks say."""
    told = {months.first_of(figure.day) for figure in figures}
    before = feed.last_good_poll_at
    if any(month < months.first_of(at.astimezone(feed.operation.zone).date()) for month in told):
        rows = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api, month__in=told)
        closed_at = rows.aggregate(at=Max("closed_at"))["at"]
        before = max(filter(None, (before, closed_at)), default=None)
    return max(at, before + timedelta(microseconds=1)) if before else at


def clock_of(reply: Reply) -> datetime:
    """The vendor's clock, which dates what has no date of its own; ours, where that one is too far off to be right."""
    ours, theirs = reply.started_at, reply.vendor_clock
    return theirs if theirs and abs(theirs - ours) < CLOCKS_DIFFER else ours


def keep_answer(body: bytes) -> int:
    answer = Answer(sha256=hashlib.sha256(body).hexdigest(), compressed=zlib.compress(body))
    return storing.identified(answer, key="sha256")


def note_name(operation: Operation, readings: Sequence[Reading]) -> None:
    """Remember the operation's name at the vendor, and flag another one: the token may be another customer's."""
    for name in {reading.operation for reading in readings} - {"", operation.vendor_name}:
        if operation.vendor_name:
            operation.other_vendor_name = name
        else:
            operation.vendor_name = name
        operation.save(update_fields=["vendor_name", "other_vendor_name"])


def place(
    feed: Feed, readings: Sequence[Reading], products: Mapping[str, Product], *, clock: datetime, turn: Turn | None
) -> list[Figure]:
    """The figures of an answer that was given at `clock`, without those of summary rows."""
    counts_day = feed.counts == Feed.Counts.DAY or is_day_by_day(readings)
    today = months.Today.at(clock, feed.operation.zone)
    undated = turn.day(today.day) if turn else today.day
    figures = [
        Figure(
            product=(product := products[reading.description]),
            day=today.of(reading) or undated,
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


def is_day_by_day(readings: Sequence[Reading]) -> bool:
    """Several dates for one product in one answer mean that each row counts its own day (vendor-api.md)."""
    dates: dict[str, str] = {}
    return any(dates.setdefault(reading.description, reading.date) != reading.date for reading in readings)


def usage_of(readings: Sequence[Reading], products: Mapping[str, Product]) -> Figures:
    return {
        product.pk: reading.items
        for reading in readings
        if (product := products[reading.description]).is_usage and product.is_counted
    }


def products_of(feed: Feed, readings: Sequence[Reading]) -> dict[str, Product]:
    """The products that an answer names, by description; the new ones are made."""
    known = known_products(feed.api)
    new = {reading.description: reading for reading in readings if reading.description not in known}
    if new:
        storing.insert_new([new_product(feed, reading) for reading in new.values()], key=("api", "description"))
        link_licences(feed)
        known = known_products(feed.api)
    for reading in readings:
        if known[reading.description].is_duration != reading.is_duration:
            raise AnswerRefused(f"“{reading.description}” came as a duration before and not now, or the other way.")
    return known


def known_products(api: str) -> dict[str, Product]:
    return {product.description: product for product in storing.select(Product, "api = %s", api)}


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
    feed: Feed, poll: Poll, figures: Sequence[Figure], seen_at: datetime, sealed: Mapping[Key, MonthlyUsage]
) -> tuple[list[Snapshot], list[Snapshot]]:
    """Those whose figure is shown again, and a new one for each figure that differs from the one shown before.

    One that a closed month stands on is never moved: what is seen after the closing stands beside it.
    """
    shown_last: list[Snapshot] = []
    if feed.last_good_poll_at:
        shown_last = storing.select(Snapshot, "feed_id = %s AND last_seen = %s", feed.pk, feed.last_good_poll_at)
    shown = {(snapshot.product_id, snapshot.day): snapshot for snapshot in shown_last}
    again, new = [], []
    for figure in figures:
        month = months.first_of(figure.day)
        closed = sealed.get((figure.product.pk, month))
        before = shown.get((figure.product.pk, figure.day))
        if (
            before
            and (before.items, before.counts_day) == (figure.items, figure.counts_day)
            and not (closed and closed.closed_at and before.first_seen <= closed.closed_at)
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
    for batch in storing.batches(again):
        Snapshot.objects.filter(pk__in=[snapshot.pk for snapshot in batch]).update(last_seen=seen_at)
    storing.insert(new)
    return again, new


# Daily and monthly usage


def months_before(feed: Feed, figures: Sequence[Figure]) -> dict[Key, MonthlyUsage]:
    """The rows of the months that an answer tells of, of its products; of a closed month, a row for each of them."""
    products = {figure.product.pk: figure.product for figure in figures}
    known, closed = {}, {}
    told = {months.first_of(day) for day in {figure.day for figure in figures}}
    if not told:
        return {}
    for row in storing.select(
        MonthlyUsage,
        f"{OF_FEED} AND month IN ({', '.join(['%s'] * len(told))})",
        feed.operation_id,
        feed.api,
        *told,
    ):
        if row.is_closed:
            closed[row.month] = row
        if product := products.get(row.product_id):
            row.product = product
            known[row.product_id, row.month] = row
    for figure in figures:
        key = (figure.product.pk, months.first_of(figure.day))
        if key not in known and key[1] in closed:
            known[key] = unknown_at_closing(figure.product, closed[key[1]])
    return known


def unknown_at_closing(product: Product, other: MonthlyUsage) -> MonthlyUsage:
    """What a closed month holds of a product that is told of only now: nothing, as of when its feed was last heard."""
    return MonthlyUsage(
        operation_id=other.operation_id,
        product=product,
        month=other.month,
        items=NOTHING,
        as_of=other.as_of,
        gaps=other.gaps,
        gap_seconds=other.gap_seconds,
        state=other.state,
        closed_at=other.closed_at,
        closed_name=product.name,
        closed_kind=product.kind,
        closed_licensed_by_id=product.licensed_by_id,
    )


def follow(feed: Feed, snapshots: Sequence[Snapshot], rows: dict[Key, MonthlyUsage], gaps: Gaps) -> None:
    """Bring the daily and monthly rows in step with a poll's snapshots, none of which is of a closed month.

    `gaps` holds the one that the poll ended, if it ended one.
    """
    if not snapshots:
        return
    known = set(rows)
    fold = Fold(feed, gaps, days_before(feed, snapshots, rows), rows)
    turns.watch(feed, snapshots, rows, fold.days)
    changed = [row for snapshot in snapshots for row in fold.add(snapshot)]
    touched = {(snapshot.product_id, snapshot.month) for snapshot in snapshots}
    for month in {month for _, month in touched - known}:
        month_gaps = months.gaps_of(feed, month)
        for key in touched - known:
            if key[1] == month:
                rows[key].gaps, rows[key].gap_seconds = month_gaps, months.seconds_of(month_gaps)
    sum_up(rows[key] for key in touched)
    write(changed, date_field="day")
    write([rows[key] for key in touched], date_field="month")


def days_before(feed: Feed, snapshots: Sequence[Snapshot], rows: Mapping[Key, MonthlyUsage]) -> dict[Key, DailyUsage]:
    """The daily rows from the last day that is known before the snapshots on: what their use is counted from."""
    earliest = min(
        ((row := rows.get((snapshot.product_id, snapshot.month))) and last_known(row, snapshot.day)) or snapshot.day
        for snapshot in snapshots
    )
    found = storing.select(DailyUsage, f"{OF_FEED} AND day >= %s", feed.operation_id, feed.api, earliest)
    return {(row.product_id, row.day): row for row in found}


# What is told of a closed month, and of the vendor's ways


def correct(closed: MonthlyUsage, snapshot: Snapshot) -> None:
    """Keep what a closed month's figure would be by later news, where that is another one than before."""
    items = snapshot.items
    if snapshot.counts_day:
        days = dict(enumerate(closed.items_by_day, start=1))
        later = Snapshot.objects.filter(
            feed=snapshot.feed_id, product=snapshot.product_id, month=closed.month, first_seen__gt=closed.closed_at
        )
        days |= {day.day: str(told) for day, told in later.order_by("first_seen", "pk").values_list("day", "items")}
        items = sum((Decimal(text) for text in days.values() if text is not None), NOTHING)
    elif (last_day := last_known(closed, months.next_month(closed.month))) and snapshot.day < last_day:
        return
    if not closed.pk:
        if items == NOTHING or not snapshot.product.is_usage:
            return  # of a gauge, nothing is not zero: it stays unknown
        closed.save()
    last = closed.corrections.last()
    if items != (last.items if last else closed.items):
        Correction.objects.create(usage=closed, poll=snapshot.first_poll, items=items, seen_at=snapshot.first_seen)


def learn_reset(feed: Feed, poll: Poll, figures: Sequence[Figure], rows: Mapping[Key, MonthlyUsage]) -> None:
    """The first figures of a month tell when the vendor begins its months, where the month before was heard too."""
    if not feed.last_good_poll_at or not any(figure.product.is_usage for figure in figures):
        return
    for month in {months.first_of(day) for day in {figure.day for figure in figures}} - {month for _, month in rows}:
        before = months.first_of(month - timedelta(days=1))
        stands = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api)
        if stands.filter(month=before).exists() and not stands.filter(month=month).exists():
            turns.learn_reset(feed, month, heard_at=feed.last_good_poll_at, told_at=poll.ended_at)
