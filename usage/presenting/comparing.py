"""A month held against another one: which day stands beside which, in all or per licence. Nothing here asks the
database.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple

Amounts = Sequence[Decimal | None]
"""A month's days from the 1st, None where nothing is known."""

SHOWN = Decimal("0.01")
"""How finely a quotient is shown at the most."""


@lru_cache
def length_of(month: date) -> int:
    return calendar.monthrange(month.year, month.month)[1]


class Align(StrEnum):
    """Which days stand beside each other."""

    DAY = "day"
    WEEKDAY = "weekday"


class Per(StrEnum):
    """What a figure is of."""

    ALL = "all"
    LICENCE = "licence"


class Shown(NamedTuple):
    """A month's days as they are shown: the use in each, and since the first that is compared by the end of each."""

    in_day: Amounts
    to_date: Amounts


class Days(NamedTuple):
    """A stretch of a month, from its first day to its last."""

    first: int
    last: int

    @property
    def number(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Comparison:
    """How a page holds its month against another one.

    By weekday, the other month is moved by three days at the most, so that each day stands beside the nearest one of
    its weekday; the days that then have none beside them are left out of both.
    """

    month: date
    against: date
    by_weekday: bool = False
    per_licence: bool = False

    @cached_property
    def moved(self) -> int:
        """By how many days the day beside is later in its month: 3 where the 2nd stands beside the 5th."""
        return (self.month.weekday() - self.against.weekday() + 3) % 7 - 3 if self.by_weekday else 0

    @cached_property
    def length(self) -> int:
        return length_of(self.month)

    @cached_property
    def length_against(self) -> int:
        return length_of(self.against)

    @cached_property
    def first(self) -> int:
        """The first day that has one beside it."""
        return max(1, 1 - self.moved)

    @property
    def first_against(self) -> int:
        return self.first + self.moved

    @property
    def begins(self) -> date:
        return self.month.replace(day=self.first)

    @property
    def begins_against(self) -> date:
        return self.against.replace(day=self.first_against)

    def day_beside(self, day: int) -> date | None:
        number = day + self.moved
        return self.against.replace(day=number) if 1 <= number <= self.length_against else None

    def stretches(self, complete: int, complete_against: int) -> tuple[Days, Days] | None:
        """What is compared once so many days of this month and of the other are complete. By day, a whole month is
        held against a whole one, whatever their lengths.
        """
        if self.by_weekday:
            last = min(complete, complete_against - self.moved)
        elif complete_against < self.length_against:
            last = min(complete, complete_against)
        elif complete == self.length:
            return Days(1, complete), Days(1, complete_against)
        else:
            last = complete
        if last < self.first:
            return None
        return Days(self.first, last), Days(self.first_against, last + self.moved)

    def beside(self, amounts: Amounts) -> list[Decimal | None]:
        """The other month's days in the places of those that they stand beside."""
        places = range(self.moved, self.length + self.moved)
        return [amounts[place] if 0 <= place < len(amounts) else None for place in places]

    def days_beside(self, days: Sequence[int]) -> list[int]:
        """Days of the other month as those of this one that they stand beside."""
        return [day - self.moved for day in days if 1 <= day - self.moved <= self.length]


def shown(in_day: Amounts, to_date: Amounts, licences: Amounts | None, *, first: int, length: int) -> Shown:
    """A month of this `length`, counted from its `first` day on; per licence, where `licences` is not None."""
    in_day, to_date = filled(in_day, length), since(filled(to_date, length), first)
    if licences is None:
        return Shown(in_day, to_date)
    licences = filled(licences, length)
    return Shown(day_by_day(in_day, licences), day_by_day(to_date, last_known(licences)))


def filled(amounts: Amounts, length: int) -> Amounts:
    return [*amounts, *[None] * (length - len(amounts))]


def since(to_date: Amounts, first: int) -> Amounts:
    """What a month had used since its `first` day by the end of each; not known where the day before isn't."""
    if first == 1:
        return to_date
    before = to_date[first - 2]
    return [
        None if amount is None or before is None or day < first else amount - before
        for day, amount in enumerate(to_date, start=1)
    ]


def day_by_day(amounts: Amounts, licences: Amounts) -> list[Decimal | None]:
    """Each day's amount per licence of its own."""
    exact = (per_licence(amount, of) for amount, of in zip(amounts, licences, strict=True))
    return [quotient and quotient.quantize(SHOWN, ROUND_HALF_UP) for quotient in exact]


def per_licence(amount: Decimal | None, licences: Decimal | None) -> Decimal | None:
    """Not known where the licences aren't, or are none."""
    return amount / licences if amount is not None and licences else None


def last_known(licences: Amounts) -> list[Decimal | None]:
    """Of each day the last figure so far."""
    return list(accumulate(licences, _later))


def _later(last: Decimal | None, amount: Decimal | None) -> Decimal | None:
    return last if amount is None else amount
