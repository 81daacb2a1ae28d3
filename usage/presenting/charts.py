"""Rows -> Chart.js data, and the sparklines that need no script. Labels are in the reader's language."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from usage.models import Product

from . import words
from .comparing import Amounts, length_of
from .figures import Line, ProductMonth
from .operation import Card, OperationPage
from .years import Year, months_of

Chart = dict[str, Any]

LOOKS = 16
"""Of eight colours and eight marks: the ninth has the first one's colour and another mark."""

SERIES = 8
"""As many lines as can be told apart; what is left stands in the table."""

DAYS, HEIGHT, PITCH = 31, 24, 4
BARS = [[f"M{day * PITCH - 2} {HEIGHT}v-{height or 1}" for height in range(HEIGHT + 1)] for day in range(1, DAYS + 1)]
"""A sparkline's bars by day and height."""


def slot(product: Product) -> int:
    """A product's place among the looks: the same on every page."""
    return (product.pk - 1) % LOOKS + 1


def sparkline(line: Line) -> SafeString:
    """Bars day by day, the reckoned and the unfinished ones in paler paths. A day of nothing is a tick, an unknown
    one is bare.
    """
    return _sparkline(line.items_by_day, line.reckoned_days, line.unfinished, line.product.is_usage)


@lru_cache(maxsize=4096)
def _sparkline(items_by_day: str, reckoned_days: str, unfinished: int | None, is_usage: bool) -> SafeString:
    bars = _bars(json.loads(items_by_day))
    today = _taken(bars, [unfinished] if unfinished else [])
    paler = {"reckoned": _taken(bars, json.loads(reckoned_days)), "today": today}
    paths = [f'<path class="{look}" d="{path}"/>' for look, path in paler.items() if path]
    return mark_safe(  # noqa: S308  nothing but numbers
        f'<svg class="spark{"" if is_usage else " gauge"}" viewBox="0 0 124 24" aria-hidden="true">'
        f'<path d="{"".join(bars)}"/>{"".join(paths)}</svg>'
    )


def _bars(by_day: Sequence[str | None]) -> list[str]:
    """The highest as high as there is room; empty where nothing is known."""
    days = [None if items is None else float(items) for items in by_day]
    highest = max(filter(None, days), default=0)
    scale = HEIGHT / highest if highest > 0 else 0
    return [
        "" if items is None else bars[height] if (height := round(items * scale)) > 0 else bars[0]
        for bars, items in zip(BARS, days, strict=False)
    ]


def _taken(bars: list[str], days: Iterable[int]) -> str:
    """The bars of these days, taken out of the others."""
    path = ""
    for day in days:
        if day <= len(bars):
            path += bars[day - 1]
            bars[day - 1] = ""
    return path


# One operation


def operation_charts(page: OperationPage) -> dict[str, Chart]:
    """By the id of their canvas: two for each usage product, and one of all of them where there are several."""
    charts = {}
    if together := side_by_side([card.row for card in page.cards]):
        charts["products"] = together
    for card in page.cards:
        charts[f"daily-{card.row.product.pk}"] = daily(card.row)
        charts[f"total-{card.row.product.pk}"] = month_to_date(card)
    return charts


def side_by_side(rows: Sequence[ProductMonth]) -> Chart | None:
    """A line for each product, in percent of what the other month came to: so that calls and minutes share an axis."""
    drawn = [(row, whole) for row in lines_of(rows) if (whole := row.whole_against)]
    if len(drawn) < 2:
        return None
    series = [
        {
            "role": "operation",
            "label": row.product.name,
            "slot": slot(row.product),
            "unfinished": row.unfinished,
            "data": _percents(row.to_date, whole),
            "reckoned": row.usage.reckoned_days,
            "leads": leads(row),
        }
        for row, whole in drawn
    ]
    return {
        "type": "line",
        **_days_of(drawn[0][0].usage.month),
        "series": series,
        **_labels(),
        "unit": "%",
        "isDuration": False,
        "isPerLicence": drawn[0][0].is_per_licence,
    }


def _percents(amounts: Amounts, whole: Decimal) -> list[float | None]:
    of = 100 / float(whole)
    return [None if amount is None else round(float(amount) * of, 1) for amount in amounts]


def daily(row: ProductMonth) -> Chart:
    """A bar for each day, and the licences as a step on an axis of their own; by weekday, the other month too."""
    month = row.usage.month
    series = [
        {
            "role": "items",
            "label": _("Use in a day"),
            "data": _filled(row.shown.in_day, month, row.product),
            "reckoned": row.usage.reckoned_days,
            "leads": leads(row),
        }
    ]
    if row.beside and row.comparison.by_weekday:
        series.append(_before(row, row.beside.in_day))
    if row.licences:
        by_day = _filled(row.licences.by_day, month)
        series.append({"role": "licences", "label": _("Active licences"), "data": by_day})
    return _chart("bar", row, series, unknown=row.unknown_days)


def month_to_date(card: Card) -> Chart:
    """This month's running total, and the other month's behind it."""
    row = card.row
    month = row.usage.month
    series = [
        {
            "role": "total",
            "label": words.month_name(month),
            "data": _filled(row.shown.to_date, month, row.product),
            "reckoned": row.usage.reckoned_days,
            "leads": leads(row),
        }
    ]
    if row.beside:
        series.append(_before(row, row.beside.to_date))
    return _chart("line", row, series, unknown=row.missing)


def _before(row: ProductMonth, beside: Amounts) -> Chart:
    """The month that a product is held against; by weekday, each point says which day it is."""
    held = row.comparison
    reckoned = row.before.reckoned_days if row.before else []
    series: Chart = {
        "role": "before",
        "label": words.against(held),
        "data": _filled(beside, held.month, row.product),
        "reckoned": held.days_beside(reckoned),
    }
    if held.by_weekday:
        days = [held.day_beside(day) for day in range(1, held.length + 1)]
        series["names"] = [day and words.weekday_and_day(day) for day in days]
    return series


def _chart(kind: str, row: ProductMonth, series: list[Chart], *, unknown: list[int]) -> Chart:
    return {
        "type": kind,
        **_days_of(row.usage.month, by_weekday=row.comparison.by_weekday),
        "series": series,
        "unfinished": row.unfinished,
        "unknown": unknown,
        "gaps": [[round(began, 4), round(ended, 4)] for began, ended in row.bands],
        "notes": {str(day): words.unheard(seconds) for day, seconds in row.unheard.items()},
        **_labels(),
        **_scale_of(row.product, is_per_licence=row.is_per_licence),
    }


# One year


def year_charts(page: Year) -> dict[str, Chart]:
    """By the id of their canvas: a bar for each month of each usage product, paler until the month is closed."""
    months = months_of(page.number)
    begun = {row.month: row.usages for row in page.months}
    charts = {}
    for place, product in enumerate(page.products):
        if not product.is_usage:
            continue
        usages = [begun[month][place] if month in begun else None for month in months]
        scale = 3600 if product.unit == words.DURATION else 1
        charts[f"year-{product.pk}"] = {
            "type": "bar",
            "labels": [words.date_format(month, "M") for month in months],
            "titles": [words.month_year(month) for month in months],
            "series": [
                {
                    "role": "items",
                    "label": _("Use in the month"),
                    "data": [usage and float(usage.items / scale) for usage in usages],
                    "leads": f"{page.operation.get_absolute_url()}?month={page.number:04}-{{}}",
                }
            ],
            "unfinished": [usage.month.month for usage in usages if usage and not usage.is_closed],
            "unfinishedLabel": _("not closed yet"),
            "unknown": [
                month.month for month, usage in zip(months, usages, strict=True) if month in begun and not usage
            ],
            **_scale_of(product),
        }
    return charts


# One product


def lines_of(rows: Sequence[ProductMonth]) -> Sequence[ProductMonth]:
    """Those that are drawn: the largest, and per licence only those with licences, if there are any."""
    return ([row for row in rows if row.is_per_licence] or rows)[:SERIES]


def comparison(rows: Sequence[ProductMonth]) -> Chart:
    """A line for each of these operations: the month to date, or a gauge's figure as a step."""
    month, product = rows[0].usage.month, rows[0].product
    series = [
        {
            "role": "operation" if product.is_usage else "gauge",
            "label": row.operation.name,
            "slot": number,
            "unfinished": row.unfinished,
            "data": _filled(row.to_date if product.is_usage else row.shown.in_day, month, product),
            "reckoned": row.usage.reckoned_days,
            "leads": leads(row),
        }
        for number, row in enumerate(rows, start=1)
    ]
    scale = _scale_of(product, is_per_licence=rows[0].is_per_licence)
    return {"type": "line", **_days_of(month), "series": series, **_labels(), **scale}


# Parts


def _days_of(month: date, *, by_weekday: bool = False) -> Chart:
    """The days of an axis; by weekday, with theirs below."""
    numbers, titles, weekdays = _names_of(month, _("l j F"), get_language())
    labels = list(zip(numbers, weekdays, strict=True)) if by_weekday else numbers
    return {"labels": labels, "titles": titles}


@lru_cache
def _names_of(month: date, form: str, language: str | None) -> tuple[list[str], list[str], list[str]]:
    """A month's days as an axis has them, in full, and their weekdays in brief."""
    days = [month.replace(day=number) for number in range(1, length_of(month) + 1)]
    numbers, titles, weekdays = ([words.date_format(day, its) for day in days] for its in ("j", form, "D"))
    return numbers, titles, weekdays


def leads(row: ProductMonth) -> str:
    """A day's address, with braces where its number comes."""
    return _address(row.operation.slug, row.product.pk, row.usage.month)


@lru_cache(maxsize=4096)
def _address(slug: str, product: int, month: date) -> str:
    return reverse("day", args=[slug, product, month]).removesuffix("01/") + "{}/"


def _labels() -> Chart:
    """What a tooltip says of a day that is not like the others."""
    return {"unfinishedLabel": _("unfinished"), "reckonedLabel": _("reckoned")}


def _scale_of(product: Product, *, is_per_licence: bool = False) -> Chart:
    unit = words.unit_per_licence(product) if is_per_licence else words.unit(product)
    return {"unit": unit, "isDuration": product.unit == words.DURATION}


def _filled(values: Iterable[Decimal | None], month: date, product: Product | None = None) -> list[float | None]:
    """As long as the month, None where nothing is known; durations in hours, which make round axes."""
    scale = 3600 if product and product.unit == words.DURATION else 1
    numbers = [None if value is None else float(value / scale) for value in values][: length_of(month)]
    return numbers + [None] * (length_of(month) - len(numbers))
