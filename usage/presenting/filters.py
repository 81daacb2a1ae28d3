"""Which operations the overview shows, and in which order: what its address asks for."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from django.utils.translation import gettext as _

from . import insights
from .insights import Kind, Look
from .overview import OperationMonth


class Show(StrEnum):
    """What `?show=` narrows the page to. The failing are all in trouble: the stale too, and those short of calls."""

    ALL = ""
    ATTENTION = "attention"
    FAILING = "failing"
    ABOVE = "above"
    BELOW = "below"
    UNUSED = "unused"


class Sort(StrEnum):
    ATTENTION = "attention"
    NAME = "name"


FEW = 40
"""Up to as many operations are shown with all their products; more, with what each is told by."""


KINDS: dict[Show, Collection[Kind]] = {
    Show.FAILING: (),
    Show.ABOVE: (Kind.ABOVE,),
    Show.BELOW: (Kind.BELOW,),
    Show.UNUSED: (Kind.UNUSED, Kind.THIN),
}


@dataclass(frozen=True)
class Asked:
    search: str = ""
    show: Show = Show.ALL
    sort: Sort = Sort.ATTENTION

    @property
    def is_narrowed(self) -> bool:
        return bool(self.search or self.show)


@dataclass(frozen=True)
class Choice:
    """A `?show=`, and how many operations it shows."""

    value: Show
    title: str
    number: int
    is_chosen: bool


@dataclass(frozen=True)
class Overview:
    """The operations in order, as asked for, and `total` as many as there are."""

    asked: Asked
    operations: Sequence[OperationMonth]
    total: int
    choices: Sequence[Choice]

    @property
    def is_folded(self) -> bool:
        return len(self.operations) > FEW

    @property
    def noted(self) -> Sequence[OperationMonth]:
        """Those in trouble, and those with something that deserves a look, in that order whatever the table's is."""
        return in_order(its for its in self.operations if its.is_trouble or its.looks)

    @property
    def is_compared(self) -> bool:
        """Whether enough is known to speak of the pace of any."""
        return any(insights.told(its.rows) for its in self.operations)

    @property
    def are_heard(self) -> bool:
        """Whether there is nothing to tell of the feeds of any, of a month that runs."""
        return all(its.health.heard and its.health.worst is None and not its.has_ended for its in self.operations)

    @property
    def is_over(self) -> bool:
        return all(its.has_ended for its in self.operations)


def overview(operations: Sequence[OperationMonth], asked: Asked) -> Overview:
    found = search(operations, asked.search)
    shown = {show: [its for each in found if (its := narrowed(each, show))] for show in Show}
    titles = {
        Show.ALL: _("All"),
        Show.ATTENTION: _("Need a look"),
        Show.FAILING: _("In trouble"),
        Show.ABOVE: _("Above pace"),
        Show.BELOW: _("Below pace"),
        Show.UNUSED: _("Licences little used"),
    }
    return Overview(
        asked=asked,
        operations=in_order(shown[asked.show], asked.sort),
        total=len(operations),
        choices=[
            Choice(show, titles[show], len(its), show == asked.show)
            for show, its in shown.items()
            if its or show in (Show.ALL, asked.show)
        ],
    )


def narrowed(its: OperationMonth, show: Show) -> OperationMonth | None:
    """An operation with the looks that are asked for, or None where there are none."""
    if show == Show.ALL:
        return its
    looks = [look for look in its.looks if look.kind in KINDS.get(show, Kind)]
    is_shown = looks or (its.is_trouble and show in (Show.ATTENTION, Show.FAILING))
    return replace(its, looks=looks) if is_shown else None


def in_order(operations: Iterable[OperationMonth], sort: Sort = Sort.ATTENTION) -> list[OperationMonth]:
    """By name; or trouble first, then what deserves a look, the heaviest first, and then the others by name."""
    by_name = sorted(operations, key=lambda its: (folded(its.operation.name), its.operation.slug))
    if sort == Sort.NAME:
        return by_name
    troubled = sorted((its for its in by_name if its.is_trouble), key=lambda its: its.health.rank)
    others = [its for its in by_name if not its.is_trouble]
    return troubled + sorted(others, key=lambda its: -its.weight)


# Search


def search(operations: Sequence[OperationMonth], text: str) -> Sequence[OperationMonth]:
    """Those with every word in their name or in that of a product: then these products alone."""
    words = folded(text).split()
    return [its for each in operations if (its := matched(each, words))] if words else operations


def matched(its: OperationMonth, words: Iterable[str]) -> OperationMonth | None:
    name = folded(its.operation.name)
    left = [word for word in words if word not in name]
    if not left:
        return its
    rows = [line for line in its.rows if all(word in folded(line.product.name) for word in left)]
    products = {line.product.pk for line in rows}

    def is_of_them(look: Look) -> bool:
        return look.line.product.pk in products

    return replace(its, rows=rows, looks=list(filter(is_of_them, its.looks))) if rows else None


@lru_cache(maxsize=4096)
def folded(text: str) -> str:
    """Without accents and cases, as people type."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))
