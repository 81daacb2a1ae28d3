"""The rows of the long tables as HTML: a template takes ten times as long over a thousand of them.

What holds a name or a translation is escaped; figures are not, which have digits and marks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache

from django.http import QueryDict
from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from usage.models import Product

from . import words
from .charts import leads, slot, sparkline
from .comparing import Amounts, Comparison
from .feeds import Health
from .figures import Change, Line, Months, ProductMonth
from .filters import Overview
from .operation import Card, Day
from .overview import OperationMonth

WIDE = '<td class="wide"></td>'

NOTABLE = 10
"""Percent from which on a change stands out."""


@lru_cache(maxsize=4096)
def address(page: str, of: str | int) -> str:
    return reverse(page, args=[of])


def percent(change: Change) -> SafeString:
    """A change as an arrow and whole percent, with a sign for those who hear it; a dash where it can't be told."""
    return _percent(change.percent)


def _percent(percent: int | None) -> SafeString:
    if percent is None:
        return mark_safe("–")
    arrow, sign = ("▲", "+") if percent > 0 else ("▼", "−") if percent < 0 else ("", "")
    return mark_safe(  # noqa: S308  nothing but a number
        f'<span class="change{" notable" if abs(percent) >= NOTABLE else ""}"><span aria-hidden="true">{arrow}</span>'
        f'<span class="hidden">{sign}</span> {words.number(abs(percent))}%</span>'
    )


def figure_cells() -> Callable[[Line], SafeString]:
    """Writes a line's cells: day by day, month to date, change, licences and use per licence."""
    number, figure, glance, percent = words.numbers(), words.figures(), words.glances(), cache(_percent)

    @cache
    def licences(last: Decimal, change: Decimal) -> str:
        return f"<small>{words.signed(change)}</small> {number(last)}" if change else number(last)

    def licences_of(line: Line) -> str:
        return "" if line.licences is None else licences(line.licences, line.licences_change)

    def per_licence(line: Line) -> str:
        return glance(line.items / line.licences, line.product) if line.licences else ""

    def cells(line: Line) -> SafeString:
        against = line.pace or line.change
        return mark_safe(  # noqa: S308  nothing but figures
            f'<td class="wide">{sparkline(line)}</td>'
            f'<td class="number main">{figure(line.items, line.product)}</td>'
            f'<td class="number">{percent(against.percent) if against else ""}</td>'
            f'<td class="number wide">{licences_of(line)}</td>'
            f'<td class="number wide">{per_licence(line)}</td>'
        )

    return cells


# Months


def month_links(months: Months, query: QueryDict) -> SafeString:
    """Each month with figures as an item that leads to it and keeps the rest of the address."""
    rest = query.copy()
    rest.pop("month", None)
    address = escape(f"&{rest.urlencode()}") if rest else ""
    name = words.months_and_years()

    def item(month: date) -> str:
        current = ' aria-current="true"' if month == months.chosen else ""
        return f'<li><a href="?month={month:%Y-%m}{address}"{current}>{escape(capfirst(name(month)))}</a></li>'

    return mark_safe("".join([item(month) for month in months.known]))  # noqa: S308  escaped above


def month_options(months: Months, comparison: Comparison) -> SafeString:
    """Each month that a page's can be held against."""
    name = words.months_and_years()

    def option(month: date) -> str:
        selected = " selected" if month == comparison.against else ""
        return f'<option value="{month:%Y-%m}"{selected}>{escape(name(month))}</option>'

    return mark_safe("".join([option(month) for month in months.others]))  # noqa: S308  escaped above


# Overview


def overview_bodies(overview: Overview, month: str, in_month: str, now: datetime) -> SafeString:
    """A table body for each operation: what heads it, and a line for each product. `in_month` ends its links."""
    cells, head, product_of = figure_cells(), heads(in_month, now), product_links(in_month)
    unknown = escape(_("No figures for %(month)s.") % {"month": month})
    nothing = f'<tr><td colspan="6" class="nothing">{unknown}</td></tr>'

    def line_of(line: Line) -> str:
        product = line.product
        return (
            f'<tr class="p{slot(product)}"><th scope="row" class="product">{product_of(product)}</th>{cells(line)}</tr>'
        )

    def body(its: OperationMonth) -> str:
        lines = "".join([line_of(line) for line in its.rows])
        return (
            f'<tbody id="{escape(its.operation.slug)}"><tr class="group"><th scope="rowgroup" colspan="6">{head(its)}'
            f"</th></tr>{lines or nothing}</tbody>"
        )

    return mark_safe("".join([body(its) for its in overview.operations]))  # noqa: S308  escaped above


def overview_lines(overview: Overview, in_month: str, now: datetime) -> SafeString:
    """A line for each of many operations: what heads it, and the product that it is told by."""
    cells, head, product_of = figure_cells(), heads(in_month, now), product_links(in_month)
    nothing = f'<td class="product"></td>{WIDE}<td></td><td></td>{WIDE * 2}'

    def row(its: OperationMonth) -> str:
        place, told = "", nothing
        if its.main:
            place = f" p{slot(its.main.product)}"
            told = f'<td class="product">{product_of(its.main.product)}</td>{cells(its.main)}'
        return f'<tr id="{escape(its.operation.slug)}" class="group{place}"><th scope="row">{head(its)}</th>{told}</tr>'

    rows = "".join([row(its) for its in overview.operations])
    return mark_safe(f"<tbody>{rows}</tbody>")  # noqa: S308  escaped above


def product_links(in_month: str) -> Callable[[Product], str]:
    @cache
    def link(product: int, name: str) -> str:
        return f'<a href="{address("product", product)}{in_month}"><span class="dot"></span>{escape(name)}</a>'

    return lambda product: link(product.id, product.name)


def heads(in_month: str, now: datetime) -> Callable[[OperationMonth], str]:
    """Writes what heads an operation: its name, its trouble, when it was heard, and its sentence."""
    moments = cache(lambda zone: words.moments(zone, now))
    heard = f'<span class="heard">{escape(_("heard %(heard)s"))}</span>'

    def head(its: OperationMonth) -> str:
        operation, sentence = its.operation, its.sentence
        link = address("operation", operation.slug) + (in_month if its.rows else "")
        trouble = "" if its.has_ended else trouble_of(its.health)
        time = heard % {"heard": moments(operation.zone)(its.heard)} if its.heard else ""
        said = f"<p>{escape(sentence)}</p>" if sentence else ""
        return f'<div><a class="name" href="{link}">{escape(operation.name)}</a> {trouble}{time}</div>{said}'

    return head


def trouble_of(health: Health) -> str:
    """The worst that there is to tell, and how much else."""
    if health.worst is None:
        return ""
    tag = f'<span class="tag {health.worst.tone}">{escape(health.worst.sentence)}</span> '
    if not health.others:
        return tag
    others = ngettext("and %(number)s other trouble", "and %(number)s other troubles", health.others)
    said = escape(others % {"number": words.number(health.others)})
    return f'{tag}<a class="tag quiet" href="{reverse("status")}">{said}</a> '


# One operation


def product_rows(cards: Sequence[Card]) -> SafeString:
    """A row for each usage product: month to date, change, and use per licence."""
    figure, glance = words.figures(), words.glances()

    def row(its: ProductMonth) -> str:
        product, quotient = its.product, its.per_licence
        return (
            f'<tr class="p{slot(product)}"><th scope="row" class="product"><a href="#product-{product.pk}">'
            f'<span class="dot"></span>{escape(product.name)}</a></th>'
            f'<td class="number main">{figure(its.usage.items, product)}</td>'
            f'<td class="number">{percent(its.change) if its.change else ""}</td>'
            f'<td class="number wide">{"" if quotient is None else glance(quotient, product)}</td></tr>'
        )

    return mark_safe("".join([row(card.row) for card in cards]))  # noqa: S308  escaped above


def day_rows(card: Card, now: datetime) -> SafeString:
    """A row for each day of a usage product: use, month to date, the other month beside it, licences, as of, and what
    is to be noted.
    """
    its, product, zone = card.row, card.row.product, card.row.operation.zone
    number, moment, day_and_month = words.numbers(), words.moments(zone, now), words.days_and_months()
    figure = words.glances() if its.is_per_licence else words.figures()
    held, link = its.comparison, leads(its)

    def cell(amounts: Amounts, place: int) -> str:
        amount = amounts[place]
        if amount is None:
            return '<td class="number"></td>'
        return f'<td class="number">{figure(amount, product)}</td>'

    def beside(place: int) -> str:
        if its.beside is None:
            return ""
        day = held.day_beside(place + 1) if held.by_weekday else None
        named = (
            f'<td class="soft day">{escape(words.weekday_and_day(day)) if day else ""}</td>' if held.by_weekday else ""
        )
        return named + cell(its.beside.to_date, place)

    def row(day: Day) -> str:
        place = day.day.day - 1
        address = link.replace("{}", f"{day.day.day:02}")
        return (
            f'<tr><th scope="row" class="day"><a href="{address}">{day_and_month(day.day)}</a></th>'
            f"{cell(its.shown.in_day, place)}{cell(its.shown.to_date, place)}{beside(place)}"
            f'<td class="number">{"" if day.licences is None else number(day.licences)}</td>'
            f'<td class="number soft wide">{moment(day.as_of) if day.as_of else ""}</td>'
            f'<td class="soft notes">{notes(day)}</td></tr>'
        )

    return mark_safe("".join([row(day) for day in card.days]))  # noqa: S308  escaped above


def notes(day: Day) -> str:
    said = []
    if day.as_of is None:
        said.append(_("No figures"))
    elif day.items is None:
        said.append(_("The day before is unknown"))
    if day.is_reckoned:
        said.append(_("Reckoned"))
    if day.is_unfinished:
        said.append(_("Unfinished"))
    if day.unheard:
        said.append(words.unheard(day.unheard))
    restated = _("The vendor lowered its figure") if day.is_restated else ""
    warning = f'<span class="warn">{escape(restated)}</span>' if restated else ""
    return "".join(f"<span>{escape(note)}</span>" for note in said) + warning
