import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from tests.conftest import hear, make_operation
from usage.collecting import closing, months
from usage.collecting.rebuilding import rebuild, recount, refold
from usage.models import DailyUsage, Feed, MonthlyUsage, Operation, Product

pytestmark = pytest.mark.django_db


@pytest.fixture
def history(db: None) -> Operation:
    """Three weeks over a month's end: unchanged, fallen, missing, dated and undated figures, gauges, a day count."""
    random.seed(7)
    operation, other = make_operation("Bogotá"), make_operation("Lima")
    Feed.objects.filter(operation=other, api="interactions").update(counts=Feed.Counts.DAY)
    begin = at = datetime(2026, 10, 20, 12, tzinfo=UTC)
    email = 5000
    while at < begin + timedelta(days=21):
        if random.random() < 0.15:
            at += timedelta(days=random.choice([1, 2]))
        if (at - timedelta(hours=5)).day == 1 and email > 1000:
            email = 0
        email += random.choice([0, 0, 7, 25, -3])
        rows = [("Email", str(max(email, 0))), ("TOTAL", "1")]
        if random.random() < 0.6:
            rows.append(("Facebook", f"{max(email, 0) / 8}"))
        hear(operation, "interactions", at, *rows)
        hear(operation, "interaction_licenses", at, ("Licences", str(random.choice([40, 45]))))
        hear(other, "interactions", at, ("Email", str(at.hour)))
        hear(
            other,
            "ivr_calls",
            at,
            *(("Calls", str(day.day), f"{day:%Y-%m-%d}") for day in days_so_far(at)),
        )
        at += timedelta(hours=random.choice([5, 9, 11]))
    closing.close_months(datetime(2026, 11, 1, 12, tzinfo=UTC))
    return operation


def days_so_far(at: datetime) -> list[datetime]:
    today = at - timedelta(hours=5)
    return [today.replace(day=number) for number in range(1, today.day + 1)]


def tables() -> list[list[dict[str, object]]]:
    return [
        list(model.objects.order_by("operation", "product", date).values(*columns(model)))
        for model, date in ((DailyUsage, "day"), (MonthlyUsage, "month"))
    ]


def columns(model: type[DailyUsage] | type[MonthlyUsage]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields if not field.primary_key]


def test_what_was_kept_in_step_is_what_the_snapshots_say(history: Operation) -> None:
    assert MonthlyUsage.objects.filter(state="closed").exists()
    assert list(rebuild(write=False)) == []


def test_who_reads_the_differences_holds_nothing_up(history: Operation) -> None:
    MonthlyUsage.objects.update(items=1)
    depth = len(connection.savepoint_ids)
    assert {len(connection.savepoint_ids) - depth for _ in rebuild(write=False)} == {0}


def test_lost_rows_of_open_months_come_back_to_the_same_bytes(history: Operation) -> None:
    before = tables()
    sealed = MonthlyUsage.objects.filter(state="closed").values_list("month", flat=True).distinct().get()
    MonthlyUsage.objects.exclude(month=sealed).delete()
    DailyUsage.objects.filter(day__gte=months.next_month(sealed)).delete()
    assert list(rebuild(write=True))
    assert tables() == before


def test_a_changed_figure_is_found_and_put_right(history: Operation) -> None:
    before = tables()
    row = DailyUsage.objects.filter(day="2026-11-05").exclude(month_to_date=None).first()
    assert row
    DailyUsage.objects.filter(pk=row.pk).update(month_to_date=Decimal("12345"))
    [difference] = rebuild(write=True)
    assert (difference.column, difference.stands) == ("DailyUsage.month_to_date", 12345)
    assert tables() == before


def test_a_figure_of_a_sealed_month_is_reported_and_left(history: Operation) -> None:
    row = MonthlyUsage.objects.filter(state="closed").first()
    assert row
    MonthlyUsage.objects.filter(pk=row.pk).update(items=Decimal("1"))
    assert len(list(rebuild(write=True))) == 1
    assert len(list(rebuild(write=False))) == 1


def test_a_row_that_no_snapshot_tells_of_goes(history: Operation) -> None:
    before = tables()
    row = DailyUsage.objects.filter(operation=history, day__gt="2026-11-01").latest("day")
    row.pk, row.day = None, row.day + timedelta(days=1)
    row.save()
    assert list(rebuild(write=True))
    assert tables() == before


def invented(operation: Operation, **columns: object) -> MonthlyUsage:
    """A month's row in a month that the vendor told nothing of."""
    row = MonthlyUsage.objects.filter(operation=operation, product__name="Email").latest("month")
    row.pk = None
    for name, value in {"month": date(2026, 7, 1), **columns}.items():
        setattr(row, name, value)
    row.save()
    return row


def test_a_month_that_no_snapshot_tells_of_is_found_and_goes(history: Operation) -> None:
    before = tables()
    invented(history)
    found = list(rebuild(write=False))
    assert {difference.should for difference in found} == {None}
    assert all("2026-07" in difference.row for difference in found)
    assert "MonthlyUsage.items" in {difference.column for difference in found}
    assert list(rebuild(write=True)) == found
    assert tables() == before


def test_a_closed_month_that_no_snapshot_tells_of_is_reported_and_left(history: Operation) -> None:
    row = invented(history, state="closed", closed_at=datetime(2026, 8, 1, 6, tzinfo=UTC))
    assert list(rebuild(write=True))
    assert MonthlyUsage.objects.filter(pk=row.pk).exists()


def test_a_closed_row_that_stands_on_a_correction_alone_is_no_difference(history: Operation) -> None:
    nothing: dict[str, object] = {"items_by_day": [], "to_date_by_day": [], "reckoned_days": [], "items": Decimal(0)}
    invented(history, state="closed", closed_at=datetime(2026, 8, 1, 6, tzinfo=UTC), **nothing)
    assert list(rebuild(write=False)) == []


def test_a_feed_that_turns_out_to_count_the_day_is_counted_again(operation: Operation) -> None:
    feed = operation.feeds.select_related("operation").get(api="interactions")
    for day, hour, items in ((10, 9, "50"), (10, 23, "80"), (11, 9, "40"), (11, 23, "90"), (12, 9, "30")):
        at = datetime(2026, 11, day, hour, 58, tzinfo=UTC) + timedelta(hours=5)
        hear(operation, "interactions", at, ("Email", items))
    assert MonthlyUsage.objects.get().items == 30
    feed.counts = Feed.Counts.DAY
    feed.save()
    recount(feed)
    month = MonthlyUsage.objects.get()
    assert (month.items, month.items_by_day[9:], month.is_restated) == (200, ["80", "90", "30"], False)
    assert list(rebuild(write=False)) == []
    feed.counts = Feed.Counts.MONTH
    feed.save()
    recount(feed)
    assert MonthlyUsage.objects.get().items == 30


@pytest.mark.parametrize("counts", Feed.Counts.values)
def test_days_that_were_told_of_one_by_one_are_counted_again_the_same(operation: Operation, counts: str) -> None:
    operation.feeds.update(counts=counts)
    feed = operation.feeds.select_related("operation").get(api="interactions")
    for today in (1, 2, 3, 4):
        rows = [("Email", str(10 + day), f"2026-11-{day:02}") for day in range(1, today + 1)]
        hear(operation, "interactions", datetime(2026, 11, today, 20, tzinfo=UTC), *rows)
    for feed.counts in (Feed.Counts.DAY, Feed.Counts.MONTH):
        feed.save()
        recount(feed)
        month = MonthlyUsage.objects.get()
        assert (month.items, month.is_restated) == (50, False)


def test_rows_day_by_day_count_days_whatever_their_feed_is_set_to(operation: Operation) -> None:
    feed = operation.feeds.select_related("operation").get(api="interactions")
    rows = [("Email", str(day), f"2026-11-{day:02}") for day in (1, 2, 3)]
    hear(operation, "interactions", datetime(2026, 11, 3, 20, tzinfo=UTC), *rows)
    for counts in (Feed.Counts.DAY, Feed.Counts.MONTH):
        feed.counts = counts
        feed.save()
        recount(feed)
        assert MonthlyUsage.objects.get().items == 6


def test_a_gauge_that_was_told_day_by_day_and_turns_out_to_be_usage_is_counted_by_the_day(operation: Operation) -> None:
    feed = operation.feeds.get(api="interaction_licenses")
    told = {2: "100", 3: "100", 6: "150", 7: "160"}

    def hear_days(today: int, hour: int) -> None:
        rows = [("Calls", items, f"2026-11-{day:02}") for day, items in told.items() if day <= today]
        hear(operation, "interaction_licenses", datetime(2026, 11, today, hour, tzinfo=UTC), *rows)

    for today in told:
        hear_days(today, 12)
        hear_days(today, 13)
    Product.objects.update(kind=Product.Kind.USAGE)
    feed.refresh_from_db()
    refold(feed)
    told[7] = "165"
    hear_days(7, 14)
    assert list(DailyUsage.objects.order_by("day").values_list("items", flat=True)) == [100, 100, 150, 165]
    assert MonthlyUsage.objects.get().items == 515
    assert list(rebuild(write=False)) == []


def test_in_a_zone_to_the_west_no_figure_is_of_a_day_to_come(operation: Operation) -> None:
    Operation.objects.update(time_zone="Europe/Madrid")
    for hour, items in ((20, "1000"), (25, "1010")):  # 02:00 in Madrid, 20:00 in Bogotá
        hear(operation, "interactions", datetime(2026, 11, 9, tzinfo=UTC) + timedelta(hours=hour), ("Email", items))
    Operation.objects.update(time_zone="America/Bogota")
    refold(operation.feeds.select_related("operation").get(api="interactions"))
    hear(operation, "interactions", datetime(2026, 11, 10, 2, tzinfo=UTC), ("Email", "1020"))
    month = MonthlyUsage.objects.get()
    assert (month.items, len(month.items_by_day)) == (1020, 9)
    assert list(rebuild(write=False)) == []


def test_a_closed_month_stays_what_it_was_in_its_own_time_zone(operation: Operation) -> None:
    begin = datetime(2026, 10, 5, 17, tzinfo=UTC)
    for after, items in ((0, "500"), (4, "900"), (26, "1900"), (27, "1")):
        hear(operation, "interactions", begin + timedelta(days=after), ("Email", items))
    closing.close_months(begin + timedelta(days=27, hours=1))
    Operation.objects.update(time_zone="America/Mexico_City")
    assert {difference.row.partition(" · ")[2][:7] for difference in rebuild(write=False)} <= {"2026-11"}
    assert MonthlyUsage.objects.filter(state="closed", closed_zone="America/Bogota").exclude(reckoned_days=[]).exists()
