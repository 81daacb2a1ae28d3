"""Few rows and many: whichever way they are stored, the same stands there (with PostgreSQL, COPY stores the many)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.conftest import hear, make_operation
from usage.collecting import storing
from usage.collecting.rebuilding import rebuild
from usage.models import Answer, DailyUsage, MonthlyUsage, Operation, Product, Snapshot

pytestmark = pytest.mark.django_db

MORNING = datetime(2026, 11, 1, 12, tzinfo=UTC)
MANY = 3 * storing.AT_ONCE - 1


def rows(number: int, times: int) -> list[tuple[str, str]]:
    return [(f'Línea \\{row:03}\\N "it\'s" 🙂', str(row * times)) for row in range(number)]


def figures(operation: Operation) -> list[list[dict[str, object]]]:
    """All that is kept of an operation, but for ids."""
    own = ("id", "operation_id", "feed_id", "first_poll_id")
    tables = [
        Snapshot.objects.filter(feed__operation=operation).order_by("product", "first_seen"),
        DailyUsage.objects.filter(operation=operation).order_by("product"),
        MonthlyUsage.objects.filter(operation=operation).order_by("product"),
    ]
    return [[{k: v for k, v in row.items() if k not in own} for row in table.values()] for table in tables]


def test_an_answer_of_many_rows_is_kept_like_its_parts(operation: Operation) -> None:
    parts = make_operation("Lima")
    for minutes, times in ((0, 1), (5, 2)):
        at = MORNING + timedelta(minutes=minutes)
        all_of_them = rows(MANY, times)
        hear(operation, "interactions", at, *all_of_them)
        hear(parts, "interactions", at, *all_of_them[: storing.AT_ONCE])
    kept, like_it = figures(operation), figures(parts)
    assert [len(table) for table in kept] == [2 * MANY - 1, MANY, MANY]
    assert [table[: len(part)] for table, part in zip(kept, like_it, strict=True)] == like_it
    assert list(rebuild(write=False)) == []


def test_of_many_figures_those_shown_again_move_their_time_and_no_more(operation: Operation) -> None:
    first, again = MORNING, MORNING + timedelta(minutes=5)
    hear(operation, "interactions", first, *rows(MANY, 1))
    before = figures(operation)
    hear(operation, "interactions", again, *rows(MANY - 1, 1))
    snapshots, days, months = figures(operation)
    assert {row.pop("last_seen") for row in snapshots[:-1]} == {again}
    assert {row.pop("as_of") for row in (*days[:-1], *months[:-1])} == {again}
    assert (snapshots[-1]["last_seen"], days[-1]["as_of"], months[-1]["as_of"]) == (first, first, first)
    for table, stood in zip((snapshots, days, months), before, strict=True):
        assert table == [{k: v for k, v in row.items() if k in table[0]} for row in stood[:-1]] + stood[-1:]


def test_names_come_through_as_they_are(operation: Operation) -> None:
    hear(operation, "interactions", MORNING, *rows(MANY, 1))
    assert list(Product.objects.order_by("description").values_list("description", flat=True)) == [
        name for name, _ in rows(MANY, 1)
    ]


def test_an_upsert_changes_what_stands_under_the_key_and_nothing_else(operation: Operation) -> None:
    hear(operation, "interactions", MORNING, *rows(MANY, 1))
    before = {row.product_id: row for row in DailyUsage.objects.all()}
    changed = [before[product] for product in sorted(before)[: storing.AT_ONCE + 1]]
    for row in changed:
        row.highest = Decimal(777)
    storing.upsert(changed, key=("operation_id", "product_id", "day"))
    after = {row.product_id: row for row in DailyUsage.objects.all()}
    assert {product: row.pk for product, row in after.items()} == {product: row.pk for product, row in before.items()}
    assert {product for product, row in after.items() if row.highest == 777} == {row.product_id for row in changed}


def test_what_stands_already_keeps_its_id() -> None:
    first, again, other = (
        storing.identified(Answer(sha256=sha256, compressed=b"\x00\\x"), key="sha256") for sha256 in ("a", "a", "b")
    )
    assert first == again != other
    assert {bytes(answer.compressed) for answer in Answer.objects.all()} == {b"\x00\\x"}
