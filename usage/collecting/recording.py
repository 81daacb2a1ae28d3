"""Readings -> snapshots -> daily and monthly usage, in the transaction of their poll.

An answer that can't be told to be of the old month or the new one is held, and takes its place later.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter

from django.db.models import Max

from usage.models import (
    GOOD,
    KEPT_OF_A_PRODUCT,
    Answer,
    Correction,
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
from usage.wolkvox.errors import AnswerRefused, VendorError

from . import folding, months, rebuilding, snapshots, storing, turns
from .folding import MANY, NOTHING, Fold, Gaps, Key, last_known
from .rows import OF_FEED, DailyRow, Figure, MonthlyRow, ProductRow, SnapshotRow
from .turns import Figures, Side, Turn

logger = logging.getLogger(__name__)

SUMMARY_ROWS = {"TOTAL", "TOTALES", "SUBTOTAL", "GRAND TOTAL", "TOTAL GENERAL"}
CLOCKS_DIFFER = timedelta(hours=1)
"""More than this between the vendor's clock and ours is an error of one of them."""


# A poll


@contextmanager
def collecting_no_garbage() -> Iterator[None]:
    """Python looks for garbage whenever there are some more objects: of 60,000 rows, that took a third of the time.

    Where another thread ends first, it looks again a little sooner.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@collecting_no_garbage()
def record(feed: Feed, reply: Reply, readings: Sequence[Reading]) -> Poll:
    """Keep a good answer and all that follows from it. To be called inside the poll's transaction.

    Raises AnswerRefused, before anything is written that would have to stand, for a figure that has no place.
    """
    clock = clock_of(reply)
    products = products_of(feed, readings)
    is_undated = any(is_left_open(feed, reading) for reading in readings) and not is_day_by_day(readings)
    if is_undated:
        require_one_day(feed, reply)
    turn = turns.turn_of(feed, usage_of(readings, products), clock) if is_undated else None
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
        feed.held_since = feed.held_since or clock
        feed.save(update_fields=["held_since"])
        return poll
    if feed.held_since:
        settle(feed, usage_of(readings, products), min(figure.day for figure in figures) if figures else None)
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
    heard = [(poll, readings) for poll in held if (readings := read_again(poll))]
    feed.held_since = None
    feed.save(update_fields=["held_since"])
    if begins is None:
        return
    products = products_of(feed, [reading for _, readings in heard for reading in readings])
    before, _ = turns.told_about(feed, begins)
    after = [told] if told else []
    old = turns.fall_in(
        [before.figures if before else {}, *(usage_of(readings, products) for _, readings in heard), *after]
    )
    if day and day < begins:
        old = len(heard) + 1
    for number, (poll, readings) in enumerate(heard, start=1):
        if old is None:
            side = turns.side_learned(feed, begins, poll.started_at)
        else:
            side = Side.OLD if number < old else Side.NEW
        if side is not Side.UNSURE:
            keep(feed, poll, place(feed, readings, products, clock=poll.started_at, turn=Turn(begins, side)))


def read_again(poll: Poll) -> Sequence[Reading]:
    """What a held answer told. One that can't be read any more has no place, and is no reason to refuse the next."""
    try:
        return answers.parse(poll.answer.body, poll.feed.about) if poll.answer else ()
    except (zlib.error, VendorError):
        logger.exception("The answer of poll %s was held, and can't be read any more", poll.pk)
        return ()


def keep(feed: Feed, poll: Poll, figures: Sequence[Figure]) -> None:
    """Snapshots of an answer's figures, and what follows from them. What is told of a closed month corrects it."""
    seen_at = seen_next(feed, figures, poll.started_at)
    gap = months.note_gap(feed, seen_at)
    rebuilding.count_days(feed, figures)
    again, changed = snapshots.compare(figures, snapshots.shown_last(feed))
    if again:
        snapshots.show_again(feed, again, seen_at)
    if changed:
        rows = months_before(feed, figures)
        learn_reset(feed, poll, figures, rows)
        days = days_before(feed, changed, rows)
        new = [
            snapshots.new_snapshot(poll, figure, seen_at, ends_silence=ends_silence(feed, figure, rows, days, seen_at))
            for figure in changed
        ]
        storing.insert(new)
        follow(poll, figures, new, rows=rows, days=days, gaps={gap.ended_at: gap.began_at} if gap else {})
        correct_closed(figures, new, rows)
    feed.last_good_poll_at, feed.heard_interval = seen_at, feed.interval


def seen_next(feed: Feed, figures: Sequence[Figure], at: datetime) -> datetime:
    """When an answer was seen: `at`, but after all that was heard and closed before it, whatever clocks say."""
    told = {figure.month for figure in figures}
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


def require_one_day(feed: Feed, reply: Reply) -> None:
    """What has no date is of the day that a clock says. Raises AnswerRefused where ours jumped to another day than the
    vendor's, which is nearer to the last poll: a wrong day may be of a wrong month.
    """
    theirs, ours, last = reply.vendor_clock, reply.started_at, feed.last_poll_at or feed.last_good_poll_at
    if not theirs or not last or abs(theirs - ours) < CLOCKS_DIFFER or abs(ours - last) <= abs(theirs - last):
        return
    zone = feed.operation.zone
    if theirs.astimezone(zone).date() != ours.astimezone(zone).date():
        raise AnswerRefused(f"It has no date, and the vendor's clock says {theirs} where this server's says {ours}.")


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
    feed: Feed, readings: Sequence[Reading], products: Mapping[str, ProductRow], *, clock: datetime, turn: Turn | None
) -> list[Figure]:
    """The figures of an answer that was given at `clock`, without those of summary rows."""
    counts_day = feed.counts == Feed.Counts.DAY or is_day_by_day(readings)
    today = months.Today.at(clock, feed.operation.zone)
    undated = turn.day(today.day) if turn else today.day
    days: dict[str, date] = {}
    figures = []
    for reading in readings:
        product = products[reading.description]
        if not product.is_counted:
            continue
        day = days.get(reading.date) or days.setdefault(reading.date, day_of(feed, reading, today, undated))
        counts = counts_day and product.is_usage
        figures.append(Figure(product, months.first_of(day), day, reading.items, counts, reading.date))
    if figures and all(figure.month < months.first_of(today.earliest) for figure in figures):
        raise AnswerRefused(f"It speaks of {figures[0].day} and no later day, but it is {today.day} there.")
    if len({(figure.product.id, figure.day) for figure in figures}) < len(figures):
        raise AnswerRefused("Two rows speak of the same product and day.")
    return figures


def day_of(feed: Feed, reading: Reading, today: months.Today, undated: date) -> date:
    """The day of a reading: `undated` where its date leaves that open, or names no more than that day's month."""
    if is_late_news(feed, reading, today):
        return reading.day or months.last_of(today.last_month)
    told = today.of(reading)
    if told and not (is_left_open(feed, reading) and reading.month == months.first_of(undated)):
        return told
    return undated


def is_late_news(feed: Feed, reading: Reading, today: months.Today) -> bool:
    """Whether a reading is of the month before, when that has been over for long and is closed: it corrects it."""
    if reading.month != today.last_month or today.is_near(today.last_month):
        return False
    of_feed = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api, month=reading.month)
    return of_feed.filter(state=MonthlyUsage.State.CLOSED).exists()


def is_left_open(feed: Feed, reading: Reading) -> bool:
    """Whether the vendor's date leaves open of which month a reading is, or of which day where the feed counts days."""
    return (reading.day if feed.counts == Feed.Counts.DAY else reading.month) is None


def is_day_by_day(readings: Sequence[Reading]) -> bool:
    """Several dates for one product, of one month, mean that each row counts its own day (vendor-api.md)."""
    dates: dict[tuple[str, date | None], str] = {}
    return any(
        dates.setdefault((reading.description, reading.month), reading.date) != reading.date for reading in readings
    )


def usage_of(readings: Sequence[Reading], products: Mapping[str, ProductRow]) -> Figures:
    return {
        product.id: reading.items
        for reading in readings
        if (product := products[reading.description]).is_usage and product.is_counted
    }


def products_of(feed: Feed, readings: Sequence[Reading]) -> dict[str, ProductRow]:
    """The products that an answer names, by description; the new ones are made."""
    names = {reading.description for reading in readings}
    known = known_products(feed.api, names)
    new = {reading.description: reading for reading in readings if reading.description not in known}
    if new:
        storing.lock(Product)  # so that new usage and new licences of two operations see each other
        storing.insert_new([new_product(feed, reading) for reading in new.values()], key=("api", "description"))
        link_licences(feed, new)
        known = known_products(feed.api, names)
    for reading in readings:
        if known[reading.description].is_duration != reading.is_duration:
            raise AnswerRefused(f"“{reading.description}” came as a duration before and not now, or the other way.")
    return known


def known_products(api: str, names: Collection[str]) -> dict[str, ProductRow]:
    """Those of these descriptions at least: all of the API's where they are many."""
    where = "api = %s"
    if few := names if len(names) <= storing.AT_ONCE else ():
        where += f" AND description IN ({', '.join(['%s'] * len(few))})"
    return {product.description: product for product in storing.select(ProductRow, where, api, *few)}


def new_product(feed: Feed, reading: Reading) -> ProductRow:
    return ProductRow(
        id=0,
        api=feed.api,
        description=reading.description,
        name=reading.description,
        unit="seconds" if reading.is_duration else feed.about.unit,
        kind=feed.about.kind.value,
        is_duration=reading.is_duration,
        is_counted=reading.description.upper() not in SUMMARY_ROWS,
    )


def link_licences(feed: Feed, new: Collection[str]) -> None:
    """Hold new usage products, and all those of new licences, against the licences that the catalogue names, where just
    one product can be meant. What an admin took from a product stays so until there are new licences.
    """
    for api in APIS.values():
        if api.licensed_by and feed.api in (api.name, api.licensed_by):
            licences = list(Product.objects.filter(api=api.licensed_by, is_counted=True)[:2])
            if len(licences) == 1:
                unlinked = Product.objects.filter(api=api.name, kind=Product.Kind.USAGE, licensed_by=None)
                if feed.api == api.name:
                    unlinked = unlinked.filter(description__in=new)
                unlinked.update(licensed_by=licences[0])


# Daily and monthly usage


def months_before(feed: Feed, figures: Sequence[Figure]) -> dict[Key, MonthlyRow]:
    """The rows of the months that an answer tells of, of its products; of a closed month, a row for each of them."""
    told = {figure.month for figure in figures}
    rows = storing.select(
        MonthlyRow,
        f"{OF_FEED} AND month IN ({', '.join(['%s'] * len(told))})",
        feed.operation_id,
        feed.api,
        *told,
    )
    products = {figure.product.id for figure in figures}
    known = {(row.product_id, row.month): row for row in rows if row.product_id in products}
    if closed := {row.month: row for row in rows if row.is_closed}:
        for figure in figures:
            key = figure.product.id, figure.month
            if key not in known and figure.month in closed:
                known[key] = unknown_at_closing(figure.product, closed[figure.month])
    return known


def unknown_at_closing(product: ProductRow, other: MonthlyRow) -> MonthlyRow:
    """What a closed month holds of a product that is told of only now: nothing, as of when its feed was last heard."""
    return MonthlyRow(
        operation_id=other.operation_id,
        product_id=product.id,
        month=other.month,
        items=NOTHING,
        as_of=other.as_of,
        gaps=other.gaps,
        gap_seconds=other.gap_seconds,
        state=other.state,
        closed_at=other.closed_at,
        closed_zone=other.closed_zone,
        **{f"closed_{name}": getattr(product, name) for name in KEPT_OF_A_PRODUCT},
    )


def ends_silence(
    feed: Feed, figure: Figure, rows: Mapping[Key, MonthlyRow], days: Mapping[Key, DailyRow], seen_at: datetime
) -> bool:
    """Whether a figure, the first one of its day, is of a product that was told of on an earlier day, but for longer
    than a gap not any more towards that day's end.
    """
    product, month = figure.product.id, rows.get((figure.product.id, figure.month))
    last = last_known(month, figure.day) if month and (product, figure.day) not in days else None
    heard = days.get((product, last)) if last else None
    if heard is None:
        return False
    midnight = months.begins_at(heard.day + timedelta(days=1), feed.operation.zone)
    return min(midnight, seen_at) - heard.as_of > feed.gap_limit


def follow(
    poll: Poll,
    figures: Sequence[Figure],
    new: Sequence[SnapshotRow],
    *,
    rows: dict[Key, MonthlyRow],
    days: dict[Key, DailyRow],
    gaps: Gaps,
) -> None:
    """Bring the daily and monthly rows of months that aren't closed in step with a poll's new snapshots.

    `gaps` holds the one that the poll ended, if it ended one.
    """
    sealed = sealed_in(rows)
    figures = [figure for figure in figures if (figure.product.id, figure.month) not in sealed]
    new = [snapshot for snapshot in new if (snapshot.product_id, snapshot.month) not in sealed]
    if not new:
        return
    fold = Fold(
        poll.feed,
        poll.feed.operation.zone,
        products={figure.product.id: figure.product for figure in figures},
        gaps=gaps,
        long_polls={poll.pk} if poll.rows > MANY else (),
        days=days,
        rows=rows,
    )
    known = set(rows)
    turns.watch(poll.feed, figures, new[0].first_seen, rows, fold.days)
    fold.add(new)
    fold.sum_up()
    begun = fold.changed_rows.keys() - known
    gaps_of_months = {month: months.gaps_of(poll.feed, month) for month in {month for _, month in begun}}
    for key in begun:
        row = rows[key]
        row.gaps = gaps_of_months[row.month]
        row.gap_seconds = months.seconds_of(row.gaps)
    folding.write(fold.changed_days.values(), fold.changed_rows.values())


def sealed_in(rows: Mapping[Key, MonthlyRow]) -> set[Key]:
    return {key for key, row in rows.items() if row.is_closed}


def days_before(feed: Feed, figures: Sequence[Figure], rows: Mapping[Key, MonthlyRow]) -> dict[Key, DailyRow]:
    """The daily rows from the last day that is known before the figures on: what their use is counted from."""
    earliest = min(
        ((row := rows.get((figure.product.id, figure.month))) and last_known(row, figure.day)) or figure.day
        for figure in figures
    )
    found = storing.select(DailyRow, f"{OF_FEED} AND day >= %s", feed.operation_id, feed.api, earliest)
    return {(row.product_id, row.day): row for row in found}


# What is told of a closed month, and of the vendor's ways


def correct_closed(figures: Sequence[Figure], new: Sequence[SnapshotRow], rows: Mapping[Key, MonthlyRow]) -> None:
    """Hold what was told last of each closed month against what it closed with."""
    sealed = sealed_in(rows)
    told = [snapshot for snapshot in new if (snapshot.product_id, snapshot.month) in sealed]
    latest = {(snapshot.product_id, snapshot.month): snapshot for snapshot in sorted(told, key=attrgetter("day"))}
    usage = {figure.product.id for figure in figures if figure.product.is_usage}
    for key, snapshot in latest.items():
        correct(rows[key], snapshot, is_usage=snapshot.product_id in usage)


def correct(closed: MonthlyRow, snapshot: SnapshotRow, *, is_usage: bool) -> None:
    """Keep what a closed month's figure would be by later news, where that is another one than before.

    Of a month to date, and of a gauge, that is told by the last day alone.
    """
    items = snapshot.items
    told = Snapshot.objects.filter(feed=snapshot.feed_id, product=snapshot.product_id, month=closed.month)
    if snapshot.counts_day:
        days = dict(enumerate(closed.items_by_day, start=1))
        later = told.filter(first_seen__gt=closed.closed_at).order_by("first_seen", "pk").values_list("day", "items")
        days |= {day.day: str(items) for day, items in later}
        items = sum((Decimal(text) for text in days.values() if text is not None), NOTHING)
    elif told.filter(day__gt=snapshot.day).exists():
        return
    stands = MonthlyUsage.objects.filter(operation=closed.operation_id, product=closed.product_id, month=closed.month)
    if not stands.exists():
        if items == NOTHING or not is_usage:
            return  # of a gauge, nothing is not zero: it stays unknown
        storing.insert([closed])
    usage = stands.get()
    last = usage.corrections.last()
    if items != (last.items if last else usage.items):
        Correction.objects.create(usage=usage, poll_id=snapshot.first_poll_id, items=items, seen_at=snapshot.first_seen)


def learn_reset(feed: Feed, poll: Poll, figures: Sequence[Figure], rows: Mapping[Key, MonthlyRow]) -> None:
    """The first figures of a month tell when the vendor begins its months, where the month before was heard too."""
    if not feed.last_good_poll_at or not any(figure.product.is_usage for figure in figures):
        return
    for month in {figure.month for figure in figures} - {month for _, month in rows}:
        before = months.first_of(month - timedelta(days=1))
        stands = MonthlyUsage.objects.filter(operation=feed.operation_id, product__api=feed.api)
        if stands.filter(month=before).exists() and not stands.filter(month=month).exists():
            turns.learn_reset(feed, month, heard_at=feed.last_good_poll_at, told_at=poll.ended_at)
