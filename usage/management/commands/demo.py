"""The demo: a simulated vendor, operations on it, and what they would have told since three months ago."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from itertools import islice
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from usage.collecting import closing, months, operations, pacing, polling, recording
from usage.models import Feed, Interval, Operation
from usage.wolkvox import answers
from usage.wolkvox.client import Reply
from usage.wolkvox.simulator import OPERATIONS, SimulatedOperation, Simulator, provoking, serve

PEOPLE = {"manager": "Managers", "finance": "Finance", "admin": "Administrators"}
PASSWORD = "demo"  # noqa: S105  on loopback, over invented figures
MONTHS_BACK = 3
OUTAGE_DAY, OUTAGE = 11, timedelta(hours=35)
"""From noon of this day of last month on, nothing was heard for so long: a gap to see, and days reckoned over it."""
SOON = timedelta(minutes=2)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BATCH = 50

MORE_APIS = ("ivr_calls", "ivr_minutes", "rec_minutes", "pbx_licenses", "wp_connectors_official")
"""What the largest operation polls beside the usual two."""

TROUBLES = {"Lima · Retención": "token_refused", "Quito · Cobranza": "maintenance"}
"""Operations whose vendor answers with an error from now on."""


class Command(BaseCommand):
    help = "Serve the simulated vendor, with operations on it and three months of their history. Stays until stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port", type=int, default=0, help="the vendor's port on loopback; a free one if not given"
        )

    def handle(self, *, port: int, **options: object) -> None:
        if urlsplit(settings.WOLKVOX_URL).hostname not in LOOPBACK:
            raise CommandError(
                "the demo adds people and operations of its own, so it is only for a database whose vendor is the "
                "simulated one; `make run` makes one and sets WOLKVOX_URL to it",
                returncode=2,
            )
        simulator = Simulator()
        with serve(simulator, port=port) as server:
            self.stdout.write(f"simulated vendor at {server.url}")
            make_people()
            for number, (token, simulated) in enumerate(OPERATIONS.items(), 1):
                polls = catch_up(simulated, token, simulator, timezone.now())
                self.stdout.write(f"{simulated.name} ({number} of {len(OPERATIONS)}): {polls} polls")
            self.stdout.write("the history is complete; from now on it is polled live")
            threading.Event().wait()


def make_people() -> None:
    for name, role in PEOPLE.items():
        if not User.objects.filter(username=name).exists():
            user = User.objects.create_user(name, password=PASSWORD, is_staff=role == "Administrators")
            user.groups.add(Group.objects.get(name=role))


def catch_up(simulated: SimulatedOperation, token: str, simulator: Simulator, now: datetime) -> int:
    """Record what the operation would have told until `now`, then leave it to live polls. How many polls that took.

    The history is polled twice a day, and recorded as such: the feeds have that interval while it lasts.
    """
    operation = Operation.objects.filter(name=simulated.name).first()
    if operation and operation.feeds.filter(failures__gt=0).exists():
        return 0
    operation = operation or add(simulated, token, now)
    Operation.objects.filter(pk=operation.pk).update(is_active=False)
    polls = 0
    for feed in operation.feeds.filter(is_enabled=True).select_related("operation"):
        live = feed.interval
        feed.interval = Interval.TWELVE_HOURS
        polls += replay(feed, token, simulator, now)
        Feed.objects.filter(pk=feed.pk).update(interval=live, next_due_at=now + timedelta(minutes=live))
    closing.close_months(now)
    trouble = TROUBLES.get(simulated.name)
    if trouble:
        operation.token = provoking(trouble)
        operation.save()
        operations.make_due(operation, now)
    Operation.objects.filter(pk=operation.pk).update(is_active=True)
    return polls


def add(simulated: SimulatedOperation, token: str, now: datetime) -> Operation:
    operation = Operation(name=simulated.name, slug=slugify(simulated.name), server=simulated.server, is_active=False)
    operation.token = token
    operation.save()
    is_largest = token == next(iter(OPERATIONS))
    operations.add_feeds(operation, now, [*operations.DEFAULT_INTERVALS, *(MORE_APIS if is_largest else ())])
    return operation


def replay(feed: Feed, token: str, simulator: Simulator, now: datetime) -> int:
    """Record the simulator's answers at the feed's times up to `now`, as if each had just come."""
    times = iter(times_of(feed, now))
    polls = 0
    while batch := list(islice(times, BATCH)):
        with transaction.atomic():
            for at in batch:
                body = simulator.answer(token, feed.api, at)
                reply = Reply(body=body, http_status=200, vendor_clock=at, started_at=at, ended_at=at)
                recording.record(feed, reply, answers.parse(body, feed.about))
                polling.succeed(feed, at)
        polls += len(batch)
    return polls


def times_of(feed: Feed, now: datetime) -> list[datetime]:
    """The feed's times on its grid since its last good poll, or the month three months back, and `now` itself.

    Without those of last month's outage, and with one soon after each month's begin, which shows when it was.
    """
    zone = feed.operation.zone
    month = months.first_of(now.astimezone(zone).date())
    outage = months.begins_at((month - timedelta(days=1)).replace(day=OUTAGE_DAY), zone) + timedelta(hours=12)
    for _ in range(MONTHS_BACK):
        month = months.first_of(month - timedelta(days=1))
    at = feed.last_good_poll_at or months.begins_at(month, zone)
    times = []
    while (at := pacing.next_on_grid(feed, at)) < now:
        if not outage <= at < outage + OUTAGE:
            times.append(at)
        soon = at + SOON
        if soon.astimezone(zone).day < at.astimezone(zone).day and soon < now:
            times.append(soon)
    return [*times, now]
