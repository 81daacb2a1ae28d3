from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from json import dumps

import pytest
from django.utils import translation

from usage.models import Product
from usage.presenting import insights
from usage.presenting.comparing import length_of
from usage.presenting.figures import Line, Pace
from usage.presenting.insights import Kind, Look, looks, sentence, sentence_of_pace, usual

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
LICENCES = 9
ENOUGH = 22
"""Whole days of November: 15 working days. October's first 22 had 16."""


def product(name: str = "Email", pk: int = 1, api: str = "interactions", unit: str = "interactions") -> Product:
    return Product(pk=pk, name=name, description=name, api=api, unit=unit, kind="usage", licensed_by_id=LICENCES)


def days_of(month: date, working: float, weekend: float = 0, days: int = 31) -> list[str | None]:
    """A month of a business: so much on each working day, and on each of the others."""
    return [
        f"{weekend if (month + timedelta(days=n)).weekday() > 4 else working:g}"
        for n in range(min(days, length_of(month)))
    ]


def pace_of(
    now: Sequence[str | None],
    before: Sequence[str | None],
    *,
    days: int = ENOUGH,
    reckoned: Sequence[int] = (),
    reckoned_before: Sequence[int] = (),
    unit: str = "interactions",
) -> Pace:
    then = insights.usual_of(dumps(before), dumps(reckoned_before), 31)
    return insights.pace_of(dumps(now), dumps(reckoned), days, then, unit)


def line(
    working: float = 100,
    before: float = 100,
    *,
    its: Product | None = None,
    licences: int | None = None,
    licences_before: int | None = None,
    by_day: Sequence[str | None] | None = None,
) -> Line:
    """A product's November, on the 23rd, against its October."""
    by_day = days_of(NOVEMBER, working, days=23) if by_day is None else by_day
    return Line(
        product=its or product(),
        items=sum((Decimal(items) for items in by_day if items is not None), Decimal(0)),
        items_by_day=dumps(by_day),
        reckoned_days="[]",
        unfinished=23,
        change=None,
        licences=None if licences is None else Decimal(licences),
        licences_change=Decimal(0),
        licences_before=None if licences_before is None else Decimal(licences_before),
        pace=pace_of(by_day, days_of(OCTOBER, before)),
    )


def looks_of(*lines: Line) -> list[Look]:
    return looks({"Bogotá": lines}, {"Bogotá": ENOUGH})["Bogotá"]


# The usual pace


def test_a_pace_is_kept_by_weekday_whatever_the_calendar() -> None:
    """The same first 22 days of October come to 1,600."""
    found = pace_of(days_of(NOVEMBER, 100), days_of(OCTOBER, 100))
    assert (found.now, found.then, found.percent) == (1500, 1500, 0)


def test_a_pace_is_above_or_below_what_is_usual() -> None:
    assert pace_of(days_of(NOVEMBER, 118, 10), days_of(OCTOBER, 100, 10)).percent == 17
    assert pace_of(days_of(NOVEMBER, 70), days_of(OCTOBER, 100)).percent == -30


def test_usual_is_the_mean_of_the_same_weekdays() -> None:
    october = days_of(OCTOBER, 100)
    october[0] = "300"  # a Thursday, one of five
    assert usual(october, [], 31).means == (0, 100, 100, 100, 140, 100, 0)  # November begins on a Sunday
    assert usual(october, [1], 31).means[4] == 100


def test_days_that_were_reckoned_or_are_not_known_are_left_out_on_both_sides() -> None:
    now, before = days_of(NOVEMBER, 100), days_of(OCTOBER, 100)
    now[1], now[2], before[4] = "900", None, "900"
    found = pace_of(now, before, reckoned=[2], reckoned_before=[5])
    assert (found.now, found.then) == (1300, 1300)


def test_a_weekday_that_was_never_told_is_not_compared() -> None:
    before: list[str | None] = [None if day % 7 == 4 else "100" for day in range(31)]  # no Monday
    assert pace_of(days_of(NOVEMBER, 100, 100), before).then == 1900


def test_the_day_that_runs_is_not_compared() -> None:
    assert pace_of([*days_of(NOVEMBER, 100, days=22), "7"], days_of(OCTOBER, 100)).now == 1500


def test_a_month_that_went_unheard_before_its_end_ends_with_a_part_of_a_day() -> None:
    october = [*days_of(OCTOBER, 100, 100, days=20), "3"]
    assert usual(october, [], 31).means == (100,) * 7
    assert usual(october, [], 31).days == 20
    assert insights.whole_days([], 31) == 0


@pytest.mark.parametrize(
    ("now", "before", "days", "unit", "is_enough"),
    [
        (100, 100, 7, "interactions", True),
        (100, 100, 6, "interactions", False),
        (7, 7, 22, "interactions", True),
        (6, 6, 22, "interactions", False),
        (6, 7, 22, "interactions", True),
        (7, 0, 22, "interactions", True),
        (7, 7, 22, "seconds", False),
        (400, 400, 22, "seconds", True),
    ],
)
def test_nothing_is_said_on_few_days_or_little_use(
    now: int, before: int, days: int, unit: str, is_enough: bool
) -> None:
    assert pace_of(days_of(NOVEMBER, now), days_of(OCTOBER, before), days=days, unit=unit).is_enough is is_enough


def test_nothing_is_said_against_less_than_two_weeks() -> None:
    for days, is_enough in ((14, True), (13, False)):
        before: list[str | None] = [None] * (31 - days) + ["100"] * days
        assert pace_of(days_of(NOVEMBER, 100, 100), before).is_enough is is_enough


def test_what_grew_from_nothing_has_no_percent() -> None:
    assert pace_of(days_of(NOVEMBER, 100), days_of(OCTOBER, 0)).percent is None
    assert looks_of(line(100, 0)) == []


# What deserves a look


def test_a_product_far_from_its_pace_deserves_a_look() -> None:
    assert [(look.kind, look.number) for look in looks_of(line(115))] == [(Kind.ABOVE, 15)]
    assert [(look.kind, look.number) for look in looks_of(line(85))] == [(Kind.BELOW, 15)]
    assert looks_of(line(114)) == looks_of(line(86)) == []


def test_a_small_product_that_multiplied_deserves_none() -> None:
    few = line(3, 1, its=product("X", pk=2))
    assert few.pace == Pace(45, 15, is_enough=False)
    assert looks_of(line(1000, 1000), few) == []
    small = line(30, 10, its=product("X", pk=2))
    assert looks_of(line(1000, 1000), small) == []
    (look,) = looks_of(line(100, 100), small)
    assert look.line is small


def test_a_small_product_is_held_against_its_own_api_alone() -> None:
    calls = product("IVR calls", pk=2, api="ivr_calls")
    (look,) = looks_of(line(1000, 1000), line(13, 10, its=calls))
    assert look.line.product is calls


def test_what_moved_most_of_all_use_comes_first() -> None:
    small, large = line(30, 10), line(1300, 1000)
    found = looks({"small": [small], "large": [large]}, {"small": ENOUGH, "large": ENOUGH})
    assert found["large"][0].weight > found["small"][0].weight
    assert found["small"][0].weight == 300 / (450 + 19500)
    first, second = looks_of(line(1200, 1000, its=product("X", pk=2)), line(400, 1000))
    assert (first.kind, second.kind) == (Kind.BELOW, Kind.ABOVE)


def unused_for(days: int) -> Line:
    by_day = [*days_of(NOVEMBER, 100, 10, days=22 - days), *["0"] * days, "0"]
    return line(by_day=by_day, licences=40, licences_before=40)


def test_licences_deserve_a_look_once_a_week_went_without_use() -> None:
    assert Kind.UNUSED not in [look.kind for look in looks_of(unused_for(6))]
    first, second = looks_of(unused_for(9))
    assert (first.kind, first.number, second.kind) == (Kind.UNUSED, 9, Kind.BELOW)


def test_licences_that_stand_unused_are_told_before_what_is_behind_for_it() -> None:
    others = line(10, licences=4000, licences_before=4000)
    unused, behind = looks({"Bogotá": [unused_for(9)], "Lima": [others]}, {"Bogotá": ENOUGH, "Lima": ENOUGH})["Bogotá"]
    assert (unused.kind, behind.kind) == (Kind.UNUSED, Kind.BELOW)
    assert unused.weight < behind.weight


def test_licences_are_used_as_long_as_one_product_is() -> None:
    assert all(look.kind != Kind.UNUSED for look in looks_of(unused_for(9), line(1, licences=40, licences_before=40)))


def test_nothing_is_unused_where_yesterday_is_not_known() -> None:
    known = ["0"] * 21
    for by_day in (known, [*known, None, "0"]):
        assert insights.days_unused(dumps(by_day), "[]", ENOUGH) == 0
    assert insights.days_unused(dumps([*known, "0"]), "[]", ENOUGH) == ENOUGH
    assert insights.days_unused(dumps([*known, "0", "5"]), "[]", ENOUGH) == ENOUGH


@pytest.mark.parametrize(
    ("use", "reckoned", "days"),
    [
        ({}, range(1, 24), ENOUGH),  # a gap in which the month to date didn't move
        ({5: "1"}, range(1, 24), 0),  # the one item may have been of any day
        ({23: "1"}, range(1, 24), 0),  # as on the first day of an operation
        ({5: "1"}, range(3, 11), 12),
        ({5: "1"}, [3, 4, 5, 9, 10], ENOUGH - 5),
        ({11: "1"}, [3, 4, 5, 9, 10], ENOUGH - 11),
    ],
)
def test_no_reckoned_day_is_unused_where_something_came(
    use: dict[int, str], reckoned: Sequence[int], days: int
) -> None:
    by_day = [use.get(day, "0") for day in range(1, 24)]
    assert insights.days_unused(dumps(by_day), dumps(list(reckoned)), ENOUGH) == days


def test_no_licences_are_not_unused() -> None:
    assert all(look.kind != Kind.UNUSED for look in looks_of(unused_for(9)._replace(licences=Decimal(0))))


def test_licences_that_grew_past_their_use_deserve_a_look() -> None:
    (look,) = looks_of(line(licences=60, licences_before=40))
    assert (look.kind, look.number) == (Kind.THIN, 33)
    assert look.weight == pytest.approx(1 / 3)
    assert looks_of(line(114, licences=46, licences_before=40)) == []
    assert looks_of(line(licences=40, licences_before=60)) == []
    assert looks_of(line(licences=60)) == []


def test_use_per_licence_is_of_all_that_they_license() -> None:
    other = product("X", pk=2)
    its = [line(licences=60, licences_before=40), line(114, its=other, licences=60, licences_before=40)]
    (look,) = looks_of(*its)
    assert look.number == 29
    seconds = line(its=product("Calls", pk=3, unit="seconds"), licences=60, licences_before=40)
    assert looks_of(its[0], seconds) == []


# In words


@pytest.mark.parametrize(
    ("its", "english", "spanish"),
    [
        (
            line(118, licences=40, licences_before=40),
            "Email is 18% above October's pace; its 40 licences stood unchanged.",
            "Email va un 18% por encima del ritmo de octubre; sus 40 licencias no cambiaron.",
        ),
        (
            line(70, licences=1, licences_before=1),
            "Email is 30% below October's pace; its one licence stood unchanged.",
            "Email va un 30% por debajo del ritmo de octubre; su única licencia no cambió.",
        ),
        (
            line(350, licences=1200, licences_before=1000),
            "Email runs at 3.5 times October's pace; licences went from 1,000 to 1,200.",
            "Email va a 3,5 veces el ritmo de octubre; las licencias pasaron de 1.000 a 1.200.",
        ),
        (line(118), "Email is 18% above October's pace.", "Email va un 18% por encima del ritmo de octubre."),
        (line(102), "Email keeps October's pace.", "Email mantiene el ritmo de octubre."),
        (
            line(licences=40, licences_before=40),
            "Email keeps October's pace.",
            "Email mantiene el ritmo de octubre.",
        ),
        (line(0), "Email has not been used this month.", "Email no se ha usado este mes."),
        (line(1, 1), "", ""),
        (line(100, 0), "", ""),
        (line()._replace(pace=None), "", ""),
    ],
)
def test_a_pace_in_words(its: Line, english: str, spanish: str) -> None:
    with translation.override("en"):
        assert sentence_of_pace(its, OCTOBER, is_over=False) == english
    with translation.override("es"):
        assert sentence_of_pace(its, OCTOBER, is_over=False) == spanish


@pytest.mark.parametrize(
    ("its", "english", "spanish"),
    [
        (line(112), "Email ended 12% above October's pace.", "Email terminó un 12% por encima del ritmo de octubre."),
        (line(88), "Email ended 12% below October's pace.", "Email terminó un 12% por debajo del ritmo de octubre."),
        (line(300), "Email ran at 3 times October's pace.", "Email fue a 3 veces el ritmo de octubre."),
        (line(99), "Email kept October's pace.", "Email mantuvo el ritmo de octubre."),
        (line(0), "Email was not used all month.", "Email no se usó en todo el mes."),
    ],
)
def test_a_pace_of_a_month_that_is_over(its: Line, english: str, spanish: str) -> None:
    with translation.override("en"):
        assert sentence_of_pace(its, OCTOBER, is_over=True) == english
    with translation.override("es"):
        assert sentence_of_pace(its, OCTOBER, is_over=True) == spanish


@pytest.mark.parametrize(
    ("its", "is_over", "english", "spanish"),
    [
        (unused_for(9), False, "40 licences have stood unused for 9 days.", "40 licencias llevan 9 días sin usarse."),
        (
            unused_for(9)._replace(licences=Decimal(1)),
            False,
            "1 licence has stood unused for 9 days.",
            "1 licencia lleva 9 días sin usarse.",
        ),
        (
            unused_for(9),
            True,
            "40 licences stood unused in the month's last 9 days.",
            "40 licencias no se usaron en los últimos 9 días del mes.",
        ),
        (
            line(licences=60, licences_before=40),
            False,
            "Use per licence is 33% below that of October; licences went from 40 to 60.",
            "El uso por licencia está un 33% por debajo del de octubre; las licencias pasaron de 40 a 60.",
        ),
        (
            line(licences=60, licences_before=40),
            True,
            "Use per licence ended 33% below that of October; licences went from 40 to 60.",
            "El uso por licencia terminó un 33% por debajo del de octubre; las licencias pasaron de 40 a 60.",
        ),
        (
            line(118),
            False,
            "Email is 18% above October's pace.",
            "Email va un 18% por encima del ritmo de octubre.",
        ),
    ],
)
def test_a_look_in_words(its: Line, is_over: bool, english: str, spanish: str) -> None:
    look = looks_of(its)[0]
    with translation.override("en"):
        assert sentence(look, OCTOBER, is_over) == english
    with translation.override("es"):
        assert sentence(look, OCTOBER, is_over) == spanish
