"""Whose month an answer is: rollovers at random, and the cases that one would think of."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import transaction

from tests.conftest import Row, body_of, hear, make_operation
from usage.collecting import closing, recording
from usage.models import Answer, Feed, MonthlyUsage, Operation, Poll, Product, Snapshot
from usage.wolkvox import answers
from usage.wolkvox.client import Reply

pytestmark = pytest.mark.django_db

ROLLOVERS = int(os.environ.get("ROLLOVERS", "400"))
"""`make soak` runs 10,000."""
PARTS = 8

MIDNIGHT = datetime(2026, 11, 1, 5, tzinfo=UTC)
"""When November begins in Bogotá."""
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
NAMES = ["Email", "Chat", "Facebook", "Twitter"]


# 10,000 rollovers


@dataclass
class Rollover:
    """A vendor that begins its month up to six hours from our midnight, and how it is heard around then."""

    chance: random.Random
    offset: timedelta = field(init=False)
    skew: timedelta = field(init=False)
    style: str = field(init=False)
    interval: int = field(init=False)
    surge: float = field(init=False)

    def __post_init__(self) -> None:
        pick = self.chance
        self.offset = timedelta(seconds=pick.choice([0, pick.randint(-21600, 21600), pick.choice([-21600, 21600])]))
        self.skew = timedelta(seconds=pick.randint(-120, 120))
        self.style = pick.choice(["", "", "", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y%m%d", "%Y-%m", "%m-%Y"])
        self.interval = pick.choice([5, 15, 60, 180])
        self.surge = pick.choice([1, 1, 1, 0.1, 5])
        self.paces = {name: pick.choice([0, 0.5, 20, 900, 40_000]) for name in NAMES[: pick.randint(1, 4)]}
        self.totals: dict[str, float] = {}

    @property
    def reset(self) -> datetime:
        return MIDNIGHT + self.offset

    def times(self) -> list[datetime]:
        """Of the feed's grid, all about the reset and about midnight, or what outages leave of it."""
        step = timedelta(minutes=self.interval)
        lead = timedelta(seconds=self.chance.randint(15, 75))
        grid = [MIDNIGHT - lead + number * step for number in range(-9 * 60 // self.interval, 8 * 60 // self.interval)]
        near = [at for at in grid if abs(at - self.reset) < 2.5 * step or abs(at - MIDNIGHT) < 1.5 * step]
        others = self.chance.sample(grid, min(len(grid), 6))
        lost = self.chance.choice([0, 0, 0.3, 0.8])
        kept = sorted({*near, *others})
        return [grid[0], *[at for at in kept[1:-1] if self.chance.random() >= lost], MIDNIGHT + timedelta(hours=9)]

    def answers(self) -> Iterator[tuple[datetime, datetime, list[Row], date]]:
        """When a call began and was answered, what it told, and of which month that was."""
        month_of_use = timedelta(days=30)
        for name, pace in self.paces.items():
            self.totals[name] = pace * self.chance.uniform(0.5, 1.5)
        last = None
        for at in self.times():
            computed = at + timedelta(seconds=self.chance.uniform(0, 30))
            month = NOVEMBER if computed >= self.reset else OCTOBER
            if last is None or month != last[1]:
                since = computed - self.reset if last else timedelta()
                if last:
                    self.totals = dict.fromkeys(self.totals, 0.0)
            else:
                since = computed - last[0]
            for name, pace in self.paces.items():
                surge = self.surge if month == NOVEMBER else 1
                gained = pace * (since / month_of_use) * self.chance.choice([0.2, 1, 3]) * surge
                self.totals[name] += gained + (self.chance.random() < gained % 1) - gained % 1
            last = computed, month
            yield at, computed + timedelta(seconds=self.chance.uniform(0, 30)), self.rows(computed), month

    def rows(self, computed: datetime) -> list[Row]:
        local = computed - self.offset - timedelta(hours=5)
        return [
            (name, str(int(total)), f"{local:{self.style}}" if self.style else "")
            for name, total in self.totals.items()
        ]


@pytest.mark.parametrize("part", range(PARTS))
def test_no_figure_goes_to_the_wrong_month(part: int) -> None:
    for seed in range(part, ROLLOVERS, PARTS):
        with transaction.atomic():
            wrong = wrongly_placed(Rollover(random.Random(seed)))
            transaction.set_rollback(True)
        assert wrong == [], f"rollover {seed}"


def wrongly_placed(rollover: Rollover) -> list[str]:
    operation = make_operation("Rollover")
    feed = operation.feeds.select_related("operation").get(api="interactions")
    Feed.objects.filter(pk=feed.pk).update(interval=rollover.interval)
    feed.refresh_from_db()
    truth: dict[datetime, date] = {}
    for at, answered, told, month in rollover.answers():
        truth[at] = month
        body = body_of(told)
        reply = Reply(body, 200, answered + rollover.skew, at, answered)
        recording.record(feed, reply, answers.parse(body, feed.about))
    closing.close_months(MIDNIGHT + timedelta(days=2))
    return [
        f"{snapshot.product} {snapshot.items} seen at {snapshot.first_seen} in {snapshot.month:%B}: {rollover}"
        for snapshot in Snapshot.objects.select_related("product")
        if snapshot.items and snapshot.month != truth[snapshot.first_seen]
    ]


# Held answers


@pytest.fixture
def quiet(operation: Operation) -> Operation:
    """Nothing was used in October, and it was heard until a minute before midnight."""
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(minutes=11))
    for minutes in (6, 1):
        hear(operation, "interactions", MIDNIGHT - timedelta(minutes=minutes), ("Email", "0"))
    return operation


def feed_of(operation: Operation) -> Feed:
    return operation.feeds.get(api="interactions")


def figures(operation: Operation) -> dict[int, int]:
    return {row.month.month: int(row.items) for row in MonthlyUsage.objects.filter(operation=operation)}


def test_what_can_be_of_either_month_is_held(quiet: Operation) -> None:
    poll = hear(quiet, "interactions", MIDNIGHT + timedelta(minutes=4), ("Email", "3"))
    assert (poll.outcome, poll.is_held) == ("good", True)
    assert feed_of(quiet).held_since == MIDNIGHT + timedelta(minutes=4)
    assert figures(quiet) == {10: 0}
    assert not Snapshot.objects.filter(items=3).exists()


def test_a_count_that_falls_shows_that_what_was_held_was_the_old_months(quiet: Operation) -> None:
    for minutes, items in ((4, "3"), (9, "5"), (14, "1")):
        hear(quiet, "interactions", MIDNIGHT + timedelta(minutes=minutes), ("Email", items))
    assert figures(quiet) == {10: 0}
    for minutes, items in ((390, "7"), (395, "8")):
        hear(quiet, "interactions", MIDNIGHT + timedelta(minutes=minutes), ("Email", items))
    assert figures(quiet) == {10: 5, 11: 8}
    assert feed_of(quiet).held_since is None
    assert not Poll.objects.filter(is_held=True).exists()


def test_where_no_count_fell_nobody_can_tell_and_the_old_month_says_how_long_it_went_unheard(quiet: Operation) -> None:
    for minutes, items in ((4, "3"), (9, "5"), (395, "9")):
        hear(quiet, "interactions", MIDNIGHT + timedelta(minutes=minutes), ("Email", items))
    assert figures(quiet) == {10: 0, 11: 9}
    assert not Snapshot.objects.filter(items__in=[3, 5]).exists()
    closing.close_months(MIDNIGHT + timedelta(hours=7))
    october = MonthlyUsage.objects.get(month=OCTOBER)
    assert (october.state, october.certificate.last_good_poll_at) == ("closed", MIDNIGHT - timedelta(minutes=1))


def test_where_no_count_fell_what_was_learned_of_the_vendors_midnight_tells(quiet: Operation) -> None:
    Operation.objects.update(reset_after=290, reset_before=500)
    for minutes, items in ((4, "3"), (7, "4"), (9, "5"), (395, "9")):
        hear(quiet, "interactions", MIDNIGHT + timedelta(minutes=minutes), ("Email", items))
    assert figures(quiet) == {10: 3, 11: 9}
    told = Snapshot.objects.filter(items__in=[3, 4, 5]).values_list("items", "month")
    assert dict(told) == {3: OCTOBER, 5: NOVEMBER}


def test_a_month_that_closes_on_held_answers_gives_them_their_place_first(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(hours=1))
    hear(operation, "interactions", MIDNIGHT - timedelta(minutes=58), ("Email", "3"))
    for minutes, items in ((4, "2"), (9, "3")):
        hear(operation, "interactions", MIDNIGHT + timedelta(hours=1, minutes=minutes), ("Email", items))
    assert figures(operation) == {10: 3}
    assert closing.close_months(MIDNIGHT + timedelta(days=2)) == 1
    assert figures(operation) == {10: 3, 11: 3}


def test_a_small_restatement_and_a_small_new_count_are_told_apart_later(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=MIDNIGHT - timedelta(hours=3))
    hear(operation, "interactions", MIDNIGHT - timedelta(hours=2, minutes=58), ("Email", "9"))
    hear(operation, "interactions", MIDNIGHT - timedelta(hours=1), ("Email", "7"))  # a restatement
    hear(operation, "interactions", MIDNIGHT + timedelta(hours=1), ("Email", "0"))  # a new month
    assert figures(operation) == {10: 7, 11: 0}
    assert MonthlyUsage.objects.get(month=OCTOBER).is_restated


# Slips of the vendor


@pytest.mark.parametrize("at", [timedelta(hours=-2), timedelta(hours=2)])
def test_a_count_that_comes_back_had_not_begun_anew(operation: Operation, at: timedelta) -> None:
    reset = MIDNIGHT + max(at, timedelta()) * 1.5
    heard = MIDNIGHT - timedelta(minutes=140)
    Feed.objects.update(last_good_poll_at=heard - timedelta(minutes=5))
    while heard <= MIDNIGHT + timedelta(hours=4):
        count = 90_000 + (heard - reset) // timedelta(minutes=1) if heard < reset else (heard - reset).seconds // 60
        is_slip = MIDNIGHT + at <= heard < MIDNIGHT + at + timedelta(minutes=10)
        hear(operation, "interactions", heard, ("Email", "0" if is_slip else str(count)))
        closing.close_months(heard)
        heard += timedelta(minutes=5)
    assert figures(operation)[11] == (MIDNIGHT + timedelta(hours=4) - reset).seconds // 60
    october = MonthlyUsage.objects.get(month=OCTOBER)
    corrected = october.corrections.last()
    assert (corrected or october).items == 90_000 - 5
    assert october.certificate.seconds_unheard <= 300


def test_a_day_whose_count_comes_back_goes_on(operation: Operation) -> None:
    Feed.objects.update(counts=Feed.Counts.DAY, last_good_poll_at=MIDNIGHT - timedelta(minutes=125))
    for minutes, items in ((120, "895"), (115, "0"), (110, "900"), (105, "904"), (1, "990"), (-4, "2")):
        hear(operation, "interactions", MIDNIGHT + timedelta(days=9, minutes=-minutes), ("Email", items))
    month = MonthlyUsage.objects.get(month=NOVEMBER)
    assert (month.items_by_day[8:], month.is_restated) == (["990", "2"], False)


def test_a_new_count_that_grows_to_the_old_one_stays_new(operation: Operation) -> None:
    Feed.objects.update(counts=Feed.Counts.DAY, last_good_poll_at=MIDNIGHT - timedelta(minutes=6))
    for minutes, items in ((-1, "60"), (4, "2"), (9, "22"), (14, "42"), (19, "61"), (24, "80")):
        hear(operation, "interactions", MIDNIGHT + timedelta(days=9, minutes=minutes), ("Email", items))
    assert MonthlyUsage.objects.get(month=NOVEMBER).items_by_day[8:] == ["60", "80"]


def heard(operation: Operation, *told: tuple[float, int]) -> None:
    for minutes, items in told:
        hear(operation, "interactions", MIDNIGHT + timedelta(minutes=minutes), ("Email", str(items)))


@pytest.mark.parametrize(("old", "minutes", "new"), [(30, 4, 60), (30, 180, 200), (30, 300, 400), (5, 179, 400)])
def test_a_new_count_that_begins_above_a_small_old_one_is_not_taken_for_it(
    operation: Operation, old: int, minutes: int, new: int
) -> None:
    """A month of first tries before a busy one: what grew so much can't have been the old month's use."""
    heard(operation, *((-60 * hours - 1, old) for hours in range(30, -1, -1)))
    heard(operation, *((minutes + 15 * number, new + 10 * number) for number in range(60)))
    closing.close_months(MIDNIGHT + timedelta(days=1))
    assert MonthlyUsage.objects.get(month=OCTOBER).items == old


def test_a_product_that_an_admin_stopped_counting_begins_no_month(operation: Operation) -> None:
    told = [(("Email", "60"), ("Total consumo", "100")), (("Email", "61"), ("Total consumo", "102"))]
    hear(operation, "interactions", MIDNIGHT - timedelta(hours=36), *told[0])
    Product.objects.filter(description="Total consumo").update(is_counted=False)
    hear(operation, "interactions", MIDNIGHT - timedelta(minutes=1), *told[1])
    assert not MonthlyUsage.objects.filter(month=NOVEMBER).exists()


def test_a_held_answer_that_can_not_be_read_any_more_holds_up_none_after_it(quiet: Operation) -> None:
    heard(quiet, (4, 200))
    Answer.objects.filter(polls__is_held=True).update(compressed=b"not what was heard")
    heard(quiet, (9 * 60, 300))
    assert Feed.objects.get(api="interactions").held_since is None
    assert MonthlyUsage.objects.get(month=NOVEMBER).items == 300


def test_a_product_that_has_another_name_now_begins_no_month(operation: Operation) -> None:
    Feed.objects.update(interval=720, last_good_poll_at=MIDNIGHT - timedelta(days=6))
    hear(operation, "interactions", MIDNIGHT - timedelta(days=5), ("Email", "9000"))
    for hours in (*range(-108, 0, 12), -6, -1):
        hear(operation, "interactions", MIDNIGHT + timedelta(hours=hours), ("E-mail", "5"))
    assert set(MonthlyUsage.objects.values_list("month", flat=True)) == {OCTOBER}


# What is learned


def learned(operation: Operation) -> tuple[int | None, int | None]:
    operation.refresh_from_db()
    return operation.reset_after, operation.reset_before


def turn_at(operation: Operation, midnight: datetime, *, heard: int, told: int) -> None:
    """A month's turn, with answers `heard` and `told` seconds after our midnight."""
    hear(operation, "interactions", midnight - timedelta(hours=12), ("Email", "8900"))
    hear(operation, "interactions", midnight + timedelta(seconds=heard), ("Email", "9000"))
    hear(operation, "interactions", midnight + timedelta(seconds=told), ("Email", "2"))


def test_the_vendors_midnight_is_learned_and_narrowed_down(operation: Operation) -> None:
    assert learned(operation) == (None, None)
    turn_at(operation, MIDNIGHT, heard=-60, told=240)
    assert learned(operation) == (-60, 241)  # a call takes a second here
    turn_at(operation, datetime(2026, 12, 1, 5, tzinfo=UTC), heard=-20, told=280)
    assert learned(operation) == (-20, 241)


def test_a_midnight_that_has_moved_is_learned_anew(operation: Operation) -> None:
    turn_at(operation, MIDNIGHT, heard=-60, told=240)
    turn_at(operation, datetime(2026, 12, 1, 5, tzinfo=UTC), heard=-3900, told=-3600)
    assert learned(operation) == (-3900, -3599)


@pytest.mark.parametrize(("begins", "heard", "month"), [(2, 0.5, 10), (2, 2.1, 11), (-5, -4, 11), (-5, -5.2, 10)])
def test_a_feed_that_is_first_heard_near_midnight_is_of_the_month_that_was_learned(
    operation: Operation, begins: float, heard: float, month: int
) -> None:
    reset = round(begins * 3600)
    Operation.objects.update(reset_after=reset - 60, reset_before=reset + 60)
    hear(operation, "ivr_calls", MIDNIGHT + timedelta(hours=heard), ("Calls", "12000"))
    assert figures(operation) == {month: 12000}


def test_a_gauge_and_a_first_month_teach_nothing(operation: Operation) -> None:
    hear(operation, "interactions", MIDNIGHT + timedelta(minutes=4), ("Email", "9"))
    for minutes in (-1, 59):
        hear(operation, "interaction_licenses", MIDNIGHT + timedelta(minutes=minutes), ("Licences", "9"))
    assert learned(operation) == (None, None)


# A feed that counts the other thing


def contrary(operation: Operation) -> int:
    return feed_of(operation).contrary_midnights


@pytest.mark.parametrize("hour", [0, 19])
def test_a_feed_that_begins_anew_each_day_is_noticed_within_two_days(operation: Operation, hour: int) -> None:
    reset = datetime(2026, 11, 10, 5, tzinfo=UTC) + timedelta(hours=hour)
    at = reset + timedelta(minutes=4)
    while at < reset + timedelta(days=2, minutes=10):
        into = (at - reset) % timedelta(days=1)
        hear(operation, "interactions", at, ("Email", str(into // timedelta(minutes=1))))
        at += timedelta(minutes=30)
    assert contrary(operation) == 2


@pytest.mark.parametrize("style", ["", "%Y-%m-%d"])
@pytest.mark.parametrize("interval", [5, 60, 180, 360])
def test_a_feed_set_to_the_day_that_goes_on_over_midnight_is_noticed_within_two_days(
    operation: Operation, interval: int, style: str
) -> None:
    Feed.objects.update(counts=Feed.Counts.DAY, interval=interval)
    begin = at = datetime(2026, 11, 11, 4, 59, tzinfo=UTC) - timedelta(hours=6)
    while at < begin + timedelta(days=2):
        dated = f"{at - timedelta(hours=5):{style}}" if style else ""
        hear(operation, "interactions", at, ("Email", str(5000 + (at - begin) // timedelta(minutes=1)), dated))
        at += timedelta(minutes=interval)
    assert contrary(operation) == 2


def test_from_two_polls_a_day_nothing_is_concluded(operation: Operation) -> None:
    Feed.objects.update(counts=Feed.Counts.DAY, interval=720)
    at = datetime(2026, 11, 9, 4, 59, tzinfo=UTC)
    for number, items in enumerate(["400", "250", "410", "300", "450", "330"]):
        hear(operation, "interactions", at + timedelta(hours=12 * number), ("Email", items))
    assert contrary(operation) == 0


def test_a_fall_on_one_day_alone_is_a_restatement(operation: Operation) -> None:
    at = datetime(2026, 11, 10, 5, 4, tzinfo=UTC)
    for number, items in enumerate(["900", "0", "5", "9", "12"]):
        hear(operation, "interactions", at + timedelta(days=number / 2), ("Email", items))
    assert contrary(operation) == 0


@pytest.mark.parametrize("counts", Feed.Counts.values)
def test_a_feed_that_is_what_it_is_set_to_is_let_be(operation: Operation, counts: str) -> None:
    Feed.objects.update(counts=counts, interval=30)
    begin = datetime(2026, 10, 28, 5, tzinfo=UTC)
    for number in range(48 * 6):
        at = begin + timedelta(minutes=30 * number + 4)
        since = begin if counts == "day" else (MIDNIGHT if at >= MIDNIGHT else begin - timedelta(days=27))
        into = (at - since) % timedelta(days=1) if counts == "day" else at - since
        hear(operation, "interactions", at, ("Email", str(into // timedelta(minutes=1))))
        assert contrary(operation) == 0
    assert not MonthlyUsage.objects.filter(is_restated=True).exists()


def test_a_day_count_that_begins_anew_hours_off_midnight_keeps_its_days_apart(operation: Operation) -> None:
    Feed.objects.update(counts=Feed.Counts.DAY, interval=30)
    reset = datetime(2026, 11, 2, 5, tzinfo=UTC) - timedelta(hours=5)
    for number in range(-16, 48 * 3):
        at = reset + timedelta(minutes=30 * number + 4)
        hear(operation, "interactions", at, ("Email", str((at - reset) % timedelta(days=1) // timedelta(minutes=1))))
    month = MonthlyUsage.objects.get(month=NOVEMBER)
    assert (month.items_by_day, month.is_restated) == (["1414", "1414", "1414", "1414"], False)
