"""200 operations with the figures that pages and reports are measured on."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

from tests.bench.measuring import progress

OPERATIONS, PRODUCTS, MANY_PRODUCTS = 200, 8, 162
LONG, BEFORE, MONTH = date(2026, 8, 1), date(2026, 9, 1), date(2026, 10, 1)
DAYS = """
    INSERT INTO usage_dailyusage
        (operation_id, product_id, day, items, month_to_date, highest, lowest, as_of, is_restated, is_reckoned)
    SELECT operation.id, product.id, %(day)s, {items},
        CASE WHEN product.kind = 'usage' THEN {items} * %(number)s END, {items}, {items}, %(as_of)s,
        %(never)s, %(never)s
    FROM usage_operation operation CROSS JOIN usage_product product
    WHERE product.id IN (SELECT id FROM usage_product ORDER BY id LIMIT %(products)s)
"""
ITEMS = "(10.25 + (operation.id * 31 + product.id * 17) %% 997)"


def items_of(operation: int, product: int) -> float:
    """What each day uses, as in ITEMS."""
    return 10.25 + (operation * 31 + product * 17) % 997


def make_figures() -> None:
    from django.db import connection

    make_operations_and_products()
    for month, products in ((LONG, MANY_PRODUCTS), (BEFORE, PRODUCTS), (MONTH, PRODUCTS)):
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

    for day in days_of(month):
        if day.day % 10 == 1:
            progress(f"daily rows of {day}, {products} products")
        with connection.cursor() as cursor:
            cursor.execute(
                DAYS.format(items=ITEMS),
                {"day": day, "number": day.day, "as_of": midnight_after(day), "products": products, "never": False},
            )


def make_months(month: date, products: int) -> None:
    from usage.models import MonthlyUsage, Operation, Product

    progress(f"monthly rows of {month:%Y-%m}")
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
            items = items_of(operation, product)
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
