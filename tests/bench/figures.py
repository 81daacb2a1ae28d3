"""200 operations with three years of figures, that pages and reports are measured on."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.bench.measuring import progress

OPERATIONS, PRODUCTS, MANY_PRODUCTS = 200, 8, 162
MONTHS = [date(2023 + number // 12, number % 12 + 1, 1) for number in range(10, 46)]
LONG, MONTH = date(2026, 8, 1), date(2026, 10, 1)
DAYS = """
    INSERT INTO usage_dailyusage
        (operation_id, product_id, day, items, month_to_date, highest, lowest, as_of, is_restated, is_reckoned)
    SELECT operation.id, product.id, %(day)s, {items},
        CASE WHEN product.kind = 'usage' THEN {items} * %(number)s END, {items}, {items}, %(as_of)s,
        %(never)s, %(never)s
    FROM usage_operation operation CROSS JOIN usage_product product
    WHERE product.id IN (SELECT id FROM usage_product ORDER BY id LIMIT %(products)s)
"""
ITEMS = "(10.25 + (operation.id * 31 + product.id * 17 + %(place)s) %% 997)"


def items_of(operation: int, product: int, month: date) -> float:
    """What each day uses, as in ITEMS: of no two months the same."""
    return 10.25 + (operation * 31 + product * 17 + MONTHS.index(month)) % 997


def make_figures() -> None:
    from django.db import connection

    make_operations_and_products()
    for month in MONTHS:
        products = MANY_PRODUCTS if month == LONG else PRODUCTS
        make_days(month, products)
        make_months(month, products)
    progress("analysing")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def make_operations_and_products() -> None:
    from usage.collecting.operations import add_feeds
    from usage.models import Feed, Operation, Product

    heard = datetime.now(tz=UTC) - timedelta(minutes=1)
    for number in range(1, OPERATIONS + 1):
        operation = Operation(name=f"Operation {number:03}", slug=f"operation-{number:03}", server="0012")
        operation.token = f"{number:052}"
        operation.save()
        add_feeds(operation, heard)
    Feed.objects.filter(is_enabled=True).update(last_poll_at=heard, last_good_poll_at=heard)
    named = Product(api="interaction_licenses", kind="licences", unit="licences")
    named.name = named.description = "Interaction licences"
    named.save()
    Product.objects.bulk_create(
        Product(
            api="interactions",
            kind="usage",
            unit="interactions",
            name=f"Product {number:03}",
            description=f"Product {number:03}",
            licensed_by=named,
        )
        for number in range(2, MANY_PRODUCTS + 1)
    )


def days_of(month: date) -> list[date]:
    return [month.replace(day=number + 1) for number in range(monthrange(month.year, month.month)[1])]


def midnight_after(day: date) -> datetime:
    """Shortly before, in Bogotá."""
    return datetime(day.year, day.month, day.day, 4, 59, tzinfo=UTC) + timedelta(days=1)


def make_days(month: date, products: int) -> None:
    from django.db import connection

    progress(f"daily rows of {month:%Y-%m}, {products} products")
    shared: dict[str, Any] = {"place": MONTHS.index(month), "products": products, "never": False}
    with connection.cursor() as cursor:
        for day in days_of(month):
            of_the_day = {"day": day, "number": day.day, "as_of": midnight_after(day)}
            cursor.execute(DAYS.format(items=ITEMS), shared | of_the_day)


def make_months(month: date, products: int) -> None:
    from usage.models import MonthlyUsage, Operation, Product

    days = days_of(month)
    shared = {
        "month": month,
        "state": "closed",
        "as_of": midnight_after(days[-1]),
        "closed_at": midnight_after(days[-1]),
    }
    rows = []
    for operation in Operation.objects.values_list("pk", flat=True):
        for product, kind in Product.objects.order_by("pk").values_list("pk", "kind")[:products]:
            items = items_of(operation, product, month)
            to_date = [f"{items * day.day:g}" if kind == "usage" else None for day in days]
            rows.append(
                MonthlyUsage(
                    operation_id=operation,
                    product_id=product,
                    items=items * len(days) if kind == "usage" else items,
                    highest=items,
                    lowest=items,
                    items_by_day=[f"{items:g}"] * len(days),
                    to_date_by_day=to_date,
                    **shared,
                )
            )
    MonthlyUsage.objects.bulk_create(rows, batch_size=2000)


def session_cookie() -> str:
    """Of somebody in Finance, who sees pages and reports."""
    from django.contrib.auth.models import Group, User
    from django.test import Client

    user = User.objects.create_user("finance")
    user.groups.add(Group.objects.get(name="Finance"))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return f"sessionid={client.cookies['sessionid'].value}"
