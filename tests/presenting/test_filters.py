from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from usage.models import Feed, Operation, Product
from usage.presenting import feeds, filters
from usage.presenting.figures import Line
from usage.presenting.filters import FEW, Asked, Show, Sort
from usage.presenting.insights import Kind, Look
from usage.presenting.overview import OperationMonth

NOW = datetime(2026, 11, 23, 19, 35, tzinfo=UTC)
EMAIL, FACEBOOK = (
    Product(pk=pk, name=name, api="interactions", kind="usage") for pk, name in ((1, "Email"), (2, "Facebook Ñandú"))
)


def line(product: Product = EMAIL, items: int = 100) -> Line:
    return Line(product, Decimal(items), "[]", "[]", None, None, None, Decimal(0))


def look(kind: Kind, weight: float = 0.1, product: Product = EMAIL) -> Look:
    return Look(kind, line(product), 20, weight)


def month_of(name: str, *looks: Look, failing: datetime | None = None, is_over: bool = False) -> OperationMonth:
    """An operation of two products that was heard a minute ago."""
    operation = Operation(name=name, slug=name.lower())
    feed = Feed(api="interactions", is_enabled=True, interval=5, last_good_poll_at=NOW - timedelta(minutes=1))
    if failing:
        feed.failing_since, feed.failing_outcome = failing, "maintenance"
    health = feeds.health_of(operation, [feed], NOW)
    return OperationMonth(
        operation, date(2026, 11, 1), [line(), line(FACEBOOK)], health, is_over, feed.last_good_poll_at, looks=looks
    )


def names(months: Sequence[OperationMonth], search: str = "", show: Show = Show.ALL, sort: str = "attention") -> str:
    found = filters.overview(months, Asked(search, show, Sort(sort)))
    return " ".join(its.operation.name for its in found.operations)


ABOVE, BELOW = month_of("Cali", look(Kind.ABOVE, 0.2)), month_of("Lima", look(Kind.BELOW, 0.3))
UNUSED, THIN = month_of("Quito", look(Kind.UNUSED, 0.05)), month_of("Piura", look(Kind.THIN, 0.04))
WELL = [month_of("Zipaquirá"), month_of("Árbol"), month_of("arauca")]
FAILING, STALLED = (month_of(name, failing=NOW - timedelta(hours=hours)) for name, hours in (("Ica", 1), ("Loja", 2)))
ALL = [*WELL, THIN, UNUSED, BELOW, ABOVE, FAILING, STALLED]


def test_what_needs_a_look_comes_first_and_the_rest_by_name() -> None:
    assert names(ALL) == "Loja Ica Lima Cali Quito Piura arauca Árbol Zipaquirá"
    assert names(ALL[::-1]) == names(ALL)


def test_by_name_accents_and_cases_make_no_order() -> None:
    assert names(ALL, sort="name") == "arauca Árbol Cali Ica Lima Loja Piura Quito Zipaquirá"


def test_an_operation_stands_where_its_heaviest_look_puts_it() -> None:
    stopped = month_of("Stopped", look(Kind.UNUSED, 0.01), look(Kind.BELOW, 0.25))
    assert names([ABOVE, stopped, BELOW]) == "Lima Stopped Cali"


@pytest.mark.parametrize(
    ("show", "shown"),
    [
        (Show.ATTENTION, "Loja Ica Lima Cali Quito Piura"),
        (Show.FAILING, "Loja Ica"),
        (Show.ABOVE, "Cali"),
        (Show.BELOW, "Lima"),
        (Show.UNUSED, "Quito Piura"),
    ],
)
def test_a_filter_shows_its_kind_alone(show: Show, shown: str) -> None:
    assert names(ALL, show=show) == shown


def test_a_filter_shows_the_look_that_it_is_about() -> None:
    its = month_of("Cali", look(Kind.ABOVE, 0.3), look(Kind.BELOW, 0.2, FACEBOOK))
    for show, product in ((Show.ALL, EMAIL), (Show.BELOW, FACEBOOK)):
        (shown,) = filters.overview([its], Asked(show=show)).operations
        assert shown.looks[0].line.product is product
        assert shown.main is not None
        assert shown.main.product is product


def test_trouble_of_now_is_none_of_a_month_that_is_over() -> None:
    assert names([month_of("Ica", failing=NOW, is_over=True)], show=Show.ATTENTION) == ""


def test_the_counts_say_what_each_filter_would_show() -> None:
    overview = filters.overview(ALL, Asked(search="li", show=Show.BELOW))
    assert [(choice.value, choice.number) for choice in overview.choices] == [
        ("", 2),
        ("attention", 2),
        ("above", 1),
        ("below", 1),
    ]
    assert [choice.value for choice in overview.choices if choice.is_chosen] == ["below"]
    assert overview.total == 9


def test_a_filter_that_shows_nothing_stays_in_sight_while_it_is_chosen() -> None:
    overview = filters.overview(WELL, Asked(show=Show.UNUSED))
    assert [(choice.value, choice.number) for choice in overview.choices] == [("", 3), ("unused", 0)]
    assert [choice.value for choice in filters.overview(WELL, Asked()).choices] == [""]


@pytest.mark.parametrize("text", ["arbol", "ÁRBOL", "árb", "a\u0301rbol", " arbol "])
def test_a_search_asks_for_no_accents_and_no_cases(text: str) -> None:
    assert names(ALL, search=text) == "Árbol"


def test_a_search_for_a_product_shows_it_alone() -> None:
    its = month_of("Cali", look(Kind.ABOVE), look(Kind.BELOW, 0.05, FACEBOOK))
    for text in ("nandu", "cali facebook", "ÑAN face"):
        (shown,) = filters.overview([its, WELL[0]], Asked(search=text)).operations[:1]
        assert [row.product for row in shown.rows] == [FACEBOOK]
        assert [found.kind for found in shown.looks] == [Kind.BELOW]
    assert names(ALL, search="lima facebook") == "Lima"
    assert names(ALL, search="lima whatsapp") == ""


def test_an_operation_that_is_meant_by_name_is_shown_whole() -> None:
    (shown,) = filters.overview(ALL, Asked(search="Lima")).operations
    assert shown is BELOW


@pytest.mark.parametrize(("number", "is_folded"), [(FEW, False), (FEW + 1, True)])
def test_many_operations_are_shown_by_one_product_each(number: int, is_folded: bool) -> None:
    months = [month_of(f"Operation {number}") for number in range(number)]
    assert filters.overview(months, Asked()).is_folded is is_folded
    assert not filters.overview(months, Asked(search="Operation 1")).is_folded


def test_an_operation_is_told_by_what_is_used_most_of_its_first_api() -> None:
    calls = Product(pk=3, name="Calls", api="ivr_calls", kind="usage")
    its = month_of("Cali")
    rows = [line(EMAIL, 5), line(FACEBOOK, 7), line(calls, 100)]
    its = OperationMonth(its.operation, its.month, rows, its.health, False, None)
    assert its.main is rows[1]
    assert OperationMonth(its.operation, its.month, [], its.health, False, None).main is None
