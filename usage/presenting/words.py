"""Figures, times and outcomes in the reader's language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from django.utils import formats
from django.utils.text import capfirst
from django.utils.translation import get_language, gettext_noop, ngettext
from django.utils.translation import gettext as _

from usage.models import (
    FAULT,
    GOOD,
    SUPERSEDED,
    TOKEN_UNREADABLE,
    Certificate,
    Correction,
    Feed,
    MonthlyUsage,
    Operation,
    Product,
)
from usage.wolkvox.catalogue import APIS
from usage.wolkvox.errors import OUTCOMES

from .comparing import Comparison

DURATION = "seconds"

MARKS = {",": "THOUSAND", ".": "DECIMAL"}
"""What Python writes between digits, and the format of a language that has its own."""

NEAR_MIDNIGHT = 5 * 60
"""Seconds by which a vendor's month may begin beside midnight without a word about it."""

# Figures

ONE, TENTH, HUNDREDTH = Decimal("1"), Decimal("0.1"), Decimal("0.01")


def number(value: Decimal | int) -> str:
    """With its decimals as far as they go: 1234.5000 is 1,234.5 and 1234.0000 is 1,234."""
    return numbers()(value)


def numbers() -> Callable[[Decimal | int], str]:
    """`number` for many: the reader's language is asked once."""
    return _numbers(get_language())


@cache
def _numbers(language: str | None) -> Callable[[Decimal | int], str]:
    marks = str.maketrans({name: formats.get_format(f"{mark}_SEPARATOR", language) for name, mark in MARKS.items()})

    def number(value: Decimal | int) -> str:
        return f"{Decimal(value).normalize():,f}".translate(marks)

    return number


def duration(seconds: Decimal) -> str:
    """Hours and minutes; under an hour minutes and seconds. The exact seconds are in the CSV."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    whole = int(seconds.quantize(Decimal(1), ROUND_HALF_UP))
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return _("%(hours)s h %(minutes)s min") % {"hours": number(hours), "minutes": f"{minutes:02}"}
    return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": f"{whole % 60:02}"}


def figure(value: Decimal, product: Product) -> str:
    """An amount of a product, without its unit unless it is a duration."""
    return figures()(value, product)


def figures() -> Callable[[Decimal, Product], str]:
    """`figure` for many."""
    number = numbers()
    return lambda value, product: duration(value) if product.unit == DURATION else number(value)


def unit(product: Product) -> str:
    """Empty for a duration, whose figures name their units."""
    return _(product.unit) if product.unit and product.unit != DURATION else ""


def unit_per_licence(product: Product) -> str:
    named = unit(product)
    return _("%(unit)s per licence") % {"unit": named} if named else _("per licence")


def amount(value: Decimal, product: Product) -> str:
    """A figure with its unit, for a sentence."""
    named = unit(product)
    shown = figure(value, product)
    return _("%(figure)s %(unit)s") % {"figure": shown, "unit": named} if named else shown


def rounded(value: Decimal) -> Decimal:
    """As many decimals as a glance can use: none from 10 on, one from 1 on, two below."""
    size = abs(value)
    return value.quantize(ONE if size >= 10 else TENTH if size >= 1 else HUNDREDTH, ROUND_HALF_UP)


def glance(value: Decimal, product: Product) -> str:
    """A quotient of figures, rounded."""
    return glances()(value, product)


def glances() -> Callable[[Decimal, Product], str]:
    """`glance` for many."""
    number = numbers()
    return lambda value, product: duration(value) if product.unit == DURATION else number(rounded(value))


def signed(value: Decimal) -> str:
    """With a plus, or a minus as wide as one."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{number(abs(value))}"


def api_title(name: str) -> str:
    return _(APIS[name].title)


# Days and times

ACCENTED = {"Asuncion": "Asunción", "Bogota": "Bogotá", "Panama": "Panamá", "Sao Paulo": "São Paulo"}
"""Zones are named in ASCII, their cities are not."""


def date_format(at: date, form: str) -> str:
    """Django's own, remembered: a page writes the same few days and times again and again."""
    return _written(at.replace(tzinfo=None) if isinstance(at, datetime) else at, form, get_language())


@lru_cache(maxsize=4096)
def _written(at: date, form: str, language: str | None) -> str:
    """Of a time as it is there: aware ones of two zones would be one to the cache."""
    return str(formats.date_format(at, form))


def month_year(month: date) -> str:
    """November 2026, noviembre de 2026."""
    return months_and_years()(month)


def months_and_years() -> Callable[[date], str]:
    """`month_year` for many."""
    language = get_language()
    return lambda month: _written(month, "YEAR_MONTH_FORMAT", language)


def month_name(month: date) -> str:
    return date_format(month, "F")


def against(comparison: Comparison) -> str:
    """The other month's name, with its year where that is another one: octubre, diciembre de 2025."""
    is_near = comparison.against.year == comparison.month.year
    return month_name(comparison.against) if is_near else month_year(comparison.against)


def weekday_and_day(day: date) -> str:
    """Mon 5 Oct, lun 5 oct."""
    return date_format(day, _("D j M"))


def day_and_month(day: date) -> str:
    return days_and_months()(day)


def days_and_months() -> Callable[[date], str]:
    """`day_and_month` for many."""
    form, language = _("j M"), get_language()
    return lambda day: _written(day, form, language)


def whole_day(day: date) -> str:
    """Sunday 22 November 2026, domingo 22 de noviembre de 2026."""
    return date_format(day, _("l j F Y"))


def moment(at: datetime, zone: ZoneInfo, now: datetime) -> str:
    """A time of the zone's today, else with its date: 14:35, 22 Nov 09:02, 31 Dec 2025 23:59."""
    return moments(zone, now)(at)


def dated(at: datetime, zone: ZoneInfo, now: datetime) -> str:
    """As `moment`, but today's with its date too: of what is to be read later."""
    return moments(zone, now, are_dated=True)(at)


def moments(zone: ZoneInfo, now: datetime, *, are_dated: bool = False) -> Callable[[datetime], str]:
    """`moment` for many times of one zone, or `dated`."""
    today, language = now.astimezone(zone).date(), get_language()
    of_the_year, of_another = _("j M H:i"), _("j M Y H:i")

    def moment(at: datetime) -> str:
        there = at.astimezone(zone).replace(tzinfo=None)
        is_todays = there.date() == today and not are_dated
        form = "H:i" if is_todays else of_the_year if there.year == today.year else of_another
        return _written(there, form, language)

    return moment


def city(zone: str) -> str:
    """The place that names a time zone: “Buenos Aires” of America/Argentina/Buenos_Aires."""
    name = zone.rsplit("/", 1)[-1].replace("_", " ")
    return ACCENTED.get(name, name)


def every(minutes: int) -> str:
    """How often a feed is read: every 5 minutes, every hour, every 3 hours, every day."""
    if minutes % 1440 == 0:
        return ngettext("every day", "every %(number)s days", minutes // 1440) % {"number": minutes // 1440}
    if minutes % 60 == 0:
        return ngettext("every hour", "every %(number)s hours", minutes // 60) % {"number": minutes // 60}
    return ngettext("every minute", "every %(number)s minutes", minutes) % {"number": minutes}


def stretch(seconds: int) -> str:
    """How long something lasted, roughly: for a person."""
    if seconds >= 2 * 86400:
        return _("%(days)s days") % {"days": number(round(seconds / 86400))}
    if seconds >= 3600:
        return _("%(hours)s h") % {"hours": number(rounded(Decimal(seconds) / Decimal(3600)))}
    return _("%(minutes)s min") % {"minutes": number(max(1, round(seconds / 60)))}


def disk_is_full() -> str:
    return _("The disk is nearly full: nothing is polled until there is room on it.")


def span(seconds: int) -> str:
    """A stretch of which seconds count: 39 s; from two minutes on as any other."""
    return _("%(seconds)s s") % {"seconds": number(seconds)} if seconds < 120 else stretch(seconds)


def unheard(seconds: int) -> str:
    """What a day's gaps come to."""
    return _("No answer for %(length)s") % {"length": stretch(seconds)}


def named_until(product: Product, day: date) -> str:
    """Of a product that the vendor names no more, while it names others."""
    if product.is_usage:
        said = _("The vendor named %(product)s until %(day)s only; if it has another name now, its use counts twice.")
    else:
        said = _("The vendor named %(product)s until %(day)s only; the figure is the last that it told.")
    return said % {"product": product.name, "day": day_and_month(day)}


# Closed months


def certificate(certificate: Certificate, product: Product, zone: ZoneInfo) -> str:
    """What a closed figure stands on, in a sentence. Of a gauge there is nothing that can have gone unseen."""
    there = certificate.last_good_poll_at.astimezone(zone)
    parts = {"time": date_format(there, _("j M H:i:s")), "span": span(certificate.seconds_unheard)}
    if not product.is_usage:
        return _("The last good poll was %(time)s, %(span)s before the month ended.") % parts
    if certificate.most_unseen is None:
        return (
            _("The last good poll was %(time)s, %(span)s before the month ended; what was used since is not known.")
            % parts
        )
    parts |= {"most": bound(certificate.most_unseen, product), "pace": pace(certificate, product)}
    if certificate.seconds_at_midnights:
        parts |= {"midnights": span(certificate.seconds_at_midnights)}
        return (
            _(
                "The last good poll was %(time)s, %(span)s before the month ended. The vendor counts each day anew: "
                "what was used after the last poll of any other day, in %(midnights)s in all, is in no figure. At most "
                "%(most)s can have gone unseen in both, at the quickest pace known: %(pace)s."
            )
            % parts
        )
    return (
        _(
            "The last good poll was %(time)s, %(span)s before the month ended; at most %(most)s can have gone unseen "
            "since, at the quickest pace known: %(pace)s."
        )
        % parts
    )


def bound(most: Decimal, product: Product) -> str:
    """Rounded up to a whole amount, as a bound may be. Units are plurals, so one goes without."""
    whole = most.to_integral_value(ROUND_CEILING)
    return figure(whole, product) if whole == 1 else amount(whole, product)


def pace(certificate: Certificate, product: Product) -> str:
    """The busiest stretch of the day before it: 15 interactions in 5 min."""
    name = certificate.get_pace_display()
    if certificate.pace_items is None or not certificate.pace_seconds:
        return name
    parts = {"name": name, "items": amount(certificate.pace_items, product), "span": span(certificate.pace_seconds)}
    return _("%(name)s (%(items)s in %(span)s)") % parts


def correction(correction: Correction, usage: MonthlyUsage, product: Product, zone: ZoneInfo) -> str:
    said = _("On %(day)s the vendor said %(said)s instead of %(closed)s; the closed figure stands.")
    if correction.items == usage.items:
        said = _("On %(day)s the vendor said %(closed)s again, as it is closed.")
    return said % {
        "day": date_format(correction.seen_at.astimezone(zone), _("j F")),
        "said": figure(correction.items, product),
        "closed": figure(usage.items, product),
    }


# How an operation behaves


def contrary(feed: Feed) -> str:
    """That a feed's figures behave otherwise than it is set, and what to do about it."""
    other = Feed.Counts.MONTH if feed.counts == Feed.Counts.DAY else Feed.Counts.DAY
    return _(
        "At the last %(number)s midnights its figures behaved as if they counted %(other)s, not %(set)s. "
        "If they do, an administrator sets “figures count” to “%(other)s”."
    ) % {"number": feed.contrary_midnights, "other": other.label, "set": feed.get_counts_display()}


def vendors_month(operation: Operation) -> str:
    """When the vendor was seen to begin its months, to whole minutes around it; empty until that was seen."""
    if operation.reset_after is None or operation.reset_before is None:
        return ""
    return _("The vendor's month was seen to begin between %(after)s and %(before)s, %(city)s time.") % {
        "after": clock(operation.reset_after // 60),
        "before": clock(-(-operation.reset_before // 60)),
        "city": city(operation.time_zone),
    }


def other_zone(operation: Operation) -> str:
    """A warning where the vendor's months begin away from the operation's midnight; else empty."""
    if operation.reset_after is None or operation.reset_before is None:
        return ""
    if operation.reset_after - NEAR_MIDNIGHT <= 0 <= operation.reset_before + NEAR_MIDNIGHT:
        return ""
    return _("Midnight is not in between: the time zone is another one, or the vendor's months don't begin there.")


def another_name(operation: Operation) -> str:
    """A warning where the vendor answers under another name than before; else empty. For an administrator."""
    if not operation.other_vendor_name:
        return ""
    return _(
        "The vendor calls this operation “%(other)s”, and called it “%(name)s” before. "
        "The token may be another operation's; accept the name if it is right."
    ) % {"name": operation.vendor_name, "other": operation.other_vendor_name}


def skew(seconds: int) -> str:
    """By how much the vendor's clock is ahead of ours, or behind it where that is negative."""
    if seconds == 0:
        return _("The vendor's clock agrees with this server's.")
    said = _("The vendor's clock is %(time)s ahead of this server's.")
    if seconds < 0:
        said = _("The vendor's clock is %(time)s behind this server's.")
    return said % {"time": span(abs(seconds))}


def clock(minutes: int) -> str:
    """Minutes from midnight as a time of day; what is before midnight, of the evening before."""
    hours, minute = divmod(minutes % 1440, 60)
    return f"{hours:02}:{minute:02}"


# What the words mean


_MEANINGS = {
    "as-of": (gettext_noop("As of"), gettext_noop("When the last good poll behind the figure was.")),
    "per-licence": (
        gettext_noop("Use per licence"),
        gettext_noop("The month to date, divided by the licences as last told."),
    ),
    "pace": (
        gettext_noop("A month's pace"),
        gettext_noop(
            "What the month used on average on each day of the week. The whole days of another month are held against "
            "it, a Sunday against Sundays. The same dates, compared elsewhere on the page, may have one Sunday more."
        ),
    ),
    "unfinished": (gettext_noop("Unfinished"), gettext_noop("The day still ran when it was last heard of.")),
    "no-answer": (
        gettext_noop("No answer"),
        gettext_noop(
            "A stretch of more than two and a half intervals without a good poll. A late poll or two is no news."
        ),
    ),
    "reckoned": (
        gettext_noop("Reckoned"),
        gettext_noop(
            "No poll saw the day end. What was used in the stretch without an answer is spread over its days by time, "
            "and their sum is exact. Where the vendor counts each day anew, nothing is spread: the day lacks what it "
            "used after its last poll."
        ),
    ),
    "restated": (
        gettext_noop("Restated"),
        gettext_noop(
            "The vendor lowered a month-to-date figure within its month. Both figures are kept; the later one counts."
        ),
    ),
    "held": (
        gettext_noop("Held"),
        gettext_noop("Answers around a month's end wait until it is certain which of the two months they speak of."),
    ),
    "open": (gettext_noop("Open"), gettext_noop("The month runs, and its figures follow each good poll.")),
    "closing": (
        gettext_noop("Closing"),
        gettext_noop("The month is over; its last figures are being waited for, a day at the most."),
    ),
    "closed": (
        gettext_noop("Closed"),
        gettext_noop(
            "The figure never changes any more. What the vendor says of the month later stands beside it, as a "
            "correction."
        ),
    ),
    "unseen": (
        gettext_noop("Gone unseen"),
        gettext_noop(
            "Use between the last good poll and the month's end can't be asked for afterwards. At the quickest pace "
            "known it was no more than is said."
        ),
    ),
}


def meanings() -> list[tuple[str, str, str]]:
    """The words of the pages that need one: a short name, the word, and what it means."""
    return [(name, _(word), _(meaning)) for name, (word, meaning) in _MEANINGS.items()]


# Outcomes


@dataclass(frozen=True)
class Words:
    """An outcome for people. It `passes` by itself or it doesn't; None where nothing is wrong, or that isn't known."""

    title: str
    advice: str = ""
    passes: bool | None = None

    @property
    def waits(self) -> bool:
        """It stays until an administrator acts."""
        return self.passes is False

    @property
    def outlook(self) -> str:
        """Whether it passes by itself, in a sentence."""
        if self.passes is None:
            return ""
        return _("It usually passes by itself.") if self.passes else _("An administrator has to act.")

    @property
    def explained(self) -> str:
        """Whether it passes by itself, and what to do."""
        return f"{self.outlook} {self.advice}".strip()


_OWN = {
    GOOD: Words(gettext_noop("Good")),
    TOKEN_UNREADABLE: Words(
        gettext_noop("Token can't be decrypted"),
        gettext_noop("Bring back the key in TOKEN_ENCRYPTION_KEYS that encrypted it, or paste the token again."),
        passes=False,
    ),
    SUPERSEDED: Words(
        gettext_noop("Changed during the call"),
        gettext_noop("The operation has a new token or server, so nothing of the old one's answer was used."),
        passes=True,
    ),
    FAULT: Words(
        gettext_noop("Fault of ours"),
        gettext_noop("Nothing of the answer was used; if it lasts, tell the developers: the log has the details."),
        passes=True,
    ),
}


def of_outcome(outcome: str) -> Words:
    """What a poll's outcome means, whether it passes by itself, and what to do about it."""
    if outcome in _OWN:
        words = _OWN[outcome]
    elif outcome in OUTCOMES:
        error = OUTCOMES[outcome]
        words = Words(error.title, error.advice, error.passes)
    else:
        return Words(capfirst(outcome.replace("_", " ")))
    return Words(_(words.title), _(words.advice) if words.advice else "", words.passes)


# Reports


_COLUMNS = {
    "month": gettext_noop("The month, such as 2026-11."),
    "day": gettext_noop("The day, in the operation's time zone."),
    "operation": gettext_noop("The operation's short name, as in the address of its page."),
    "api": gettext_noop("The vendor's API that told the figure."),
    "product": gettext_noop("What was used, or licensed."),
    "kind": gettext_noop("usage counts up through the month; licences and active count are as last told."),
    "monthly.items": gettext_noop("Of usage, the month to date; of licences, the last figure."),
    "daily.items": gettext_noop(
        "Of usage, what the day used: empty where the day before is unknown. Of licences, the day's last figure."
    ),
    "snapshots.items": gettext_noop("The figure, as the vendor told it."),
    "highest": gettext_noop("Of usage, the busiest whole day; of licences, the highest figure."),
    "lowest": gettext_noop("Of usage, the quietest whole day; of licences, the lowest figure."),
    "month_to_date": gettext_noop("What the month had used by the end of that day."),
    "monthly.licences": gettext_noop("The month's last figure of the licences; empty where none is known."),
    "daily.licences": gettext_noop("That day's figure of the licences; empty where none is known."),
    "items_per_licence": gettext_noop("Items divided by licences."),
    "monthly.state": gettext_noop("open, closing or closed; a closed month never changes."),
    "daily.state": gettext_noop(
        "gap: what the day used is unknown. unfinished: the day was not over. reckoned: its share of what a stretch "
        "without an answer used, or, where the vendor counts each day anew, what it had used before one. restated: a "
        "figure fell. complete: none of these."
    ),
    "as_of": gettext_noop("When the last good poll behind the figure was."),
    "gap_seconds": gettext_noop("Seconds of the month without a good poll, up to now where that still lasts."),
    "seconds_unheard": gettext_noop(
        "Of a closed month, the seconds from its last good poll to its end, as the vendor ended it; where the vendor "
        "counts each day anew, those from the last polls of its other days to their ends too."
    ),
    "most_unseen": gettext_noop("The most that can have been used in them; empty where no pace is known."),
    "unseen_reckoned_by": gettext_noop(
        "What most_unseen was reckoned by, such as mean 126305 in 2678339 s: items and seconds of the month's mean "
        "(mean), or of the busiest stretch of the last day (busiest); empty where no pace is known."
    ),
    "answer": gettext_noop("The SHA-256 of the answer that the closed figure stands on."),
    "correction": gettext_noop(
        "The items that the vendor last told for the month after its closing; empty where it told none. "
        "The closed figure stands."
    ),
    "vendor_date": gettext_noop("The date that the vendor wrote, as it came."),
    "first_seen": gettext_noop("When the vendor was first seen telling this figure."),
    "last_seen": gettext_noop("When it was last seen telling it."),
    "poll": gettext_noop("The number of the poll that first saw it."),
}


@dataclass(frozen=True)
class Report:
    """A CSV for people: what a row of it is, and its columns with what each means."""

    name: str
    title: str
    rows: str
    columns: list[tuple[str, str]]


def report(name: str, columns: tuple[str, ...]) -> Report:
    title, rows = {
        "monthly": (_("By month"), _("One row for each product of each operation: the month's totals.")),
        "daily": (_("By day"), _("One row for each day of each product of each operation.")),
        "snapshots": (
            _("As the vendor told it"),
            _("One row for each figure that the vendor showed, and from when until when it showed it."),
        ),
    }[name]
    meanings = [(column, _(_COLUMNS.get(f"{name}.{column}") or _COLUMNS[column])) for column in columns]
    return Report(name, title, rows, meanings)
