"""What is heard in Bogotá in the autumn of 2026, for the tests of this folder."""

from datetime import UTC, date, datetime, timedelta

from tests.conftest import hear
from usage.models import Feed, Operation, OperationQuerySet

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


def at(day: int, hour: int = 12, minute: int = 0, month: int = 11) -> datetime:
    """A time of 2026 in Bogotá, which is five hours behind UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC) + timedelta(hours=5)


def everything() -> OperationQuerySet:
    return Operation.objects.all()


def hear_days(operation: Operation, month: int, totals: dict[int, str], *, hour: int = 23) -> None:
    Feed.objects.filter(operation=operation).update(interval=1440)
    for day, total in totals.items():
        hear(operation, "interactions", at(day, hour, 59, month), ("Email", total))
