"""Rows -> Chart.js data, and the sparklines that need no script. Labels are in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from usage.models import Product

from . import words
from .figures import ProductMonth, amounts, length_of
from .queries import Card, OperationPage

Chart = dict[str, Any]

COLOURS = 8
SERIES = 8
"""As many lines as can be told apart; what is left stands in the table."""

HEIGHT, PITCH = 24, 4


def slot(product: Product) -> int:
    """A product's place among the colours: the same on every page."""
    return (product.pk - 1) % COLOURS + 1


def sparkline(row: ProductMonth) -> SafeString:
    """Bars day by day, the reckoned and the unfinished ones in paler paths. A day of nothing is a tick, an unknown
    one is bare.
    """
    days = row.usage.items_by_day
    highest = max((float(items) for items in days if items is not None), default=0) or 1
    paths: dict[str, list[str]] = {"": [], "reckoned": [], "today": []}
    for number, items in enumerate(days, start=1):
        if items is None:
            continue
        height = max(1, round(float(items) / highest * HEIGHT))
        look = "today" if number == row.unfinished else "reckoned" if number in row.usage.reckoned_days else ""
        paths[look].append(f"M{number * PITCH - 2} {HEIGHT}v-{height}")
    return format_html(
        '<svg class="spark{}" viewBox="0 0 124 24" aria-hidden="true"><path d="{}"/>{}</svg>',
        "" if row.product.is_usage else " gauge",
        "".join(paths.pop("")),
        format_html_join("", '<path class="{}" d="{}"/>', ((look, "".join(d)) for look, d in paths.items() if d)),
    )


# One operation


def operation_charts(page: OperationPage) -> dict[str, Chart]:
    """By the id of their canvas: two for each usage product."""
    charts = {}
    for card in page.cards:
        charts[f"daily-{card.row.product.pk}"] = daily(card.row)
        charts[f"total-{card.row.product.pk}"] = month_to_date(card)
    return charts


def daily(row: ProductMonth) -> Chart:
    """A bar for each day, and the licences as a step on an axis of their own."""
    month = row.usage.month
    series = [
        {
            "role": "items",
            "label": _("Use in a day"),
            "data": _filled(amounts(row.usage.items_by_day), month, row.product),
            "reckoned": row.usage.reckoned_days,
        }
    ]
    if row.licences:
        by_day = _filled(row.licences.by_day, month)
        series.append({"role": "licences", "label": _("Active licences"), "data": by_day})
    return _chart("bar", row, series, unknown=row.unknown_days)


def month_to_date(card: Card) -> Chart:
    """This month's running total, and last month's behind it."""
    row = card.row
    month = row.usage.month
    series = [
        {
            "role": "total",
            "label": words.month_name(month),
            "data": _filled(amounts(row.usage.to_date_by_day), month, row.product),
            "reckoned": row.usage.reckoned_days,
        }
    ]
    if row.before:
        series.append(
            {
                "role": "before",
                "label": words.month_name(row.before.month),
                "data": _filled(amounts(row.before.to_date_by_day), month, row.product),
                "reckoned": row.before.reckoned_days,
            }
        )
    return _chart("line", row, series, unknown=row.missing)


def _chart(kind: str, row: ProductMonth, series: list[Chart], *, unknown: list[int]) -> Chart:
    return {
        "type": kind,
        **_days_of(row.usage.month),
        "series": series,
        "unfinished": row.unfinished,
        "unknown": unknown,
        "gaps": [[round(began, 4), round(ended, 4)] for began, ended in row.bands],
        "notes": {str(day): words.unheard(seconds) for day, seconds in row.unheard.items()},
        **_labels(),
        **_scale_of(row.product),
    }


# One product


def comparison(rows: Sequence[ProductMonth]) -> Chart:
    """A line for each of the largest operations: the month to date, or a gauge's figure as a step."""
    month, product = rows[0].usage.month, rows[0].product
    role = "operation" if product.is_usage else "gauge"
    series = [
        {
            "role": role,
            "label": row.operation.name,
            "slot": number,
            "unfinished": row.unfinished,
            "data": _filled(
                amounts(row.usage.to_date_by_day if product.is_usage else row.usage.items_by_day), month, product
            ),
            "reckoned": row.usage.reckoned_days,
        }
        for number, row in enumerate(rows[:SERIES], start=1)
    ]
    return {"type": "line", **_days_of(month), "series": series, **_labels(), **_scale_of(product)}


# Parts


def _days_of(month: date) -> Chart:
    days = [month.replace(day=number) for number in range(1, length_of(month) + 1)]
    return {
        "labels": [str(day.day) for day in days],
        "titles": [date_format(day, _("l j F")) for day in days],
    }


def _labels() -> Chart:
    """What a tooltip says of a day that is not like the others."""
    return {"unfinishedLabel": _("unfinished"), "reckonedLabel": _("reckoned")}


def _scale_of(product: Product) -> Chart:
    is_duration = product.unit == words.DURATION
    return {"unit": words.unit(product), "isDuration": is_duration}


def _filled(values: Iterable[Decimal | None], month: date, product: Product | None = None) -> list[float | None]:
    """As long as the month, None where nothing is known; durations in hours, which make round axes."""
    scale = 3600 if product and product.unit == words.DURATION else 1
    numbers = [None if value is None else float(value / scale) for value in values][: length_of(month)]
    return numbers + [None] * (length_of(month) - len(numbers))
