"""What must hold of a run. Each check tells its findings, a sentence each: none is what is wanted."""

from __future__ import annotations

import base64
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from usage.collecting import months, rebuilding
from usage.models import GOOD, Answer, DailyUsage, MonthlyUsage, Operation, Poll

from .accounts import UNIT, Account
from .vendor import Call

Key = tuple[int, str, str, date]
"""An operation's id, an API, a product's description, and a month or a day."""


@dataclass(frozen=True)
class Heard:
    """A figure that was truly shown and could have been read."""

    at: datetime
    amount: int
    is_late_news: bool
    sha256: str


@dataclass
class Truth:
    """What the ledger says could have been read: docs/soak.md defines it."""

    accounts: dict[int, Account]
    reconciled_until: datetime
    days: dict[Key, list[Heard]] = field(default_factory=lambda: defaultdict(list))
    calls: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    sealed: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    named_otherwise: set[int] = field(default_factory=set)

    def reconcile(self, calls: Sequence[Call], troubles: dict[tuple[int, datetime], str], until: datetime) -> None:
        """Hold each call against its poll, and learn the truth from those that told it."""
        ids = {account.number: operation for operation, account in self.accounts.items()}
        polls = {
            (poll.feed.operation_id, poll.feed.api, poll.started_at): poll
            for poll in Poll.objects.filter(started_at__gte=self.reconciled_until, started_at__lt=until)
            .select_related("feed", "answer")
            .defer("answer__compressed")
        }
        for call in sorted(calls, key=lambda call: call.at):
            poll = polls.pop((ids[call.account.number], call.api, call.at), None)
            self.calls["all"] += 1
            self.calls["faulty"] += bool(call.fault)
            call.is_read = self._is_read(call, poll)
            if call.is_read:
                self._learn(ids[call.account.number], call)
        for (operation, api, at), poll in polls.items():
            if (operation, at) in troubles:
                self.calls["all"] += 1
                self.calls["faulty"] += 1
                if poll.outcome == "timed_out" != troubles[operation, at]:
                    self.calls["late, for the machine was busy"] += 1
                elif poll.outcome != troubles[operation, at]:
                    self.findings.append(
                        f"{self.accounts[operation].name}: {poll.outcome}, not {troubles[operation, at]}"
                    )
            elif poll.outcome in ("timed_out", "not_reached"):
                self.calls["never arrived"] += 1  # before the short deadline was over, on a busy machine
            else:
                self.findings.append(
                    f"{self.accounts[operation].name}: a poll of {api} at {at} that nobody was asked for"
                )
        self.reconciled_until = until

    def _is_read(self, call: Call, poll: Poll | None) -> bool:
        where = f"{call.account.name}, {call.api} at {call.at} ({call.fault or 'good'})"
        if poll is None:
            self.calls["lost with their process"] += 1
            if not (call.was_killed or call.was_paused):
                self.findings.append(f"{where}: stands in no poll")
            return False
        if poll.outcome == "timed_out" != call.outcome:
            self.calls["late, for the machine was busy"] += 1
            return False
        if poll.outcome != call.outcome:
            self.findings.append(f"{where}: stands as {poll.outcome}, not as {call.outcome}: {poll.message}")
        elif poll.outcome == GOOD and poll.answer and poll.answer.sha256 != call.sha256:
            self.findings.append(f"{where}: another answer is kept than was given")
        return call.outcome == GOOD == poll.outcome

    def _learn(self, operation: int, call: Call) -> None:
        if call.is_under_another_name:
            self.named_otherwise.add(operation)
        self.calls["late news"] += call.is_late_news
        for shown in call.rows:
            is_a_days = call.account.style.counts_day or len(call.rows) > len({row.description for row in call.rows})
            day = shown.day if is_a_days and call.api == call.account.api else shown.day.replace(day=1)
            heard = Heard(call.at, shown.amount, call.is_late_news, call.sha256)
            self.days[operation, call.api, shown.description, day].append(heard)

    def month_figures(self) -> dict[Key, dict[date, list[Heard]]]:
        """By month, what was heard: under its days where rows count a day, else under its first."""
        figures: dict[Key, dict[date, list[Heard]]] = defaultdict(dict)
        for (operation, api, description, day), heard in self.days.items():
            figures[operation, api, description, day.replace(day=1)][day] = heard
        return figures

    # A closed month stays as it is

    def seal(self, now: datetime) -> None:
        """Note the months that have just been closed."""
        self.sealed |= sealed_rows(closed_at=now)

    def hold_sealed(self) -> None:
        """Hold the closed months against what they were when they were closed."""
        stand = sealed_rows()
        for number, noted in self.sealed.items():
            if stand.get(number) != noted:
                self.findings.append(f"a closed month moved: {noted} is now {stand.get(number)}")


def sealed_rows(**which: datetime) -> dict[int, tuple[Any, ...]]:
    columns = [column.attname for column in MonthlyUsage._meta.concrete_fields]
    rows = MonthlyUsage.objects.filter(state=MonthlyUsage.State.CLOSED, **which)
    return {row[0]: row for row in rows.values_list("pk", *columns)}


def figures(truth: Truth, end: date) -> tuple[list[str], int, int]:
    """The findings; how many operations' months are right, and of how many."""
    findings, right, count = [], 0, 0
    stand = {
        (row.operation_id, row.product.api, row.product.description, row.month): row
        for row in MonthlyUsage.objects.filter(month__lt=end).select_related("product")
    }
    wrong: dict[tuple[int, date], list[str]] = defaultdict(list)
    told = {key: days for key, days in truth.month_figures().items() if key[3] < end}
    for key, days in told.items():
        wrong[key[0], key[3]] += wrong_about(key, days, stand.pop(key, None), truth.accounts[key[0]])
    for operation, api, description, month in stand:
        wrong[operation, month].append(f"{api} {description} {month:%Y-%m} was never told")
    for (operation, _), sentences in sorted(wrong.items()):
        count += 1
        right += not sentences
        findings += [
            f"{truth.accounts[operation].name} ({truth.accounts[operation].style.name}): {said}" for said in sentences
        ]
    return findings, right, count


def wrong_about(key: Key, days: dict[date, list[Heard]], row: MonthlyUsage | None, account: Account) -> list[str]:
    _, api, description, month = key
    about = f"{api} {description} {month:%Y-%m}"
    if row is None:
        return [f"{about} is missing"]
    if row.closed_at is None:
        return [f"{about} is not closed"]
    if row.closed_at < months.begins_at(months.next_month(month), account.zone):
        return [f"{about} closed before its end"]
    timely = [heard.at for all_heard in days.values() for heard in all_heard if not heard.is_late_news]
    if timely and max(timely) > row.closed_at:
        return [f"{about} closed at {row.closed_at}, and was truly told of at {max(timely)}"]
    lawful = {sum(last_before(heard, row.closed_at, with_it) for heard in days.values()) for with_it in (True, False)}
    if row.items * UNIT not in lawful:
        return [f"{about} is {row.items}, and should be {' or '.join(str(Decimal(each) / UNIT) for each in lawful)}"]
    return []


def last_before(heard: Sequence[Heard], closed_at: datetime, with_it: bool) -> int:
    """The last figure before a closing. Which of two things of the same instant came first, nobody knows."""
    known = [each for each in heard if each.at < closed_at or (with_it and each.at == closed_at)]
    return known[-1].amount if known else 0


def certificates(truth: Truth, end: date) -> Iterator[str]:
    """Each names the last answer that told of its month before the closing, and when it came.

    Of usage alone: in the seconds around midnight, nobody knows of which month an undated gauge is.
    """
    told = truth.month_figures()
    usage = MonthlyUsage.objects.filter(month__lt=end, product__kind="usage")
    for row in usage.select_related("product", "certificate"):
        about = f"{truth.accounts[row.operation_id].name} {row.product} {row.month:%Y-%m}"
        key = (row.operation_id, row.product.api, row.product.description, row.month)
        if row.closed_at and not hasattr(row, "certificate"):
            yield f"{about}: closed without a certificate"
        elif row.closed_at:
            heard = [each for of_day in told.get(key, {}).values() for each in of_day if each.at <= row.closed_at]
            named = row.certificate.last_good_poll_at, row.certificate.answer_sha256
            last = max((each.at for each in heard if each.at < row.closed_at), default=None)
            if named not in {(each.at, each.sha256) for each in heard if each.at in (last, row.closed_at)}:
                yield f"{about}: its certificate names {named}, and {last} was the last answer"


def daily_sums(truth: Truth, end: date) -> Iterator[str]:
    """A month of usage is the sum of its days, to the last place, in its rows and in its lists."""
    days: dict[tuple[int, int, date], list[DailyUsage]] = defaultdict(list)
    for day in DailyUsage.objects.filter(day__lt=end, product__kind="usage").order_by("day"):
        days[day.operation_id, day.product_id, day.day.replace(day=1)].append(day)
    told = truth.month_figures()
    for row in MonthlyUsage.objects.filter(month__lt=end, product__kind="usage").select_related("product"):
        its = days[row.operation_id, row.product_id, row.month]
        about = f"{truth.accounts[row.operation_id].name} {row.product} {row.month:%Y-%m}"
        if unknown := [day.day.day for day in its if day.items is None]:
            yield f"{about}: what the days {unknown} used is empty"
        if sum(day.items or 0 for day in its) != row.items or its[-1].month_to_date != row.items:
            yield f"{about}: its days add up to {sum(day.items or 0 for day in its)}, not {row.items}"
        listed = {number: Decimal(text) for number, text in enumerate(row.items_by_day, 1) if text is not None}
        if listed != {day.day.day: day.items for day in its if day.items is not None}:
            yield f"{about}: its list of days is not its days"
        key = (row.operation_id, row.product.api, row.product.description, row.month)
        by_day = told.get(key, {})
        if len(by_day) > 1 and row.closed_at:
            for day in its:
                if day.day in by_day and day.items is not None:
                    lawful = {last_before(by_day[day.day], row.closed_at, with_it) for with_it in (True, False)}
                    if day.items * UNIT not in lawful:
                        yield f"{about}: the {day.day} used {day.items}, and was told to use {lawful}"


def rebuilt() -> Iterator[str]:
    for difference in rebuilding.rebuild(write=False):
        yield f"{difference.column} of {difference.row} is {difference.stands}, rebuilt {difference.should}"


def pace(calls: Iterable[Call]) -> Iterator[str]:
    """No API of an operation is called again within its interval of one that was read, but for a late tick's minute. A
    day's last call may come sooner than that, though not than the vendor's pace, and may come after midnight.
    """
    last: dict[tuple[int, str], Call] = {}
    for call in calls:
        before, minutes = last.get((call.account.number, call.api)), call.account.apis.get(call.api, 0)
        at = call.at.astimezone(call.account.zone)
        is_last = at.time() >= time(23, 55) or (before and before.at.astimezone(at.tzinfo).date() < at.date())
        interval = timedelta(minutes=(min(5, minutes) if is_last else minutes) - 1)
        if before and before.is_read and not before.was_paused and call.at - before.at < interval:
            yield f"{call.account.name}: {call.api} was called at {before.at} and at {call.at}"
        last[call.account.number, call.api] = call


def integrity() -> Iterator[str]:
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        for pragma in ("integrity_check", "foreign_key_check"):
            cursor.execute(f"PRAGMA {pragma}")
            yield from (f"{pragma}: {row}" for row in cursor.fetchall() if row != ("ok",))


def names(truth: Truth) -> Iterator[str]:
    """An operation that was ever answered for under another name is flagged, and no other is."""
    flagged = set(Operation.objects.exclude(other_vendor_name="").values_list("pk", flat=True))
    for operation in flagged ^ truth.named_otherwise:
        yield f"{truth.accounts[operation].name} is {'' if operation in flagged else 'not '}flagged for its name"


# Tokens


RUNS, ENCODED_RUNS = re.compile(rb"[0-9a-z+/=]{12,}"), re.compile(rb"[A-Za-z0-9+/]{16,}")


class TokenSearch:
    """Looks for any twelve characters in a row of any token: in either case, in hex, in base64, in JSON's escapes."""

    LENGTH, ENCODED = 12, 16

    def __init__(self, tokens: Iterable[str]) -> None:
        self.plain: set[bytes] = set()
        self.encoded: set[bytes] = set()
        for token in tokens:
            for text in (
                token.lower().encode(),
                token.encode().hex().encode(),
                token.upper().encode().hex().lower().encode(),
            ):
                self.plain |= set(windows(text, self.LENGTH))
            for case in (token.lower(), token.upper()):
                for shift in range(3):
                    encoded = base64.b64encode(b" " * shift + case.encode())[4:-4]
                    self.encoded |= set(windows(encoded, self.ENCODED))

    def __call__(self, data: bytes) -> list[str]:
        """What stands before each."""
        lower = data.lower()
        return [
            *(before for text in {lower, unescaped(lower)} for before in found(text, RUNS, self.plain)),
            *found(data, ENCODED_RUNS, self.encoded),
        ]


def found(data: bytes, runs: re.Pattern[bytes], sought: set[bytes]) -> Iterator[str]:
    """What stands before each of those sought, which are of one length."""
    length = len(next(iter(sought), b""))
    for its in runs.finditer(data):
        for at, window in enumerate(windows(its[0], length), start=its.start()):
            if window in sought:
                yield data[max(0, at - 80) : at].decode(errors="replace")


def unescaped(text: bytes) -> bytes:
    """Without what JSON, or JSON in JSON, puts before a slash or in a character's place."""
    return re.sub(rb"\\+(?:u00([2-7][0-9a-f])|(?=/))", lambda escape: bytes.fromhex((escape[1] or b"").decode()), text)


def windows(text: bytes, length: int) -> Iterator[bytes]:
    return (text[at : at + length] for at in range(len(text) - length + 1))


def kept_answers() -> Iterator[bytes]:
    """Answers are kept compressed: a search of the file alone would miss what is in them."""
    for answer in Answer.objects.iterator():
        yield answer.body
