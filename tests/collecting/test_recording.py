from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Event, Thread
from time import sleep

import pytest
from django.db import IntegrityError, connection, transaction

from tests.conftest import body_of, hear, make_operation
from usage.collecting import recording
from usage.collecting.folding import MANY
from usage.collecting.rebuilding import rebuild
from usage.models import Answer, DailyUsage, Feed, Gap, MonthlyUsage, Operation, Poll, Product, Snapshot
from usage.wolkvox import answers
from usage.wolkvox.client import Reply
from usage.wolkvox.errors import AnswerRefused

pytestmark = pytest.mark.django_db


def at(day: int, hour: int = 12, minute: int = 0, month: int = 11) -> datetime:
    """A time of 2026 in Bogotá, which is five hours behind UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC) + timedelta(hours=5)


def shown(figure: Decimal | None) -> str | None:
    return None if figure is None else f"{figure.normalize():f}"


def days(operation: Operation, description: str) -> dict[int, tuple[str | None, str | None]]:
    rows = DailyUsage.objects.filter(operation=operation, product__description=description)
    return {row.day.day: (shown(row.items), shown(row.month_to_date)) for row in rows}


def month_of(operation: Operation, description: str, month: int = 11) -> MonthlyUsage:
    return MonthlyUsage.objects.get(operation=operation, product__description=description, month=date(2026, month, 1))


def test_a_figure_becomes_a_snapshot_a_day_and_a_month(operation: Operation) -> None:
    poll = hear(operation, "interactions", at(1), ("Email", "120", "2026-11-01"))
    snapshot = Snapshot.objects.get()
    assert (snapshot.items, snapshot.day, snapshot.month) == (120, date(2026, 11, 1), date(2026, 11, 1))
    assert (snapshot.first_seen, snapshot.last_seen, snapshot.first_poll) == (at(1), at(1), poll)
    assert days(operation, "Email") == {1: ("120", "120")}
    month = month_of(operation, "Email")
    assert (month.items, month.as_of, month.state) == (120, at(1), "open")


def test_an_unchanged_figure_only_moves_last_seen_and_costs_no_second_answer(operation: Operation) -> None:
    for minute in (0, 5, 10):
        hear(operation, "interactions", at(1, 12, minute), ("Email", "120", "2026-11-01"))
    assert Poll.objects.count() == 3
    assert Answer.objects.count() == 1
    snapshot = Snapshot.objects.get()
    assert (snapshot.first_seen, snapshot.last_seen) == (at(1, 12, 0), at(1, 12, 10))
    assert month_of(operation, "Email").as_of == at(1, 12, 10)


def test_a_day_uses_what_the_month_gained_since_the_day_before(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "120"))
    hear(operation, "interactions", at(1, 23, 59), ("Email", "200"))
    hear(operation, "interactions", at(2, 0, 4), ("Email", "200.5"))
    hear(operation, "interactions", at(2), ("Email", "260.5"))
    assert days(operation, "Email") == {1: ("200", "200"), 2: ("60.5", "260.5")}


def reckoned(operation: Operation, description: str) -> list[int]:
    return list(month_of(operation, description).reckoned_days)


def test_what_came_in_a_gap_is_spread_over_its_days_and_marked(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 0, 4), ("Email", "0"))
    hear(operation, "interactions", at(1), ("Email", "100"))
    hear(operation, "interactions", at(4), ("Email", "400"))
    hear(operation, "interactions", at(4, 12, 5), ("Email", "410"))
    hear(operation, "interactions", at(5), ("Email", "450"))
    assert days(operation, "Email") == {
        1: ("150", "150"),
        2: ("100", "250"),
        3: ("100", "350"),
        4: ("79", "429"),
        5: ("21", "450"),
    }
    month = month_of(operation, "Email")
    assert (month.items_by_day, month.reckoned_days) == (["150", "100", "100", "79", "21"], [1, 2, 3, 4, 5])
    assert (month.items, month.highest, month.lowest) == (450, None, None)
    rows = DailyUsage.objects.order_by("day")
    assert [row.as_of for row in rows] == [at(1), at(4), at(4), at(4, 12, 5), at(5)]
    assert [row.highest for row in rows] == [100, None, None, 410, 450]
    assert list(rebuild(write=False)) == []


def test_a_gap_within_a_day_is_that_days(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 0, 4), ("Email", "0"))
    hear(operation, "interactions", at(1, 23, 59), ("Email", "100"))
    hear(operation, "interactions", at(2, 0, 4), ("Email", "101"))
    hear(operation, "interactions", at(2, 15), ("Email", "300"))
    assert days(operation, "Email") == {1: ("100", "100"), 2: ("200", "300")}
    assert reckoned(operation, "Email") == []
    assert month_of(operation, "Email").gap_seconds > 0


def test_nothing_used_in_a_gap_needs_no_reckoning(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 0, 4), ("Email", "100"))
    hear(operation, "interactions", at(3), ("Email", "100"))
    assert days(operation, "Email") == {1: ("100", "100"), 2: ("0", "100"), 3: ("0", "100")}
    assert reckoned(operation, "Email") == []


def test_a_figure_with_decimals_is_spread_without_losing_any(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 0, 4), ("Email", "0"))
    hear(operation, "interactions", at(7), ("Email", "100.0003"))
    used = [Decimal(items) for items, _ in days(operation, "Email").values() if items]
    assert (len(used), sum(used), month_of(operation, "Email").items) == (7, Decimal("100.0003"), Decimal("100.0003"))


def test_a_product_that_the_vendor_told_nothing_of_for_days_is_reckoned_too(operation: Operation) -> None:
    Feed.objects.update(interval=1440)
    hear(operation, "interactions", at(1), ("Email", "10"), ("Chat", "6"))
    for day in (2, 3):
        hear(operation, "interactions", at(day), ("Email", "10"))
    hear(operation, "interactions", at(4), ("Email", "10"), ("Chat", "12"))
    assert days(operation, "Chat") == {1: ("7", "7"), 2: ("2", "9"), 3: ("2", "11"), 4: ("1", "12")}
    assert (reckoned(operation, "Chat"), reckoned(operation, "Email")) == ([1, 2, 3, 4], [])


def hear_email_over_midnight(operation: Operation, *chat: tuple[int, str]) -> None:
    """Polls every 10 minutes around the midnight after the 1st; Chat is named in some, by minutes after 23:40."""
    hear(operation, "interactions", at(1, 0, 4), ("Email", "0"), ("Chat", "0"))
    told = dict(chat)
    for minutes in range(0, 70, 10):
        date_there = "2026-11-01" if minutes < 20 else "2026-11-02"
        rows = [("Email", f"{100 + minutes}", date_there)]
        if minutes in told:
            rows.append(("Chat", told[minutes], date_there))
        hear(operation, "interactions", at(1, 23, 40) + timedelta(minutes=minutes), *rows)


def test_a_product_that_is_silent_over_a_midnight_is_reckoned(operation: Operation) -> None:
    hear_email_over_midnight(operation, (0, "60"), (40, "100"))
    Feed.objects.update(interval=60)
    assert days(operation, "Chat") == {1: ("80", "80"), 2: ("20", "100")}
    assert days(operation, "Email") == {1: ("110", "110"), 2: ("50", "160")}
    assert (reckoned(operation, "Chat"), reckoned(operation, "Email")) == ([1, 2], [])
    assert list(rebuild(write=False)) == []


def test_a_product_that_is_silent_after_midnight_was_told_of_in_time(operation: Operation) -> None:
    hear_email_over_midnight(operation, (0, "60"), (10, "70"), (50, "100"))
    assert days(operation, "Chat") == {1: ("70", "70"), 2: ("30", "100")}
    assert reckoned(operation, "Chat") == []


@pytest.mark.parametrize(("minutes", "marked"), [(0, [1]), (10, [])])
def test_a_day_counter_that_falls_silent_before_midnight_lacks_the_rest_of_its_day(
    operation: Operation, minutes: int, marked: list[int]
) -> None:
    Feed.objects.update(counts=Feed.Counts.DAY)
    hear_email_over_midnight(operation, (minutes, "60"), (40, "5"))
    assert days(operation, "Chat") == {1: ("60", "60"), 2: ("5", "65")}
    assert reckoned(operation, "Chat") == marked
    assert list(rebuild(write=False)) == []


def test_a_product_first_used_in_mid_month_was_used_then(operation: Operation) -> None:
    Feed.objects.update(interval=1440)
    for day in (1, 2):
        hear(operation, "interactions", at(day), ("Email", "10"))
    hear(operation, "interactions", at(3), ("Email", "10"), ("Chat", "6"))
    assert days(operation, "Chat") == {3: ("6", "6")}
    assert reckoned(operation, "Chat") == []


def test_a_very_long_answer_is_spread_over_no_days_but_marked(operation: Operation) -> None:
    hear(operation, "interactions", at(20), *[(f"Product {number}", "9") for number in range(MANY + 1)])
    assert DailyUsage.objects.count() == MANY + 1
    assert days(operation, "Product 7") == {20: ("9", "9")}
    assert reckoned(operation, "Product 7") == [20]
    assert list(rebuild(write=False)) == []


def test_what_fell_in_a_gap_is_no_use_of_its_days(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 0, 4), ("Email", "100"))
    hear(operation, "interactions", at(3), ("Email", "90"))
    assert days(operation, "Email") == {1: ("100", "100"), 2: ("0", "100"), 3: ("-10", "90")}
    assert reckoned(operation, "Email") == [1, 2, 3]
    assert month_of(operation, "Email").is_restated


def test_a_fallen_figure_is_kept_and_flagged(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 10), ("Email", "100"))
    hear(operation, "interactions", at(1, 11), ("Email", "90"))
    assert [snapshot.items for snapshot in Snapshot.objects.order_by("pk")] == [100, 90]
    day = DailyUsage.objects.get()
    assert (day.month_to_date, day.highest, day.is_restated) == (90, 100, True)
    assert month_of(operation, "Email").is_restated


def test_a_figure_that_fell_across_a_gap_is_flagged_too(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "100"))
    hear(operation, "interactions", at(9), ("Email", "90"))
    assert month_of(operation, "Email").is_restated


def test_a_gauge_keeps_its_last_highest_and_lowest_figure(operation: Operation) -> None:
    for hour, items in ((8, "40"), (9, "45"), (10, "42")):
        hear(operation, "interaction_licenses", at(3, hour), ("Interaction licences", items))
    month = month_of(operation, "Interaction licences")
    assert (month.items, month.highest, month.lowest) == (42, 45, 40)
    assert not month.is_restated
    assert days(operation, "Interaction licences") == {3: ("42", None)}


def test_a_gauge_of_zero_is_lower_than_any_other(operation: Operation) -> None:
    for hour, items in ((8, "0"), (9, "45")):
        hear(operation, "interaction_licenses", at(3, hour), ("Interaction licences", items))
    month = month_of(operation, "Interaction licences")
    assert (month.items, month.highest, month.lowest) == (45, 45, 0)


def test_a_late_word_on_a_gauges_day_is_not_its_months_last_figure(operation: Operation) -> None:
    for first in ("40", "47"):
        rows = [("Licences", first, "2026-11-01"), ("Licences", "45", "2026-11-02")]
        hear(operation, "interaction_licenses", at(2), *rows)
    month = month_of(operation, "Licences")
    assert (month.items, month.highest, month.items_by_day) == (45, 47, ["47", "45"])


def test_rows_dated_by_day_are_days_of_their_own(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "10", "2026-11-01"))
    hear(operation, "interactions", at(2), ("Email", "15", "2026-11-01"), ("Email", "7", "2026-11-02"))
    hear(
        operation,
        "interactions",
        at(3),
        ("Email", "16", "2026-11-01"),
        ("Email", "9", "2026-11-02"),
        ("Email", "2", "2026-11-03"),
    )
    assert days(operation, "Email") == {1: ("16", "16"), 2: ("9", "25"), 3: ("2", "27")}
    assert month_of(operation, "Email").items == 27


def test_the_sums_of_later_days_follow_a_day_that_changed_before_them(operation: Operation) -> None:
    hear(operation, "interactions", at(2), ("Email", "10", "2026-11-01"), ("Email", "7", "2026-11-02"))
    hear(operation, "interactions", at(2, 13), ("Email", "12", "2026-11-01"), ("Email", "7", "2026-11-02"))
    assert days(operation, "Email") == {1: ("12", "12"), 2: ("7", "19")}
    assert month_of(operation, "Email").items == 19
    assert list(rebuild(write=False)) == []


def test_a_late_word_on_a_day_moves_what_the_next_day_used_and_not_its_sum(operation: Operation) -> None:
    for day, items in (("2026-11-01", "80"), ("2026-11-02", "90"), ("2026-11-03", "100"), ("2026-11-02", "93")):
        hear(operation, "interactions", at(3), ("Email", items, day))
    assert days(operation, "Email") == {1: ("80", "80"), 2: ("13", "93"), 3: ("7", "100")}
    assert month_of(operation, "Email").items == 100
    assert list(rebuild(write=False)) == []


def test_a_corrected_day_reaches_over_days_that_nothing_was_told_of(operation: Operation) -> None:
    hear(operation, "interactions", at(4), ("Email", "5", "2026-11-01"), ("Email", "9", "2026-11-04"))
    hear(operation, "interactions", at(4, 13), ("Email", "8", "2026-11-01"), ("Email", "9", "2026-11-04"))
    assert days(operation, "Email") == {1: ("8", "8"), 4: ("9", "17")}
    assert month_of(operation, "Email").items == 17
    assert list(rebuild(write=False)) == []


def test_days_may_be_told_in_any_order(operation: Operation) -> None:
    def told(*days: tuple[int, str]) -> list[tuple[str, str, str]]:
        return [("Email", items, f"2026-11-{day:02}") for day, items in days]

    hear(operation, "interactions", at(6), *told((1, "10"), (4, "7"), (5, "5"), (6, "2")))
    hear(operation, "interactions", at(6, 13), *told((1, "11"), (5, "6"), (3, "0"), (4, "7"), (6, "2")))
    assert days(operation, "Email") == {1: ("11", "11"), 3: ("0", "11"), 4: ("7", "18"), 5: ("6", "24"), 6: ("2", "26")}
    assert month_of(operation, "Email").items == 26
    assert list(rebuild(write=False)) == []


def test_a_day_that_is_first_told_of_late_takes_its_use_from_the_next_known_one(operation: Operation) -> None:
    Feed.objects.update(interval=1440)
    for day in (1, 2, 3):
        hear(operation, "interactions", at(day), ("Chat", "1", f"2026-11-{day:02}"))
    hear(operation, "interactions", at(5), ("Email", "10", "2026-11-05"))
    hear(operation, "interactions", at(5, 13), ("Email", "4", "2026-11-03"))
    assert days(operation, "Email") == {3: ("4", "4"), 5: ("6", "10")}
    assert list(rebuild(write=False)) == []


def test_new_licences_are_linked_to_usage_alone(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "10"), ("Agents", "5"))
    Product.objects.filter(description="Agents").update(kind=Product.Kind.LICENCES)
    hear(operation, "interaction_licenses", at(1), ("Licences", "40"))
    assert list(Product.objects.exclude(licensed_by=None).values_list("description", flat=True)) == ["Email"]


def test_a_feed_that_counts_the_day_sums_its_days(operation: Operation) -> None:
    Feed.objects.filter(api="interactions").update(counts=Feed.Counts.DAY, interval=1440)
    for day, items in ((1, "10"), (2, "4"), (4, "6")):
        hear(operation, "interactions", at(day), ("Email", items))
    assert days(operation, "Email") == {1: ("10", "10"), 2: ("4", "14"), 4: ("6", "20")}
    month = month_of(operation, "Email")
    assert (month.items, month.is_restated, month.highest) == (20, False, 10)


def test_midnight_is_the_operations_own(operation: Operation) -> None:
    hear(operation, "interactions", datetime(2026, 11, 2, 4, 59, tzinfo=UTC), ("Email", "10"))
    hear(operation, "interactions", datetime(2026, 11, 2, 5, 1, tzinfo=UTC), ("Email", "11"))
    assert days(operation, "Email") == {1: ("10", "10"), 2: ("1", "11")}


def test_the_vendors_date_decides_the_day(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 0, 2, month=11), ("Email", "900", "2026-10-31"))
    assert month_of(operation, "Email", 10).items == 900


@pytest.mark.parametrize("vendor_date", ["2026-09-23", "2027-11-23", "2026-11-29", "2025-11"])
def test_a_date_far_from_the_clock_refuses_the_answer(operation: Operation, vendor_date: str) -> None:
    with pytest.raises(AnswerRefused, match="Email"):
        hear(operation, "interactions", at(23), ("Email", "900", vendor_date))
    assert not Snapshot.objects.exists()
    assert not Poll.objects.exists()


def test_usage_is_licensed_by_the_licences_that_the_catalogue_names(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "1"))
    hear(operation, "interaction_licenses", at(1), ("Interaction licences", "40"))
    hear(operation, "interactions", at(2), ("Email", "2"), ("Facebook", "1"))
    licences = Product.objects.get(description="Interaction licences")
    assert set(licences.licenses.values_list("description", flat=True)) == {"Email", "Facebook"}


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_usage_and_licences_that_are_new_at_once_find_each_other() -> None:
    lima, quito = make_operation("Lima"), make_operation("Quito")
    is_told = Event()

    def tell_of_licences() -> None:
        with transaction.atomic():
            hear(lima, "interaction_licenses", at(1), ("Interaction licences", "40"))
            is_told.set()
            sleep(0.5)
        connection.close()

    other = Thread(target=tell_of_licences)
    other.start()
    is_told.wait(10)
    hear(quito, "interactions", at(1), ("Email", "1"))
    other.join()
    licensed_by = Product.objects.get(description="Email").licensed_by
    assert licensed_by is not None
    assert licensed_by.description == "Interaction licences"


def test_what_an_admin_took_from_its_licences_is_not_given_back(operation: Operation) -> None:
    hear(operation, "interaction_licenses", at(1), ("Interaction licences", "40"))
    hear(operation, "interactions", at(1), ("Email", "1"), ("Robot", "1"))
    Product.objects.filter(description="Robot").update(licensed_by=None)
    hear(operation, "interactions", at(2), ("Email", "2"), ("Robot", "2"), ("Facebook", "1"))
    licences = Product.objects.get(description="Interaction licences")
    assert set(licences.licenses.values_list("description", flat=True)) == {"Email", "Facebook"}


def test_a_summary_row_is_no_product_unless_an_admin_says_so(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "1"), ("TOTAL", "1"))
    assert not Snapshot.objects.filter(product__description="TOTAL").exists()
    Product.objects.filter(description="TOTAL").update(is_counted=True)
    hear(operation, "interactions", at(2), ("Email", "1"), ("TOTAL", "1"))
    assert Snapshot.objects.filter(product__description="TOTAL").exists()


def test_minutes_that_turn_into_hours_minutes_and_seconds_refuse_the_answer(operation: Operation) -> None:
    hear(operation, "rec_screen", at(1), ("Screen", "02:02:47"))
    assert Product.objects.get().unit == "seconds"
    assert Snapshot.objects.get().items == 7367
    with pytest.raises(AnswerRefused):
        hear(operation, "rec_screen", at(1, 13), ("Screen", "7400"))
    assert Poll.objects.count() == 1


def test_another_operations_name_is_flagged(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "1"), name="Bogotá")
    hear(operation, "interactions", at(2), ("Email", "2"), name="Lima")
    operation.refresh_from_db()
    assert (operation.vendor_name, operation.other_vendor_name) == ("Bogotá", "Lima")


def test_a_stretch_without_a_good_poll_is_a_gap_counted_in_the_month(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 0, 4), ("Email", "1"))
    hear(operation, "interactions", at(1, 0, 9), ("Email", "2"))
    assert not Gap.objects.exists()
    hear(operation, "interactions", at(1, 2, 9), ("Email", "3"))
    gap = Gap.objects.get()
    assert (gap.began_at, gap.ended_at) == (at(1, 0, 9), at(1, 2, 9))
    assert month_of(operation, "Email").gap_seconds == 7200


def test_the_time_before_the_first_poll_is_a_gap(operation: Operation) -> None:
    hear(operation, "interactions", at(3, 0, 0), ("Email", "300"))
    assert month_of(operation, "Email").gap_seconds == 2 * 86400
    assert days(operation, "Email") == {1: ("150", "150"), 2: ("150", "300"), 3: ("0", "300")}
    assert reckoned(operation, "Email") == [1, 2, 3]
    assert month_of(operation, "Email").gaps == [[0, 2 * 86400]]


def test_a_clock_set_back_loses_nothing(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 12), ("Email", "1"))
    hear(operation, "interactions", at(1, 11), ("Email", "2"))
    assert month_of(operation, "Email").items == 2
    assert Snapshot.objects.filter(first_seen__gt=at(1, 12)).count() == 1


def test_a_sealed_month_never_moves(operation: Operation) -> None:
    hear(operation, "interactions", at(31, month=10), ("Email", "900", "2026-10-31"))
    MonthlyUsage.objects.update(state="closed", closed_at=at(1, 0, 0))
    before = list(DailyUsage.objects.values()), list(MonthlyUsage.objects.values())
    hear(operation, "interactions", at(1, 0, 1, month=11), ("Email", "900", "2026-10-31"))
    assert Snapshot.objects.earliest("first_seen").last_seen == at(31, month=10)
    hear(operation, "interactions", at(1, 0, 2), ("Email", "950", "2026-10-31"))
    hear(operation, "interactions", at(1, 0, 7), ("Email", "950", "2026-10-31"))
    assert (list(DailyUsage.objects.values()), list(MonthlyUsage.objects.values())) == before
    assert Snapshot.objects.filter(items=950).exists()
    assert list(rebuild(write=False)) == []


def test_the_same_answer_twice_for_two_operations_is_kept_once(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "1"))
    hear(make_operation("Quito"), "interactions", at(1), ("Email", "1"))
    assert Answer.objects.count() == 1
    assert DailyUsage.objects.count() == 2


def test_one_token_is_one_operation(operation: Operation) -> None:
    twin = Operation(name="Twin", slug="twin", server="0012", token_fingerprint=operation.token_fingerprint)
    with pytest.raises(IntegrityError):
        twin.save()


def test_a_first_answer_of_a_single_day_counts_that_day_where_the_next_has_a_row_a_day(operation: Operation) -> None:
    """Added on Monday, after an unused Sunday: taken for the month to date, 100 would be spread over both days."""
    hear(operation, "interactions", at(2, 10), ("Email", "100", "2026-11-02"))
    hear(operation, "interactions", at(3, 10), ("Email", "300", "2026-11-02"), ("Email", "7", "2026-11-03"))
    assert days(operation, "Email") == {2: ("300", "300"), 3: ("7", "307")}
    assert (month_of(operation, "Email").items, reckoned(operation, "Email")) == (307, [])
    assert list(rebuild(write=False)) == []


def test_a_month_to_date_before_rows_of_each_day_stays_one(operation: Operation) -> None:
    hear(operation, "interactions", at(2, 10), ("Email", "500", "2026-11-02"))
    hear(operation, "interactions", at(3, 10), ("Email", "300", "2026-11-02"), ("Email", "7", "2026-11-03"))
    assert list(Snapshot.objects.order_by("id").values_list("items", "counts_day")) == [
        (500, False),
        (300, True),
        (7, True),
    ]


def test_rows_of_two_months_are_each_the_month_to_date(operation: Operation) -> None:
    Feed.objects.update(last_good_poll_at=at(30, 23, 55, month=10))
    hear(operation, "interactions", at(30, 23, 58, month=10), ("Email", "1000", "2026-10-30"))
    hear(operation, "interactions", at(31, 23, 58, month=10), ("Email", "1050", "2026-10-31"))
    hear(operation, "interactions", at(1, 0, 3), ("Email", "1051", "2026-10-31"), ("Email", "2", "2026-11-01"))
    assert list(MonthlyUsage.objects.order_by("month").values_list("items", flat=True)) == [1051, 2]


def test_a_day_count_that_is_dated_by_its_month_alone_is_told_apart_at_the_turn(operation: Operation) -> None:
    """The vendor's day begins two hours before ours."""
    Feed.objects.update(counts="day")
    hear(operation, "interactions", at(9, 23, 58), ("Email", "480", "2026-11"))
    for hour, minute, items in ((0, 3, "1"), (12, 0, "300"), (21, 55, "500"), (22, 5, "3"), (23, 58, "18")):
        hear(operation, "interactions", at(10, hour, minute), ("Email", items, "2026-11"))
    assert days(operation, "Email")[10][0] == "500"


@pytest.mark.parametrize("ahead", [0, 90])
def test_a_day_count_that_is_held_in_the_evening_keeps_it_whatever_the_vendors_clock(
    operation: Operation, ahead: int
) -> None:
    Feed.objects.update(counts="day")
    feed = operation.feeds.select_related("operation").get(api="interactions")
    begin, busy = at(10, 6, 33) + timedelta(seconds=40), at(10, 17, 24)
    for number in range(300):
        now = begin + timedelta(minutes=5 * number)
        into = (now - at(11, 0)) if now >= at(11, 0) else max(now - busy, timedelta()) * 10
        body = body_of([("Email", str(1 + into // timedelta(hours=1)))])
        reply = Reply(body, 200, now + timedelta(seconds=ahead), now, now)
        recording.record(feed, reply, answers.parse(body, feed.about))
    assert days(operation, "Email")[10][0] == "66"


def test_gaps_are_told_by_the_interval_of_then(operation: Operation) -> None:
    """An admin's new interval is no outage, and hides none."""
    feeds = Feed.objects.filter(api="interactions")
    feeds.update(interval=1440, last_good_poll_at=at(9, 23, 58))
    hear(operation, "interactions", at(10, 23, 58), ("Email", "60"))
    feeds.update(interval=5)
    hear(operation, "interactions", at(11, 12), ("Email", "90"))
    assert not Gap.objects.exists()
    feeds.update(interval=1440)
    hear(operation, "interactions", at(13, 23, 58), ("Email", "900"))
    assert Gap.objects.get().began_at == at(11, 12)


def test_where_our_clock_jumped_to_another_day_an_answer_without_a_date_is_refused(operation: Operation) -> None:
    feed = operation.feeds.select_related("operation").get(api="interactions")
    hear(operation, "interactions", at(23), ("Email", "900"))
    feed.refresh_from_db()

    def tell(items: str, date: str, ours: datetime) -> None:
        body = body_of([("Email", items, date)])
        recording.record(feed, Reply(body, 200, at(23, 12, 5), ours, ours), answers.parse(body, feed.about))

    with pytest.raises(AnswerRefused, match="the vendor's clock says 2026-11-23"):
        tell("905", "", at(3, 12, 5, month=12))
    assert list(MonthlyUsage.objects.values_list("items", flat=True)) == [900]
    tell("905", "", at(23, 15))
    assert MonthlyUsage.objects.get().items == 905
