from decimal import Decimal

import pytest

from tests.conftest import hear, make_operation
from tests.presenting.in_bogota import NOVEMBER, at, everything
from usage.models import Operation, Product
from usage.presenting.products import api_totals, product_page

pytestmark = pytest.mark.django_db


def test_products_are_summed_exactly_and_name_the_largest_operation(operation: Operation) -> None:
    quito = make_operation("Quito")
    hear(operation, "interactions", at(1), ("Email", "0.1"))
    hear(quito, "interactions", at(1), ("Email", "99999999999.2"))
    (api,) = api_totals(everything(), NOVEMBER)
    (total,) = api.totals
    assert (total.items, total.operations, total.most) == (Decimal("99999999999.3"), 2, quito)


def test_a_products_operations_come_largest_first(operation: Operation) -> None:
    quito = make_operation("Quito")
    hear(operation, "interactions", at(1), ("Email", "5"))
    hear(quito, "interactions", at(1), ("Email", "9"), ("Chat", "100"))
    rows = product_page(Product.objects.get(name="Email"), everything(), NOVEMBER, at(1, 13))
    assert [(row.operation.name, row.usage.items) for row in rows] == [("Quito", 9), ("Bogotá Norte", 5)]
