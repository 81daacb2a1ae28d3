from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation

from usage.models import Certificate, Correction, Feed, Interval, MonthlyUsage, Operation, Product
from usage.presenting import words
from usage.presenting.figures import Change
from usage.presenting.tables import percent
from usage.wolkvox.errors import OUTCOMES

BOGOTA = ZoneInfo("America/Bogota")


@pytest.mark.parametrize(
    ("value", "english", "spanish"),
    [
        ("1234.5000", "1,234.5", "1.234,5"),
        ("1234.0000", "1,234", "1.234"),
        ("0.0000", "0", "0"),
        ("99999999999.9999", "99,999,999,999.9999", "99.999.999.999,9999"),
        ("-5.0000", "-5", "-5"),
        ("1000000", "1,000,000", "1.000.000"),
    ],
)
def test_numbers_show_their_decimals_as_far_as_they_go(value: str, english: str, spanish: str) -> None:
    with translation.override("en"):
        assert words.number(Decimal(value)) == english
    with translation.override("es"):
        assert words.number(Decimal(value)) == spanish


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 min 00 s"),
        (59, "0 min 59 s"),
        (3599, "59 min 59 s"),
        (43500, "12 h 05 min"),
        (4_000_000, "1,111 h 06 min"),
    ],
)
def test_durations_are_hours_and_minutes(seconds: int, shown: str) -> None:
    assert words.figure(Decimal(seconds), Product(unit="seconds")) == shown


def test_a_duration_has_no_unit_and_no_product_the_catalogues_header() -> None:
    assert [words.unit(Product(unit=unit)) for unit in ("seconds", "", "calls")] == ["", "", "calls"]


def test_a_glance_rounds() -> None:
    licensed = Product(unit="calls")
    shown = [words.glance(Decimal(value), licensed) for value in ("491.67", "9.96", "0.04", "7")]
    assert shown == ["492", "10", "0.04", "7"]


def test_months_are_named_in_the_readers_language() -> None:
    with translation.override("es"):
        assert words.month_year(date(2026, 11, 1)) == "noviembre de 2026"
    with translation.override("en"):
        assert words.month_year(date(2026, 11, 1)) == "November 2026"


def test_a_time_has_its_date_unless_it_is_of_today() -> None:
    now = datetime(2026, 11, 23, 19, 35, tzinfo=UTC)
    moments = [
        datetime(2026, 11, 23, 5, 2, tzinfo=UTC),
        datetime(2026, 11, 23, 4, 59, tzinfo=UTC),
        datetime(2025, 12, 31, 17, tzinfo=UTC),
    ]
    assert [words.moment(at, BOGOTA, now) for at in moments] == ["00:02", "22 Nov 23:59", "31 Dec 2025 12:00"]
    with translation.override("es"):
        assert [words.moment(at, BOGOTA, now) for at in moments] == ["00:02", "22 nov 23:59", "31 dic 2025 12:00"]
    assert [words.dated(at, BOGOTA, now) for at in moments] == ["23 Nov 00:02", "22 Nov 23:59", "31 Dec 2025 12:00"]


def test_one_instant_is_written_as_it_is_in_each_zone_and_language() -> None:
    now, at = datetime(2026, 11, 23, 19, 35, tzinfo=UTC), datetime(2026, 12, 31, 2, tzinfo=UTC)
    zones = [BOGOTA, ZoneInfo("UTC")]
    assert [words.dated(at, zone, now) for zone in zones] == ["30 Dec 21:00", "31 Dec 02:00"]
    with translation.override("es"):
        assert [words.dated(at, zone, now) for zone in zones] == ["30 dic 21:00", "31 dic 02:00"]


def test_a_zone_is_named_by_its_place() -> None:
    assert words.city("America/Argentina/Buenos_Aires") == "Buenos Aires"
    assert words.city("UTC") == "UTC"


def test_every_interval_reads_as_a_phrase() -> None:
    assert [words.every(minutes) for minutes in Interval] == [
        "every 5 minutes",
        "every 10 minutes",
        "every 15 minutes",
        "every 30 minutes",
        "every hour",
        "every 3 hours",
        "every 6 hours",
        "every 12 hours",
        "every day",
    ]


PASSES = {"en": "It usually passes by itself.", "es": "Suele resolverse por sí solo."}
WAITS = {"en": "An administrator has to act.", "es": "Debe intervenir un administrador."}


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("outcome", ["token_unreadable", "superseded", "fault", *OUTCOMES])
def test_every_outcome_says_whether_it_passes_by_itself_and_what_to_do(outcome: str, language: str) -> None:
    waits = outcome in ("token_unreadable", "token_refused", "request_refused")
    with translation.override(language):
        its = words.of_outcome(outcome)
        assert its.title
        assert its.waits == waits
        assert its.outlook == (WAITS if waits else PASSES)[language]
        assert its.explained == f"{its.outlook} {its.advice}"
        assert its.advice.endswith(".")


@pytest.mark.parametrize(("outcome", "title"), [("good", "Good"), ("eaten_by_wolves", "Eaten by wolves")])
def test_of_what_went_well_and_of_an_outcome_of_another_version_there_is_a_title_alone(
    outcome: str, title: str
) -> None:
    assert words.of_outcome(outcome) == words.Words(title)
    assert not words.of_outcome(outcome).explained


def test_how_long_something_lasted_is_said_roughly() -> None:
    assert [words.stretch(seconds) for seconds in (20, 600, 5400, 86400, 200_000)] == [
        "1 min",
        "10 min",
        "1.5 h",
        "24 h",
        "2 days",
    ]


def certificate(**given: object) -> Certificate:
    """Of a month heard last 39 s before its end, Bogotá time."""
    given = {
        "last_good_poll_at": datetime(2026, 11, 1, 4, 59, 21, tzinfo=UTC),
        "seconds_unheard": 39,
        "pace": "busiest",
        **given,
    }
    return Certificate(**given)


CALLS = Product(kind="usage", unit="calls")
HEARD = "The last good poll was 31 Oct 23:59:21, 39 s before the month ended"


@pytest.mark.parametrize(
    ("product", "given", "sentence"),
    [
        (
            CALLS,
            {"most_unseen": Decimal("1.2"), "pace_items": Decimal(12), "pace_seconds": 300},
            f"{HEARD}; at most 2 calls can have gone unseen since, at the quickest pace known: "
            "the busiest stretch of the day before it (12 calls in 5 min).",
        ),
        (
            CALLS,
            {"most_unseen": Decimal("0.01"), "pace": "mean", "pace_items": Decimal(7), "pace_seconds": 2_592_000},
            f"{HEARD}; at most 1 can have gone unseen since, at the quickest pace known: "
            "the month's mean (7 calls in 30 days).",
        ),
        (
            Product(kind="usage", unit="seconds"),
            {"most_unseen": Decimal("61.5"), "pace_items": Decimal(300), "pace_seconds": 119},
            f"{HEARD}; at most 1 min 02 s can have gone unseen since, at the quickest pace known: "
            "the busiest stretch of the day before it (5 min 00 s in 119 s).",
        ),
        (
            CALLS,
            {"most_unseen": Decimal(3), "pace_items": Decimal(12), "pace_seconds": 300, "seconds_at_midnights": 7_200},
            f"{HEARD}. The vendor counts each day anew: what was used after the last poll of any other day, in 2 h in "
            "all, is in no figure. At most 3 calls can have gone unseen in both, at the quickest pace known: "
            "the busiest stretch of the day before it (12 calls in 5 min).",
        ),
        (CALLS, {"pace": "unknown"}, f"{HEARD}; what was used since is not known."),
        (Product(kind="licences"), {"pace": "unknown"}, f"{HEARD}."),
        (
            Product(kind="licences"),
            {"pace": "unknown", "seconds_unheard": 25_300},
            "The last good poll was 31 Oct 23:59:21, 7 h before the month ended.",
        ),
    ],
)
def test_a_certificate_is_one_sentence(product: Product, given: dict[str, object], sentence: str) -> None:
    assert words.certificate(certificate(**given), product, BOGOTA) == sentence


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "On 3 December the vendor said 5,012 instead of 5,000; the closed figure stands."),
        ("es", "El 3 de diciembre el proveedor indicó 5.012 en lugar de 5.000; la cifra cerrada no cambia."),
    ],
)
def test_a_correction_stands_beside_the_closed_figure(language: str, sentence: str) -> None:
    correction = Correction(items=Decimal("5012.0000"), seen_at=datetime(2026, 12, 4, 4, 59, tzinfo=UTC))
    with translation.override(language):
        assert words.correction(correction, MonthlyUsage(items=Decimal(5000)), CALLS, BOGOTA) == sentence


@pytest.mark.parametrize(
    ("counts", "set_", "other"), [("month", "month to date", "the day"), ("day", "the day", "month to date")]
)
def test_a_feed_that_behaves_otherwise_than_it_is_set_says_what_to_do(counts: str, set_: str, other: str) -> None:
    assert words.contrary(Feed(counts=counts, contrary_midnights=2)) == (
        f"At the last 2 midnights its figures behaved as if they counted {other}, not {set_}. If they do, an "
        f"administrator sets “figures count” to “{other}”."
    )


@pytest.mark.parametrize(
    ("after", "before", "between", "is_warned"),
    [
        (-50, 250, "23:59 and 00:05", False),
        (200, 500, "00:03 and 00:09", False),
        (301, 600, "00:05 and 00:10", True),
        (-600, -301, "23:50 and 23:55", True),
        (-18_050, -17_750, "18:59 and 19:05", True),
        (18_000, 18_300, "05:00 and 05:05", True),
    ],
)
def test_where_the_vendors_month_begins_is_told_and_warned_about_away_from_midnight(
    after: int, before: int, between: str, is_warned: bool
) -> None:
    seen = Operation(reset_after=after, reset_before=before)
    assert words.vendors_month(seen) == f"The vendor's month was seen to begin between {between}, Bogotá time."
    assert bool(words.other_zone(seen)) == is_warned


def test_nothing_is_told_of_the_vendors_month_until_its_beginning_was_seen() -> None:
    assert words.vendors_month(Operation()) == words.other_zone(Operation()) == ""


@pytest.mark.parametrize(
    ("now", "then", "shown"),
    [
        (
            121,
            100,
            '<span class="change notable"><span aria-hidden="true">▲</span><span class="hidden">+</span> 21%</span>',
        ),
        (98, 100, '<span class="change"><span aria-hidden="true">▼</span><span class="hidden">−</span> 2%</span>'),
        (100, 100, '<span class="change"><span aria-hidden="true"></span><span class="hidden"></span> 0%</span>'),
        (5, 0, "–"),
    ],
)
def test_a_change_has_an_arrow_and_a_sign_for_those_who_hear_it(now: int, then: int, shown: str) -> None:
    assert percent(Change(day=22, now=Decimal(now), then=Decimal(then), is_whole=False)) == shown
