"""Histories at random: kept in step poll by poll, rows are what the snapshots say, and days add up to their month."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction

from tests.conftest import Row, body_of, make_operation
from usage.collecting import closing, recording
from usage.collecting.rebuilding import rebuild
from usage.models import Certificate, Feed, MonthlyUsage
from usage.wolkvox import answers
from usage.wolkvox.client import Reply
from usage.wolkvox.errors import AnswerRefused

pytestmark = pytest.mark.django_db

HISTORIES = int(os.environ.get("HISTORIES", "48"))
PARTS = 4

MIDNIGHT = datetime(2026, 11, 1, 5, tzinfo=UTC)
"""When November begins in Bogotá."""
NAMES = ["Email", "Chat", "Facebook", "Twitter"]


def calls(chance: random.Random) -> Iterator[datetime]:
    """From some days of October into November: at the feed's pace, with outages and a clock that is set back."""
    at = MIDNIGHT - timedelta(days=chance.choice([2, 4, 9]), minutes=chance.randint(0, 1440))
    until = MIDNIGHT + timedelta(days=chance.choice([1, 3]))
    while at < until:
        yield at
        at += timedelta(hours=chance.choice([1, 3, 5]), minutes=chance.choice([0, 7]))
        if chance.random() < 0.1:
            at += timedelta(hours=chance.choice([-2, 9, 26, 55]))


def told(chance: random.Random, style: str, at: datetime, counts: dict[str, dict[int, Decimal]]) -> list[Row]:
    """An answer at `at`, of what was used on each day of the month, of which some products and days are left out."""
    today = (at + timedelta(minutes=chance.choice([0, 0, 0, -600, 30])) - timedelta(hours=5)).date()
    rows: list[Row] = []
    for name in NAMES:
        used = counts[name]
        gained = Decimal(chance.choice(["0", "0", "3", "40", "0.5"]))
        used[today.toordinal()] = used.get(today.toordinal(), Decimal(0)) + gained
        if chance.random() < 0.1:  # a correction of some day
            day = chance.choice(list(used))
            used[day] = max(Decimal(0), used[day] + chance.choice([-2, 5]))
        if chance.random() < 0.25:
            continue
        month = {day: items for day, items in used.items() if today.replace(day=1).toordinal() <= day}
        if style == "by day":
            for day, items in month.items():
                if items or chance.random() < 0.2:
                    rows.append((name, f"{items}", f"{today.fromordinal(day)}"))
        elif style == "day":
            rows.append((name, f"{used[today.toordinal()]}"))
        else:
            rows.append((name, f"{sum(month.values(), Decimal(0))}", f"{today:{style}}" if style else ""))
    return rows or [("Email", "0", f"{today}")]


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_kept_in_step_is_what_the_snapshots_say(part: int) -> None:
    for seed in range(part, HISTORIES, PARTS):
        with transaction.atomic():
            wrong = differences(random.Random(seed))
            transaction.set_rollback(True)
        assert wrong == [], f"history {seed}"


def differences(chance: random.Random) -> list[str]:
    style = chance.choice(["by day", "day", "", "%Y-%m-%d", "%Y-%m"])
    api = chance.choice(["interactions", "interactions", "interaction_licenses"])
    operation = make_operation("Random")
    counts_of = Feed.Counts.DAY if style == "day" else Feed.Counts.MONTH
    operation.feeds.filter(api=api).update(interval=60, counts=counts_of)
    feed = operation.feeds.select_related("operation").get(api=api)
    counts: dict[str, dict[int, Decimal]] = {name: {} for name in NAMES}
    for at in calls(chance):
        body = body_of(told(chance, style, at, counts))
        reply = Reply(body, 200, at, at, at + timedelta(seconds=1))
        try:
            with transaction.atomic():
                recording.record(feed, reply, answers.parse(body, feed.about))
                feed.save()
        except AnswerRefused:
            feed.refresh_from_db()
        if chance.random() < 0.2:
            closing.close_months(at + timedelta(seconds=chance.choice([-3, 3])))
            feed.refresh_from_db()
    wrong = [str(difference) for difference in rebuild(write=False)]
    for row in MonthlyUsage.objects.select_related("product"):
        days = [Decimal(items) for items in row.items_by_day if items is not None]
        if row.product.is_usage and sum(days) != row.items:
            wrong.append(f"{row} of {row.product}: {days} don't add up to {row.items}")
    closed = MonthlyUsage.objects.filter(state="closed")
    if Certificate.objects.count() != closed.count():
        wrong.append("a month without a certificate")
    return wrong
