"""`presenting.words` and the sparkline, for templates."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from django import template
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from usage.presenting import charts, words
from usage.presenting.figures import Change

register = template.Library()

for function in (
    words.api_title,
    words.city,
    words.day_and_month,
    words.every,
    words.figure,
    words.glance,
    words.month_name,
    words.month_year,
    words.number,
    words.other_zone,
    words.signed,
    words.stretch,
    words.unheard,
    words.unit,
    words.vendors_month,
    charts.slot,
):
    register.filter(function.__name__, function)

register.simple_tag(charts.sparkline, name="sparkline")
register.simple_tag(words.certificate, name="certificate")
register.simple_tag(words.correction, name="correction")


@register.filter
def percent(change: Change) -> SafeString:
    """A change as an arrow and whole percent, with a sign for those who hear it; a dash where it can't be told."""
    if change.percent is None:
        return mark_safe("–")
    arrow, sign = ("▲", "+") if change.percent > 0 else ("▼", "−") if change.percent < 0 else ("", "")
    return format_html(
        '<span class="change{}"><span aria-hidden="true">{}</span><span class="hidden">{}</span> {}%</span>',
        " notable" if change.is_notable else "",
        arrow,
        sign,
        words.number(abs(change.percent)),
    )


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
    """The query that keeps a link in the page's month: empty where that would be chosen anyway."""
    months = context.get("months")
    return "" if months is None or months.is_default else f"?month={months.chosen:%Y-%m}"
