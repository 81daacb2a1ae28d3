import pytest
from django.contrib.auth.models import Group

from tests.conftest import make_operation, make_user
from usage.models import Operation

pytestmark = pytest.mark.django_db


@pytest.fixture
def operation() -> Operation:
    return make_operation("Bogotá", groups=["Ventas"])


def sees(name: str, *groups: str) -> bool:
    user = make_user(name, "Managers")
    user.groups.add(*Group.objects.filter(name__in=groups))
    return Operation.objects.visible_to(user).exists()


def test_an_operation_kept_to_a_group_is_seen_by_its_people_alone(operation: Operation) -> None:
    assert sees("hers", "Ventas")
    assert not sees("others")


def test_an_operation_without_groups_is_everyones() -> None:
    make_operation("Lima")
    assert sees("anyone")


def test_choosing_no_group_opens_it(operation: Operation) -> None:
    operation.groups.set([])
    assert sees("anyone")


def test_deleting_its_last_group_does_not_open_it(operation: Operation) -> None:
    Group.objects.get(name="Ventas").delete()
    assert not sees("anyone")


def test_a_group_may_be_given_operations_from_its_side() -> None:
    Group.objects.create(name="Ventas").operations.add(make_operation("Lima"))
    assert not sees("others")
    assert sees("hers", "Ventas")


def test_who_manages_operations_sees_all(operation: Operation) -> None:
    assert Operation.objects.visible_to(make_user("admin", "Administrators")).exists()
