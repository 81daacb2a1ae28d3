"""The operations as the vendor knows them, and their true figures at any time.

Everything follows from the seed, the operation and the time, so that a run can be told again. Amounts are whole
numbers of ten-thousandths: no truth is ever rounded.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from random import Random
from zoneinfo import ZoneInfo

from usage.wolkvox.catalogue import APIS, Kind

UNIT = 10_000
LICENCES = "interaction_licenses"


class Style(Enum):
    """How an operation's answers are written."""

    UNDATED = ""
    DATED = "%Y-%m-%d"
    TIMED = "%Y-%m-%d %H:%M:%S"
    COMPACT = "%Y%m%d"
    MONTH = "%Y-%m"
    MONTH_FIRST = "%m-%Y"
    ROW_A_DAY = "rows of each day of the month so far"
    DAY_COUNTER = "the day's own count, dated"
    UNDATED_DAY_COUNTER = "the day's own count, undated"

    @property
    def counts_day(self) -> bool:
        return self in (Style.DAY_COUNTER, Style.UNDATED_DAY_COUNTER)

    @property
    def names_month(self) -> bool:
        return self not in (Style.UNDATED, Style.UNDATED_DAY_COUNTER)

    def date_of(self, local: datetime) -> str:
        if not self.names_month:
            return ""
        return local.strftime("%Y-%m-%d" if self in (Style.ROW_A_DAY, Style.DAY_COUNTER) else self.value)


STYLES = (
    Style.UNDATED,
    Style.DATED,
    Style.ROW_A_DAY,
    Style.DAY_COUNTER,
    Style.MONTH,
    Style.UNDATED,
    Style.UNDATED_DAY_COUNTER,
    Style.TIMED,
    Style.UNDATED,
    Style.COMPACT,
    Style.UNDATED,
    Style.MONTH_FIRST,
)
ZONES = ("America/Bogota", "America/Bogota", "America/Lima", "America/Mexico_City", "America/Santiago", "Europe/Madrid")
USAGE_APIS = ("interactions", "ivr_minutes", "tts_chars")
INTERVALS = (180, 180, 1440, 720, 60, 1440, 180, 1440, 1440, 1440, 720, 1440)


@dataclass(frozen=True)
class Product:
    description: str
    daily: int  # ten-thousandths on a plain day
    is_whole: bool


@dataclass(frozen=True)
class Account:
    """An operation at the vendor. Its days and months begin at midnight in `vendor_zone`, whatever `zone` says."""

    number: int
    name: str
    token: str
    server: str
    zone: ZoneInfo
    vendor_zone: timezone
    style: Style
    api: str
    interval: int
    skew: timedelta
    has_licences: bool
    quota: int
    products: tuple[Product, ...]

    @property
    def apis(self) -> dict[str, int]:
        """What is polled, and every how many minutes."""
        return {self.api: self.interval} | ({LICENCES: 1440} if self.has_licences else {})

    def local(self, at: datetime) -> datetime:
        return at.astimezone(self.vendor_zone)


def accounts(seed: int, count: int) -> list[Account]:
    return [account(seed, number) for number in range(count)]


def account(seed: int, number: int) -> Account:
    chance = Random(f"{seed} account {number}")
    style, zone = STYLES[number % len(STYLES)], ZoneInfo(ZONES[number % len(ZONES)])
    reset = timedelta() if number % 5 == 4 or style is Style.UNDATED_DAY_COUNTER else some_reset(chance, number)
    winter = datetime(2024, 1 if zone.key.startswith("Europe") else 7, 1, tzinfo=zone)
    interval = INTERVALS[number % len(INTERVALS)]
    size = chance.choice((3, 40, 900)) if not style.counts_day else 200_000_000
    products = (
        Product("Email", 10 * size * UNIT, is_whole=False),
        Product("Facebook Messenger", 4 * size * UNIT, is_whole=True),
        *([Product("X (Twitter)", 5 * UNIT, is_whole=True)] if number % 3 == 0 else []),
    )
    return Account(
        number=number,
        name=f"Operación {number:02}",
        token=some_token(seed, number),
        server=f"{number % 7:04}",
        zone=zone,
        vendor_zone=timezone((winter.utcoffset() or timedelta()) - reset),
        style=style,
        api=USAGE_APIS[number % len(USAGE_APIS)],
        interval=interval,
        skew=timedelta() if style is Style.UNDATED_DAY_COUNTER else some_skew(chance, number),
        has_licences=number % 3 == 0,
        quota=20 if interval == 60 else 10_000,  # less than the interval takes
        products=products,
    )


def some_token(seed: int, number: int) -> str:
    """52 hex digits, as the vendor's are; every fourth is of base64, whose signs JSON may escape."""
    digest = sha256(f"{seed} token {number}".encode())
    if number % 4 != 2:
        return digest.hexdigest()[:52]
    text = b64encode(digest.digest()).decode()
    return f"{text[:16]}/{text[16:32]}+{text[32:]}"


def some_reset(chance: Random, number: int) -> timedelta:
    """How long after the configured midnight the vendor's own comes: up to 6 h, one of them taken by summer time.

    Every fourth is early: that is what an undated figure of the evening must not be mistaken in.
    """
    minutes = chance.randint(-6 * 60, 5 * 60)
    return timedelta(minutes=-max(30, abs(minutes)) if number % 4 == 0 else minutes)


def some_skew(chance: Random, number: int) -> timedelta:
    """How far the vendor's clock is ahead of ours; behind it where its midnight is early, lest two errors agree."""
    seconds = chance.randint(-120, 120)
    return timedelta(seconds=-abs(seconds) if number % 4 == 0 else seconds)


# Figures


@lru_cache(maxsize=200_000)
def day_total(account: Account, product: Product, day: date) -> int:
    chance = Random(f"{account.token} {product.description} {day}")
    total = int(product.daily * chance.uniform(0.5, 1.5) * (0.2 if day.weekday() == 6 else 1))
    if account.style is Style.UNDATED_DAY_COUNTER:  # a small day before a big one would show no fall
        total = int(product.daily * chance.uniform(0.9, 1.1))
    return total // UNIT * UNIT if product.is_whole else total


def of_day(account: Account, product: Product, day: date, local: datetime) -> int:
    """What a day counts at a local time: all of a day that is over, the part behind it of today."""
    if day < local.date():
        counted = day_total(account, product, day)
        is_corrected = account.style is Style.ROW_A_DAY and day.day == 7 and local >= correction(account, day)
        return counted - (_cut(counted, product) if is_corrected else 0)
    seconds = local.hour * 3600 + local.minute * 60 + local.second
    counted = day_total(account, product, day) * seconds // 86400
    return counted // UNIT * UNIT if product.is_whole else counted


@lru_cache(maxsize=200_000)
def before(account: Account, product: Product, day: date) -> int:
    """The month's days before this one."""
    return sum(day_total(account, product, day.replace(day=number)) for number in range(1, day.day))


def month_to_date(account: Account, product: Product, local: datetime) -> int:
    """With what the vendor took back in the middle of the month, if it did."""
    raw = before(account, product, local.date()) + of_day(account, product, local.date(), local)
    since = correction(account, local.date())
    return raw - (_cut(before(account, product, since.date()), product) if local >= since else 0)


def correction(account: Account, day: date) -> datetime:
    """When the vendor takes something back in the day's month: in one of four, else not before the month is over."""
    chance = Random(f"{account.token} correction {day:%Y-%m}")
    if chance.random() < 0.25:
        noon = datetime(day.year, day.month, chance.randint(9, 20), 12, tzinfo=account.vendor_zone)
        return noon + timedelta(minutes=chance.randint(0, 300))
    return datetime.max.replace(tzinfo=UTC)


def _cut(amount: int, product: Product) -> int:
    cut = amount // 30
    return cut // UNIT * UNIT if product.is_whole else cut


def licences(account: Account, local: datetime) -> int:
    """A gauge that changes in the middle of a month only: near its ends nobody could say whose figure it was."""
    months = local.year * 12 + local.month - (local.day < 15)
    return Random(f"{account.token} licences {months}").randint(5, 60) * UNIT


def written(amount: int) -> str:
    whole, rest = divmod(amount, UNIT)
    return f"{whole}.{rest:04}".rstrip("0").rstrip(".") if rest else str(whole)


@dataclass(frozen=True)
class Shown:
    """A row of an answer: what it says, and which day it truly is of."""

    description: str
    amount: int
    day: date
    date: str


def rows(account: Account, api: str, at: datetime) -> list[Shown]:
    """What the vendor shows at an instant."""
    local = account.local(at)
    today, said = local.date(), account.style.date_of(local)
    if APIS[api].kind is not Kind.USAGE:
        return [Shown("Licencias", licences(account, local), today, said)]
    if account.style is Style.ROW_A_DAY:
        days = [today.replace(day=number) for number in range(1, today.day + 1)]
        return [
            Shown(product.description, of_day(account, product, day, local), day, f"{day}")
            for product in account.products
            for day in days
        ]
    figure = today_alone if account.style.counts_day else month_to_date
    return [Shown(product.description, figure(account, product, local), today, said) for product in account.products]


def today_alone(account: Account, product: Product, local: datetime) -> int:
    return of_day(account, product, local.date(), local)
