"""The simulated vendor's figures: made up, the same for the same token and time, and shaped like real ones.

Usage is month to date: the whole days of the month so far, and the part of today that a contact centre has
behind it by that time of day. All days and times are local ones, in the simulator's zone.
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate

from usage.wolkvox.catalogue import APIS, Kind


@dataclass(frozen=True)
class SimulatedOperation:
    """An operation of the simulated vendor; `agents` sets the size of all its figures."""

    name: str
    server: str
    agents: int


@dataclass(frozen=True)
class _Product:
    description: str
    daily: float  # per agent on a plain working day, in the API's unit
    is_duration: bool = False
    fewest_agents: int = 0  # smaller operations don't have it


def token_of(name: str) -> str:
    """A simulated operation's token: 52 hex digits, as the vendor's are, that hold nothing secret."""
    return hashlib.sha256(f"simulated wolkvox: {name}".encode()).hexdigest()[:52]


OPERATIONS: dict[str, SimulatedOperation] = {
    token_of(name): SimulatedOperation(name, server, agents)
    for name, server, agents in (
        ("Bogotá Norte · Ventas", "0012", 180),
        ("Medellín · Soporte", "0012", 120),
        ("Lima · Retención", "0004", 96),
        ("Ciudad de México · Ventas", "9901", 140),
        ("Cali · Servicio al cliente", "0012", 64),
        ("Quito · Cobranza", "0004", 45),
        ("Barranquilla · Agendamiento", "0031", 38),
        ("Santiago · Soporte técnico", "0031", 32),
        ("Guayaquil · Ventas", "0004", 24),
        ("Ciudad de Panamá · Cobranza", "0031", 18),
        ("Bucaramanga · Encuestas", "0012", 15),
        ("San José · Recepción", "9901", 12),
    )
}

_CITIES = ("Pereira", "Manizales", "Cartagena", "Cúcuta", "Arequipa", "Cuenca", "Rosario", "La Paz")
_TEAMS = ("Ventas", "Soporte", "Cobranza", "Retención", "Agendamiento", "Encuestas")

_USAGE: dict[str, tuple[_Product, ...]] = {
    "interactions": (
        _Product("Email", 22),
        _Product("Facebook Messenger", 14),
        _Product("X (Twitter)", 5, fewest_agents=20),
    ),
    "ivr_minutes": (_Product("IVR minutes", 38),),
    "rec_minutes": (_Product("IVR recordings", 21),),
    "rsync_s3_mp3": (_Product("Audios copied to S3", 45),),
    "rec_screen": (_Product("Screen recording", 9000, is_duration=True),),
    "rec_screen_on_demand": (_Product("Screen recording on demand", 1200, is_duration=True),),
    "speech_analytics": (_Product("Speech analytics", 2400, is_duration=True),),
    "sentiment_analysis": (_Product("Sentiment analysis", 12),),
    "ivr_calls": (_Product("IVR calls", 26),),
    "asr_calls": (_Product("Speech recognition", 9),),
    "vision": (_Product("Studio Vision", 2),),
    "tts_chars": (_Product("Text to speech", 5400),),
    "amd_ai": (_Product("Answering machine detection", 30),),
    "stereo_rec": (_Product("Stereo recording", 160),),
    "nlp_ai": (_Product("NLP", 15),),
}
# Licences and active counts for each agent; a product that isn't named here has one for each.
_PER_AGENT = {"gamification": 0.5, "video_call": 0.1, "wp_connectors": 0.04, "wp_connectors_official": 0.06}

_BY_WEEKDAY = (1.08, 1.04, 1.0, 0.99, 0.95, 0.35, 0.15)
# Some of Colombia's holidays, as (month, day).
_HOLIDAYS = frozenset({(1, 1), (5, 1), (7, 20), (8, 7), (11, 2), (11, 16), (12, 8), (12, 25)})
_ON_HOLIDAYS = 0.18
_NOISE = 0.12
_SWING = 0.12
_EPOCH = date(2025, 1, 1)
# What each hour of a contact centre's day brings, from midnight on.
_BY_HOUR = (0.1, 0.05, 0.05, 0.05, 0.1, 0.3, 1, 4, 7, 9, 11, 11, 7, 6, 8, 11, 11, 8, 5, 3, 1.5, 0.6, 0.3, 0.2)
_BEFORE_HOUR = (0.0, *accumulate(_BY_HOUR))


@lru_cache(maxsize=4096)
def operation_of(token: str) -> SimulatedOperation:
    """The operation behind a token: a demo one, or one whose name and size follow from the token."""
    if token in OPERATIONS:
        return OPERATIONS[token]
    city = _CITIES[int(_fraction(token, "city") * len(_CITIES))]
    team = _TEAMS[int(_fraction(token, "team") * len(_TEAMS))]
    server = f"{int(_fraction(token, 'server') * 10_000):04d}"
    agents = round(5 * 30 ** _fraction(token, "agents"))
    return SimulatedOperation(f"{city} · {team} {token[:4]}", server, agents)


def rows_of(token: str, api: str, local: datetime) -> list[dict[str, str]]:
    """The rows that the vendor would show at that local time. Raises KeyError for an unknown API."""
    operation = operation_of(token)
    return [
        {"operation": operation.name, "description": description, "items": items, "date": f"{local:%Y-%m-%d}"}
        for description, items in _figures(token, api, local)
    ]


@lru_cache(maxsize=65536)
def gauge(token: str, api: str, day: date) -> int:
    """Licences or connectors on a day. In one month of four they change, on a day in its middle."""
    most = operation_of(token).agents * _PER_AGENT.get(api, 1)
    months = day.year * 12 + day.month
    for month in range(months, months - 12, -1):
        starts = 6 + int(16 * _fraction(token, api, month, "day"))
        if _fraction(token, api, month, "changes") < 0.25 and (month < months or day.day >= starts):
            return max(1, round(most * (0.9 + 0.3 * _fraction(token, api, month, "level"))))
    return max(1, round(most))


def _figures(token: str, api: str, local: datetime) -> list[tuple[str, str]]:
    if APIS[api].kind is not Kind.USAGE:
        return [(APIS[api].title, str(gauge(token, api, local.date())))]
    agents = operation_of(token).agents
    return [
        (product.description, _written(_month_to_date(token, product, local), product))
        for product in _USAGE[api]
        if agents >= product.fewest_agents
    ]


def _written(amount: int, product: _Product) -> str:
    if not product.is_duration:
        return str(amount)
    minutes, seconds = divmod(amount, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"


def _month_to_date(token: str, product: _Product, local: datetime) -> int:
    today = local.date()
    so_far = _day_total(token, product, today) * _part_of_day(local)
    return _before(token, product, today) + math.floor(so_far)


@lru_cache(maxsize=65536)
def _before(token: str, product: _Product, day: date) -> int:
    """The total of the month's days before this one."""
    if day.day == 1:
        return 0
    eve = day - timedelta(days=1)
    return _before(token, product, eve) + _day_total(token, product, eve)


@lru_cache(maxsize=65536)
def _day_total(token: str, product: _Product, day: date) -> int:
    is_holiday = (day.month, day.day) in _HOLIDAYS
    weekday = _ON_HOLIDAYS if is_holiday else _BY_WEEKDAY[day.weekday()]
    noise = 1 + _NOISE * (2 * _fraction(token, product.description, day) - 1)
    return round(operation_of(token).agents * product.daily * weekday * _trend(token, product, day) * noise)


def _trend(token: str, product: _Product, day: date) -> float:
    """Between 0.5 and 2, moving by -0.5 to 1.5 per cent a month from the epoch on, and up to a quarter in a month."""
    monthly = 1.015 - 0.02 * _fraction(token, product.description, "trend")
    months = (day - _EPOCH).days / 30.4
    swing = 1 + _SWING * (2 * _fraction(token, product.description, day.year, day.month) - 1)
    return min(max(math.pow(monthly, months) * swing, 0.5), 2.0)


def _part_of_day(local: datetime) -> float:
    into_hour = (local.minute * 60 + local.second) / 3600
    return (_BEFORE_HOUR[local.hour] + _BY_HOUR[local.hour] * into_hour) / _BEFORE_HOUR[24]


def _fraction(*parts: object) -> float:
    """A number from 0 up to 1 that is the same for the same parts, in every process."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / float(1 << 48)
