"""`presenting.words` and the sparkline, for templates."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from django import template
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from usage.presenting import charts, tables, words
from usage.presenting.comparing import Comparison
from usage.presenting.figures import Line
from usage.presenting.filters import Overview
from usage.presenting.operation import Card

register = template.Library()

for function in (
    words.against,
    words.api_title,
    words.city,
    words.day_and_month,
    words.every,
    words.figure,
    words.glance,
    words.month_name,
    words.month_year,
    words.named_until,
    words.number,
    words.other_zone,
    words.signed,
    words.span,
    words.stretch,
    words.unheard,
    words.unit,
    words.vendors_month,
    words.weekday_and_day,
    words.whole_day,
    charts.slot,
    tables.percent,
):
    register.filter(function.__name__, function)

register.simple_tag(charts.sparkline, name="sparkline")
register.simple_tag(words.certificate, name="certificate")
register.simple_tag(words.correction, name="correction")
register.simple_tag(tables.product_rows, name="product_rows")


@register.filter
def outcome(name: str) -> str:
    return words.of_outcome(name).title


@register.filter
def month_param(month: date) -> str:
    """As it stands in addresses."""
    return f"{month:%Y-%m}"


@register.simple_tag(takes_context=True)
def moment(context: Context, at: datetime, zone: ZoneInfo) -> str:
    """A time in a zone, as seen from the page's `now`."""
    return words.moment(at, zone, context["now"])


@register.simple_tag(takes_context=True)
def dated(context: Context, at: datetime, zone: ZoneInfo) -> str:
    """A time in a zone with its date, without the year of the page's `now`."""
    return words.dated(at, zone, context["now"])


@register.simple_tag(takes_context=True)
def in_month(context: Context) -> str:
    """The query that keeps a link in the page's month: empty where any page would choose it, wherever its operation
    is on earth.
    """
    months = context.get("months")
    if months is None:
        return ""
    today = {(context["now"] + timedelta(hours=hours)).astimezone(UTC).date().replace(day=1) for hours in (-12, 14)}
    return "" if today == {months.chosen} else f"?month={months.chosen:%Y-%m}"


# What the words mean


@register.simple_tag
def word(name: str, text: str, look: str = "word", label: str = "") -> SafeString:
    """A word that says what it means when it is clicked; `name` is one of `words.meanings`."""
    return format_html(
        '<button type="button" class="{}" popovertarget="word-{}" aria-label="{}">{}</button>',
        look,
        name,
        label or text,
        text,
    )


register.simple_tag(words.meanings, name="meanings")


# Long lists


@register.simple_tag(takes_context=True)
def month_links(context: Context) -> SafeString:
    return tables.month_links(context["months"], context["request"].GET)


@register.simple_tag(takes_context=True)
def month_options(context: Context, comparison: Comparison) -> SafeString:
    return tables.month_options(context["months"], comparison)


@register.simple_tag
def figure_cells(line: Line) -> SafeString:
    return tables.figure_cells()(line)


@register.simple_tag(takes_context=True)
def overview_bodies(context: Context, overview: Overview) -> SafeString:
    if overview.is_folded:
        return tables.overview_lines(overview, in_month(context), context["now"])
    month = words.month_year(context["months"].chosen)
    return tables.overview_bodies(overview, month, in_month(context), context["now"])


@register.simple_tag(takes_context=True)
def day_rows(context: Context, card: Card) -> SafeString:
    return tables.day_rows(card, context["now"])
