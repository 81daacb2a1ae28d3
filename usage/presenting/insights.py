"""What deserves a look: products far from their usual pace, and licences that little is done with.

`docs/decisions/0009-what-deserves-a-look.md` has the rules and why. Days are lists from the 1st of a month, None where
nothing is known; nothing here asks the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from itertools import cycle, groupby
from json import loads
from typing import NamedTuple, TypeVar

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from usage.models import Product

from . import words
from .figures import Line, Pace

FEWEST_DAYS, FEWEST_BEFORE = 7, 14
"""Whole days that must be known of a month and of the one before it, for anything to be said of a pace."""

FEWEST_ITEMS, FEWEST_SECONDS = 100, 100 * 60
"""As much must have been used, or be usual, in the days that are compared."""

FAR = 15
"""By how many percent away from the usual a product deserves a look."""

SHARE = 0.05
"""What part of its operation's use of the API must have come or gone with it."""

AT_PACE = 3
"""Whole percent within which a pace is kept."""

UNUSED_DAYS = 7
"""Whole days without use after which licences count as unused."""

TIMES = 200
"""Percent from which on a multiple says more."""

WEEK = 7

KEPT = 4096
"""Of so many products' months it is remembered what they came to."""

Days = Sequence[str | None]
Key = TypeVar("Key", bound=Hashable)


# The usual pace


class Usual(NamedTuple):
    """A month's mean use of each day of the week, from that of the next month's 1st on, and of how many days."""

    means: tuple[float | None, ...]
    days: int


@lru_cache(maxsize=KEPT)
def usual_of(by_day: str, left_out: str, length: int) -> Usual:
    """As `usual`, of lists as the database holds them. Those of a month that is over stay as they are."""
    return usual(loads(by_day), loads(left_out), length)


def usual(by_day: Days, left_out: Collection[int], length: int) -> Usual:
    """What each day of the week used, on the whole days of a month of this length that were told."""
    told = [
        None if items is None or day in left_out else float(items)
        for day, items in enumerate(by_day[: whole_days(by_day, length)], start=1)
    ]
    by_weekday = [
        [items for items in told[(first + length) % WEEK :: WEEK] if items is not None] for first in range(WEEK)
    ]
    return Usual(tuple(sum(its) / len(its) if its else None for its in by_weekday), sum(map(len, by_weekday)))


def whole_days(by_day: Days, days: int) -> int:
    """Of these first days: where the last ones are not known, the last one known is not whole either."""
    return days if len(by_day) >= days else max(0, len(by_day) - 1)


@lru_cache(maxsize=KEPT)
def pace_of(by_day: str, left_out: str, days: int, usual: Usual, unit: str) -> Pace:
    """As `pace`, of lists as the database holds them, and of a product with this unit."""
    least = FEWEST_SECONDS if unit == words.DURATION else FEWEST_ITEMS
    return pace(loads(by_day), loads(left_out), days, usual, least)


def pace(by_day: Days, left_out: Collection[int], days: int, usual: Usual, least: int) -> Pace:
    """The use of a month's first days, beside what the same days of the week usually use: of whole days that were told.

    Of less than `least` items nothing is said.
    """
    compared = [
        (float(items), mean)
        for day, (items, mean) in enumerate(
            zip(by_day[: whole_days(by_day, days)], cycle(usual.means), strict=False), start=1
        )
        if items is not None and mean is not None and day not in left_out
    ]
    now, then = sum([items for items, mean in compared]), sum([mean for items, mean in compared])
    is_enough = len(compared) >= FEWEST_DAYS and usual.days >= FEWEST_BEFORE and max(now, then) >= least
    return Pace(now, then, is_enough)


# What deserves a look


class Kind(StrEnum):
    GONE = "gone"
    ABOVE = "above"
    BELOW = "below"
    UNUSED = "unused"
    THIN = "thin"


class Look(NamedTuple):
    """What deserves one. Of a pace or of use per licence `number` is the percent, of unused licences the days.

    `weight` is what part is concerned of all use of the API, or of all such licences, in the operations looked at: 1 of
    what may count twice.
    """

    kind: Kind
    line: Line
    number: int
    weight: float


def looks(lines: Mapping[Key, Sequence[Line]], yesterdays: Mapping[Key, int]) -> dict[Key, list[Look]]:
    """What deserves a look in each operation, in order of urgency. `yesterdays` are their last days that are over."""
    usuals: defaultdict[str, float] = defaultdict(float)
    licences: defaultdict[int, Decimal] = defaultdict(Decimal)
    found = {}
    for key, its in lines.items():
        held = by_licence(its)
        found[key] = [*gone(its), *paces(its), *use_per_licence(held), *unused(held, yesterdays[key])]
        for line, pace in told(its):
            usuals[line.product.api] += max(pace.now, pace.then)
        for gauge, group in held.items():
            licences[gauge] += group[0].licences or 0

    def weighed(look: Look) -> Look:
        if look.kind == Kind.GONE:
            return look
        product = look.line.product
        is_of_licences = look.kind in (Kind.UNUSED, Kind.THIN)
        whole = float(licences[licensing(product)]) if is_of_licences else usuals[product.api]
        return look._replace(weight=look.weight / whole)

    return {key: sorted(map(weighed, its), key=urgency) for key, its in found.items()}


def urgency(look: Look) -> tuple[bool, bool, float]:
    """What may make the figures wrong comes first. Where nothing is used any more, that says more than how far it is
    behind.
    """
    return look.kind != Kind.GONE, look.kind != Kind.UNUSED, -look.weight


def gone(lines: Iterable[Line]) -> list[Look]:
    """The products that the vendor names no more: they may have another name, and count twice."""
    return [Look(Kind.GONE, line, 0, 1) for line in lines if line.gone_since]


def told(lines: Iterable[Line]) -> list[tuple[Line, Pace]]:
    """The products of which enough is known to speak of their pace; of one that is named no more, nobody knows."""
    return [(line, line.pace) for line in lines if line.pace and line.pace.is_enough and not line.gone_since]


def paces(lines: Iterable[Line]) -> list[Look]:
    """The products far from their usual pace, unless that hardly moved the operation's use. Weights are items."""
    known = told(lines)
    now: defaultdict[str, float] = defaultdict(float)
    then: defaultdict[str, float] = defaultdict(float)
    for line, pace in known:
        now[line.product.api] += pace.now
        then[line.product.api] += pace.then
    return [
        Look(Kind.ABOVE if pace.moved > 0 else Kind.BELOW, line, abs(pace.percent), abs(pace.moved))
        for line, pace in known
        if pace.percent is not None
        and abs(pace.percent) >= FAR
        and abs(pace.moved) >= SHARE * max(now[line.product.api], then[line.product.api])
    ]


def by_licence(lines: Iterable[Line]) -> dict[int, list[Line]]:
    """The products that are held against licences, by these: where there are any."""
    held = defaultdict(list)
    for line in lines:
        if line.licences:
            held[licensing(line.product)].append(line)
    return held


def licensing(product: Product) -> int:
    """The licences that a product is held against: they stand for themselves where nothing is told of their use."""
    return product.licensed_by_id or product.pk


def unused(held: Mapping[int, Sequence[Line]], yesterday: int) -> list[Look]:
    """The licences under which nothing was used lately. Weights are licences."""
    found = []
    for group in held.values():
        days = min(days_unused(line.items_by_day, line.reckoned_days, yesterday) for line in group)
        if days >= UNUSED_DAYS:
            found.append(Look(Kind.UNUSED, group[0], days, float(group[0].licences or 0)))
    return found


@lru_cache(maxsize=KEPT)
def days_unused(items_by_day: str, reckoned_days: str, yesterday: int) -> int:
    """How many days without use end with yesterday; 0 where yesterday is not known."""
    by_day, days = loads(items_by_day), 0
    unsure = unsure_days(by_day, loads(reckoned_days))
    while days < yesterday <= len(by_day) and (day := yesterday - days) not in unsure:
        if (items := by_day[day - 1]) is None or float(items):
            break
        days += 1
    return days


def unsure_days(by_day: Days, reckoned_days: Sequence[int]) -> set[int]:
    """Those of stretches of reckoned days in which something was used: on which of them it was, nobody knows."""
    of_use = {day for day, items in enumerate(by_day, start=1) if float(items or 0)}
    numbered = groupby(enumerate(reckoned_days), key=lambda pair: pair[1] - pair[0])
    stretches = ({day for _place, day in stretch} for _start, stretch in numbered)
    return set().union(*(stretch for stretch in stretches if stretch & of_use))


def use_per_licence(held: Mapping[int, Sequence[Line]]) -> list[Look]:
    """The licences that grew while less was done with each. Weights are licences: as many as the fall comes to."""
    found = []
    for group in held.values():
        now, before, known = group[0].licences, group[0].licences_before, told(group)
        then = sum(pace.then for line, pace in known)
        is_one_unit = len({line.product.unit for line in group}) == 1
        if is_one_unit and now and before and now > before and then > 0:
            left = sum(pace.now for line, pace in known) / then * float(before / now)
            if round(100 - left * 100) >= FAR:
                found.append(Look(Kind.THIN, group[0], round(100 - left * 100), (1 - left) * float(now)))
    return found


# In words


def sentences(looks: Iterable[Look], main: Line | None, before: date, is_over: bool) -> list[str]:
    """How an operation does, in plain words: what deserves a look, else the pace of what it is told by.

    None at all where too little is known. What became of the licences is said with the first product held against them.
    """
    said, told = [], set()
    for look in looks:
        gauge = licensing(look.line.product)
        is_pace = look.kind in (Kind.ABOVE, Kind.BELOW)
        line = look.line._replace(licences=None) if is_pace and gauge in told else look.line
        said.append(sentence(look._replace(line=line), before, is_over))
        if look.kind != Kind.GONE:
            told.add(gauge)
    if not said and main:
        said = [sentence_of_pace(main, before, is_over)]
    return [its for its in said if its]


def sentence(look: Look, before: date, is_over: bool) -> str:
    """A look in plain words, against the month before."""
    if look.kind == Kind.GONE and look.line.gone_since:
        return words.named_until(look.line.product, look.line.gone_since)
    if look.kind == Kind.UNUSED:
        return sentence_of_unused(look, is_over)
    if look.kind == Kind.THIN:
        return sentence_of_thin(look, before, is_over)
    return sentence_of_pace(look.line, before, is_over)


def sentence_of_unused(look: Look, is_over: bool) -> str:
    licences = look.line.licences or Decimal(0)
    if is_over:
        said = ngettext(
            "%(number)s licence stood unused in the month's last %(days)s days.",
            "%(number)s licences stood unused in the month's last %(days)s days.",
            int(licences),
        )
    else:
        said = ngettext(
            "%(number)s licence has stood unused for %(days)s days.",
            "%(number)s licences have stood unused for %(days)s days.",
            int(licences),
        )
    return said % {"number": words.number(licences), "days": words.number(look.number)}


def sentence_of_thin(look: Look, before: date, is_over: bool) -> str:
    said = _("Use per licence is %(percent)s%% below that of %(month)s; %(licences)s.")
    if is_over:
        said = _("Use per licence ended %(percent)s%% below that of %(month)s; %(licences)s.")
    return said % {
        "percent": words.number(look.number),
        "month": words.month_name(before),
        "licences": clause_of_licences(look.line),
    }


def sentence_of_pace(line: Line, before: date, is_over: bool) -> str:
    """How a product keeps its pace, and what became of its licences. Empty where too little is known."""
    percent = line.pace.percent if line.pace and line.pace.is_enough else None
    if percent is None:
        return ""
    is_steady = line.licences == line.licences_before
    clauses = {"use": clause_of_pace(line, percent, before, is_over), "licences": clause_of_licences(line)}
    if not clauses["licences"] or (is_steady and abs(percent) < FAR):
        return _("%(use)s.") % clauses
    return _("%(use)s; %(licences)s.") % clauses


def clause_of_pace(line: Line, percent: int, before: date, is_over: bool) -> str:
    if not line.items:
        said = _("%(product)s was not used all month") if is_over else _("%(product)s has not been used this month")
    elif abs(percent) < AT_PACE:
        said = _("%(product)s kept %(month)s's pace") if is_over else _("%(product)s keeps %(month)s's pace")
    elif percent >= TIMES:
        said = _("%(product)s runs at %(times)s times %(month)s's pace")
        if is_over:
            said = _("%(product)s ran at %(times)s times %(month)s's pace")
    elif percent > 0:
        said = _("%(product)s is %(percent)s%% above %(month)s's pace")
        if is_over:
            said = _("%(product)s ended %(percent)s%% above %(month)s's pace")
    else:
        said = _("%(product)s is %(percent)s%% below %(month)s's pace")
        if is_over:
            said = _("%(product)s ended %(percent)s%% below %(month)s's pace")
    return said % {
        "product": line.product.name,
        "month": words.month_name(before),
        "percent": words.number(abs(percent)),
        "times": words.number(words.rounded(1 + Decimal(percent) / 100)),
    }


def clause_of_licences(line: Line) -> str:
    """What became of its licences since the month before; empty where there are none, none is known of then, or they
    were others meanwhile and are as many again.
    """
    now, before = line.licences, line.licences_before
    if not now or not before:
        return ""
    if now != before:
        said = _("licences went from %(before)s to %(now)s")
        return said % {"before": words.number(before), "now": words.number(now)}
    if line.licences_moved:
        return ""
    said = ngettext("its one licence stood unchanged", "its %(number)s licences stood unchanged", int(now))
    return said % {"number": words.number(now)}
