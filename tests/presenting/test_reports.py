"""Whole bodies, byte for byte; under either database, which must give the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from tests.conftest import hear, make_operation
from usage.collecting import closing, months
from usage.collecting.rebuilding import rebuild
from usage.models import Certificate, Correction, Feed, MonthlyUsage, Operation, Product, Snapshot
from usage.presenting import reports
from usage.presenting.figures import product_months

pytestmark = pytest.mark.django_db

NOVEMBER = date(2026, 11, 1)


def at(day: int, hour: int = 12, minute: int = 0, *, month: int = 11) -> datetime:
    """A time of 2026 in Bogotá, which is five hours behind UTC."""
    return datetime(2026, month, day, hour, minute, 2, 345678, tzinfo=UTC) + timedelta(hours=5)


NOW = at(4)


def body(
    name: str, *, products: Sequence[int] | None = None, dialect: str = "", now: datetime = NOW, **only: object
) -> str:
    """November's report of the operations that `only` names."""
    operations = Operation.objects.filter(**only)
    chunks = reports.stream(name, month=NOVEMBER, operations=operations, now=now, products=products, dialect=dialect)
    return b"".join(chunks).decode()


def text(*lines: str) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def cells(body: str, column: str, *, delimiter: str = ",") -> list[str]:
    rows = csv.DictReader(io.StringIO(body.removeprefix("\ufeff"), newline=""), delimiter=delimiter)
    return [row[column] for row in rows]


def gap_seconds(api: str) -> int:
    return MonthlyUsage.objects.filter(product__api=api).values_list("gap_seconds", flat=True).distinct().get()


@pytest.fixture
def told(operation: Operation) -> Operation:
    """Usage of three days with one missing and one restated, and licences of two of them."""
    Feed.objects.filter(operation=operation).update(interval=1440)
    hear(operation, "interaction_licenses", at(1, 9), ("Licences", "32"))
    hear(operation, "interactions", at(1, 10), ("Email", "120.5", "2026-11-01"), ("Facebook", "1"))
    hear(operation, "interactions", at(2, 10), ("Email", "400", "2026-11-02"), ("Facebook", "3"))
    hear(operation, "interactions", at(2, 11), ("Email", "390", "2026-11-02"), ("Facebook", "3"))
    hear(operation, "interaction_licenses", at(4, 9), ("Licences", "30"))
    hear(operation, "interactions", at(4, 10), ("Email", "1234.25", "2026-11-04"), ("Facebook", "7"))
    return operation


# Whole bodies


def test_the_columns_are_those_of_the_contract() -> None:
    assert {name: ", ".join(columns) for name, columns in reports.COLUMNS.items()} == {
        "monthly": "month, operation, api, product, kind, items, highest, lowest, licences, items_per_licence, state, "
        "as_of, gap_seconds, seconds_unheard, most_unseen, unseen_reckoned_by, answer, correction",
        "daily": "day, operation, api, product, kind, items, month_to_date, licences, state, as_of",
        "snapshots": "operation, api, product, vendor_date, items, first_seen, last_seen, poll",
    }


def test_monthly(told: Operation) -> None:
    gauge, usage = gap_seconds("interaction_licenses"), gap_seconds("interactions")
    assert body("monthly") == text(
        "month,operation,api,product,kind,items,highest,lowest,licences,items_per_licence,state,as_of,gap_seconds,"
        "seconds_unheard,most_unseen,unseen_reckoned_by,answer,correction",
        f"2026-11,bogot-norte,interaction_licenses,Licences,licences,30,32,30,,,open,2026-11-04T09:00:02-05:00,{gauge},,,,,",
        f"2026-11,bogot-norte,interactions,Email,usage,1234.25,120.5,120.5,30,41.1417,open,2026-11-04T10:00:02-05:00,{usage},,,,,",
        f"2026-11,bogot-norte,interactions,Facebook,usage,7,1,1,30,0.2333,open,2026-11-04T10:00:02-05:00,{usage},,,,,",
    )


def test_monthly_for_a_spanish_excel(told: Operation) -> None:
    gauge, usage = gap_seconds("interaction_licenses"), gap_seconds("interactions")
    assert body("monthly", dialect="excel-es") == "\ufeff" + text(
        "month;operation;api;product;kind;items;highest;lowest;licences;items_per_licence;state;as_of;gap_seconds;"
        "seconds_unheard;most_unseen;unseen_reckoned_by;answer;correction",
        f"11/2026;bogot-norte;interaction_licenses;Licences;licences;30;32;30;;;open;04/11/2026 09:00:02;{gauge};;;;;",
        "11/2026;bogot-norte;interactions;Email;usage;1234,25;120,5;120,5;30;41,1417;open;04/11/2026 10:00:02;"
        f"{usage};;;;;",
        f"11/2026;bogot-norte;interactions;Facebook;usage;7;1;1;30;0,2333;open;04/11/2026 10:00:02;{usage};;;;;",
    )


@pytest.fixture
def certified(told: Operation) -> Operation:
    """The usage of `told`, closed, certified, and corrected twice since."""
    MonthlyUsage.objects.update(state="closed", closed_at=at(1, month=12), gap_seconds=5)
    email, facebook = MonthlyUsage.objects.filter(product__api="interactions").order_by("product__name")
    for usage, most in ((email, "1.9500"), (facebook, None)):
        Certificate.objects.create(
            usage=usage,
            last_good_poll_at=usage.as_of,
            seconds_unheard=39,
            most_unseen=most,
            pace="busiest" if most else "unknown",
            pace_items="12.5000" if most else None,
            pace_seconds=300 if most else None,
            answer_sha256="9f" * 32 if most else "",
        )
    for items, day in (("1250.5", 3), ("1250.75", 4)):
        poll = hear(told, "interactions", at(day, month=12), ("Chat", "1", "2026-12-01"))
        Correction.objects.create(usage=email, poll=poll, items=items, seen_at=at(day, month=12))
    return told


def test_monthly_of_a_certified_month(certified: Operation) -> None:
    assert body("monthly").splitlines()[1:] == [
        "2026-11,bogot-norte,interaction_licenses,Licences,licences,30,32,30,,,closed,2026-11-04T09:00:02-05:00,5,,,,,",
        "2026-11,bogot-norte,interactions,Email,usage,1234.25,120.5,120.5,30,41.1417,closed,2026-11-04T10:00:02-05:00,5,"
        f"39,1.95,busiest 12.5 in 300 s,{'9f' * 32},1250.75",
        "2026-11,bogot-norte,interactions,Facebook,usage,7,1,1,30,0.2333,closed,2026-11-04T10:00:02-05:00,5,39,,,,",
    ]
    spanish = body("monthly", dialect="excel-es").splitlines()
    assert spanish[2].endswith(f";5;39;1,95;busiest 12.5 in 300 s;{'9f' * 32};1250,75")


def test_a_correction_moves_no_other_cell(certified: Operation) -> None:
    corrected = body("monthly")
    Correction.objects.all().delete()
    assert body("monthly") == corrected.replace(",1250.75\r\n", ",\r\n")


def test_daily(told: Operation) -> None:
    assert body("daily") == text(
        "day,operation,api,product,kind,items,month_to_date,licences,state,as_of",
        "2026-11-01,bogot-norte,interaction_licenses,Licences,licences,32,,,complete,2026-11-01T09:00:02-05:00",
        "2026-11-04,bogot-norte,interaction_licenses,Licences,licences,30,,,unfinished,2026-11-04T09:00:02-05:00",
        "2026-11-01,bogot-norte,interactions,Email,usage,120.5,120.5,32,complete,2026-11-01T10:00:02-05:00",
        "2026-11-02,bogot-norte,interactions,Email,usage,503.0042,623.5042,,reckoned,2026-11-02T11:00:02-05:00",
        "2026-11-03,bogot-norte,interactions,Email,usage,431.1064,1054.6106,,reckoned,2026-11-04T10:00:02-05:00",
        "2026-11-04,bogot-norte,interactions,Email,usage,179.6394,1234.25,30,unfinished,2026-11-04T10:00:02-05:00",
        "2026-11-01,bogot-norte,interactions,Facebook,usage,1,1,32,complete,2026-11-01T10:00:02-05:00",
        "2026-11-02,bogot-norte,interactions,Facebook,usage,3,4,,reckoned,2026-11-02T11:00:02-05:00",
        "2026-11-03,bogot-norte,interactions,Facebook,usage,2,6,,reckoned,2026-11-04T10:00:02-05:00",
        "2026-11-04,bogot-norte,interactions,Facebook,usage,1,7,30,unfinished,2026-11-04T10:00:02-05:00",
    )


def test_daily_for_a_spanish_excel(told: Operation) -> None:
    assert body("daily", dialect="excel-es") == "\ufeff" + text(
        "day;operation;api;product;kind;items;month_to_date;licences;state;as_of",
        "01/11/2026;bogot-norte;interaction_licenses;Licences;licences;32;;;complete;01/11/2026 09:00:02",
        "04/11/2026;bogot-norte;interaction_licenses;Licences;licences;30;;;unfinished;04/11/2026 09:00:02",
        "01/11/2026;bogot-norte;interactions;Email;usage;120,5;120,5;32;complete;01/11/2026 10:00:02",
        "02/11/2026;bogot-norte;interactions;Email;usage;503,0042;623,5042;;reckoned;02/11/2026 11:00:02",
        "03/11/2026;bogot-norte;interactions;Email;usage;431,1064;1054,6106;;reckoned;04/11/2026 10:00:02",
        "04/11/2026;bogot-norte;interactions;Email;usage;179,6394;1234,25;30;unfinished;04/11/2026 10:00:02",
        "01/11/2026;bogot-norte;interactions;Facebook;usage;1;1;32;complete;01/11/2026 10:00:02",
        "02/11/2026;bogot-norte;interactions;Facebook;usage;3;4;;reckoned;02/11/2026 11:00:02",
        "03/11/2026;bogot-norte;interactions;Facebook;usage;2;6;;reckoned;04/11/2026 10:00:02",
        "04/11/2026;bogot-norte;interactions;Facebook;usage;1;7;30;unfinished;04/11/2026 10:00:02",
    )


def test_snapshots(told: Operation) -> None:
    polls = sorted(set(Snapshot.objects.values_list("first_poll", flat=True)))
    assert body("snapshots") == text(
        "operation,api,product,vendor_date,items,first_seen,last_seen,poll",
        f"bogot-norte,interaction_licenses,Licences,,32,2026-11-01T09:00:02-05:00,2026-11-01T09:00:02-05:00,{polls[0]}",
        f"bogot-norte,interaction_licenses,Licences,,30,2026-11-04T09:00:02-05:00,2026-11-04T09:00:02-05:00,{polls[4]}",
        f"bogot-norte,interactions,Email,2026-11-01,120.5,2026-11-01T10:00:02-05:00,2026-11-01T10:00:02-05:00,{polls[1]}",
        f"bogot-norte,interactions,Email,2026-11-02,400,2026-11-02T10:00:02-05:00,2026-11-02T10:00:02-05:00,{polls[2]}",
        f"bogot-norte,interactions,Email,2026-11-02,390,2026-11-02T11:00:02-05:00,2026-11-02T11:00:02-05:00,{polls[3]}",
        f"bogot-norte,interactions,Email,2026-11-04,1234.25,2026-11-04T10:00:02-05:00,2026-11-04T10:00:02-05:00,{polls[5]}",
        f"bogot-norte,interactions,Facebook,,1,2026-11-01T10:00:02-05:00,2026-11-01T10:00:02-05:00,{polls[1]}",
        f"bogot-norte,interactions,Facebook,,3,2026-11-02T10:00:02-05:00,2026-11-02T11:00:02-05:00,{polls[2]}",
        f"bogot-norte,interactions,Facebook,,7,2026-11-04T10:00:02-05:00,2026-11-04T10:00:02-05:00,{polls[5]}",
    )


def test_snapshots_for_a_spanish_excel(operation: Operation) -> None:
    poll = hear(operation, "interactions", at(1, 10), ("Email", "120.5", "2026-11-01"))
    assert body("snapshots", dialect="excel-es") == "\ufeff" + text(
        "operation;api;product;vendor_date;items;first_seen;last_seen;poll",
        f"bogot-norte;interactions;Email;2026-11-01;120,5;01/11/2026 10:00:02;01/11/2026 10:00:02;{poll.pk}",
    )


@pytest.mark.parametrize("name", reports.COLUMNS)
def test_a_month_without_figures_is_a_header(name: str, operation: Operation) -> None:
    assert body(name) == text(",".join(reports.COLUMNS[name]))


# What a cell says


def test_times_are_the_operations_own_by_the_offset_of_the_day(operation: Operation) -> None:
    Operation.objects.update(time_zone="America/St_Johns")
    hear(operation, "interaction_licenses", datetime(2026, 11, 1, 4, 0, tzinfo=UTC), ("Licences", "5"))
    hear(operation, "interaction_licenses", datetime(2026, 11, 1, 16, 0, tzinfo=UTC), ("Licences", "6"))
    assert cells(body("snapshots"), "first_seen") == ["2026-11-01T01:30:00-02:30", "2026-11-01T12:30:00-03:30"]
    Operation.objects.update(time_zone="Asia/Kathmandu")
    assert cells(body("snapshots"), "first_seen") == ["2026-11-01T09:45:00+05:45", "2026-11-01T21:45:00+05:45"]
    assert cells(body("snapshots", dialect="excel-es"), "last_seen", delimiter=";")[0] == "01/11/2026 09:45:00"
    Operation.objects.update(time_zone="UTC")
    assert cells(body("snapshots"), "first_seen")[0] == "2026-11-01T04:00:00+00:00"


@pytest.mark.parametrize(
    ("items", "licences", "per_licence"),
    [
        ("1", "32", "0.0313"),
        ("7", "20000", "0.0004"),
        ("1", "3", "0.3333"),
        ("99999999999.9999", "0.0001", "999999999999999"),
        ("99999999999.9999", "3", "33333333333.3333"),
        ("60", "30", "2"),
        ("1000", "1", "1000"),
        ("0", "30", "0"),
        ("60", "0", ""),
    ],
)
def test_items_per_licence_is_rounded_half_up(
    operation: Operation, items: str, licences: str, per_licence: str
) -> None:
    hear(operation, "interactions", at(1), ("Email", items))
    hear(operation, "interaction_licenses", at(1), ("Licences", licences))
    assert cells(body("monthly"), "items") == [licences, items]
    assert cells(body("monthly"), "items_per_licence") == ["", per_licence]


def test_licences_that_are_not_known_are_empty(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "100"))
    assert cells(body("monthly"), "licences") == [""]
    assert cells(body("monthly"), "items_per_licence") == [""]
    assert cells(body("daily"), "licences") == [""]
    hear(operation, "interaction_licenses", at(2), ("Licences", "0"))
    hear(operation, "interactions", at(2), ("Email", "110"))
    assert cells(body("monthly"), "licences") == ["", "0"]
    assert cells(body("daily"), "licences") == ["", "", "0"]


def test_licences_are_those_of_the_same_operation(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "100"))
    hear(make_operation("Cali"), "interaction_licenses", at(1), ("Licences", "40"))
    assert cells(body("daily", slug="bogot-norte"), "licences") == [""]
    assert cells(body("monthly", slug="bogot-norte"), "licences") == [""]


def test_a_day_that_was_heard_of_once_it_was_over_is_complete(operation: Operation) -> None:
    hear(operation, "interactions", at(1, 23), ("Email", "100", "2026-11-01"))
    assert cells(body("daily"), "state") == ["unfinished"]
    hear(operation, "interactions", at(2, 0), ("Email", "100", "2026-11-01"))
    assert cells(body("daily"), "state") == ["complete"]


@pytest.mark.parametrize(("day", "state"), [(30, "complete"), (29, "unfinished")])
def test_a_closed_months_last_day_is_complete_and_no_other_one_that_was_heard_last(
    operation: Operation, day: int, state: str
) -> None:
    Feed.objects.update(last_good_poll_at=at(day, 11, 55))
    hear(operation, "interactions", at(day), ("Email", "100"))
    hear(operation, "interactions", at(1, month=12), ("Email", "1"))
    assert cells(body("daily"), "state")[-1] == "unfinished"  # as on the page, also while it is closing
    closing.close_months(at(1, 13, month=12))
    assert cells(body("daily"), "state")[-1] == state
    assert cells(body("monthly"), "state") == ["closed"]


@pytest.mark.parametrize("items", ["126305", "0.0001", "0.5", "99999999999.9999", "99999999999"])
def test_how_the_most_unseen_was_reckoned_is_written_the_same_in_any_language(certified: Operation, items: str) -> None:
    Certificate.objects.exclude(pace="unknown").update(pace="mean", pace_items=items, pace_seconds=2_678_339)
    for dialect, delimiter in (("", ","), ("excel-es", ";")):
        reckoned = cells(body("monthly", dialect=dialect), "unseen_reckoned_by", delimiter=delimiter)
        assert reckoned == ["", f"mean {items} in 2678339 s", ""]


# A gap that still runs


def gaps_told(now: datetime, **only: str) -> list[tuple[str, int]]:
    """The seconds of November's gaps by product, as the CSV has them, and as the pages reckon them."""
    monthly = body("monthly", products=None, dialect="", now=now, **only)
    told = list(zip(cells(monthly, "product"), map(int, cells(monthly, "gap_seconds")), strict=True))
    rows = MonthlyUsage.objects.filter(month=NOVEMBER).select_related("product")
    operations = {operation.pk: operation for operation in Operation.objects.filter(**only)}
    of_feeds = Feed.objects.filter(operation__in=operations)
    shown = product_months(rows.filter(operation__in=operations), NOVEMBER, operations, of_feeds, now)
    assert sorted(told) == sorted((row.product.name, row.gap_seconds) for row in shown)
    for row in shown:
        assert sum(row.unheard.values()) == row.gap_seconds
    return told


@pytest.fixture
def heard_once(operation: Operation) -> Operation:
    """Usage heard every 5 minutes, last on the 3rd, and licences every hour."""
    hear(operation, "interactions", at(3), ("Email", "40"))
    hear(operation, "interaction_licenses", at(3), ("Licences", "30"))
    MonthlyUsage.objects.update(gaps=[[0, 3600]], gap_seconds=3600)
    return operation


def test_a_gap_that_still_runs_counts_until_now(heard_once: Operation) -> None:
    both = 3600 + 10 * 86_400
    assert gaps_told(at(13)) == [("Licences", both), ("Email", both)]


@pytest.mark.parametrize(("after", "email", "licences"), [(750, 0, 0), (751, 751, 0), (9000, 9000, 0), (9001,) * 3])
def test_a_stretch_counts_from_two_and_a_half_intervals_on(
    heard_once: Operation, after: int, email: int, licences: int
) -> None:
    told = gaps_told(at(3) + timedelta(seconds=after))
    assert told == [("Licences", 3600 + licences), ("Email", 3600 + email)]


def test_a_stretch_is_held_against_the_interval_of_then(heard_once: Operation) -> None:
    Feed.objects.filter(api="interactions").update(interval=1440)
    assert dict(gaps_told(at(4)))["Email"] == 3600 + 86_400


@pytest.mark.parametrize("microseconds", [0, 1, 154_321, 154_323, 499_999, 654_322, 999_999])
def test_a_gap_that_runs_counts_whole_seconds_everywhere(heard_once: Operation, microseconds: int) -> None:
    gaps_told(at(5, 7, 11) + timedelta(microseconds=microseconds))


def test_answers_that_are_held_are_no_gap(heard_once: Operation) -> None:
    Feed.objects.filter(api="interactions").update(held_since=at(3, 12, 5))
    assert dict(gaps_told(at(13)))["Email"] == 3600
    Feed.objects.filter(api="interactions").update(held_since=at(3, 18))
    assert dict(gaps_told(at(13)))["Email"] == 3600 + 6 * 3600


@pytest.mark.parametrize("zone", ["America/Bogota", "America/St_Johns", "America/New_York"])
def test_a_gap_that_runs_lies_inside_its_month(heard_once: Operation, zone: str) -> None:
    """Of New York, November has an hour more than its days."""
    Operation.objects.update(time_zone=zone)
    Feed.objects.filter(api="interactions").update(last_good_poll_at=at(20, month=10))
    begin, end = (months.begins_at(month, ZoneInfo(zone)) for month in (NOVEMBER, date(2026, 12, 1)))
    MonthlyUsage.objects.update(gaps=[], gap_seconds=0)
    assert dict(gaps_told(begin - timedelta(hours=1)))["Email"] == 0
    assert dict(gaps_told(begin + timedelta(hours=4)))["Email"] == 4 * 3600
    assert dict(gaps_told(end + timedelta(hours=4)))["Email"] == (end - begin).total_seconds()
    Feed.objects.filter(api="interactions").update(last_good_poll_at=end + timedelta(hours=1))
    assert dict(gaps_told(end + timedelta(hours=4)))["Email"] == 0


def test_no_gap_runs_in_a_closed_month(heard_once: Operation) -> None:
    """It was closed a day after its end, with what was heard, and its feed is silent still."""
    MonthlyUsage.objects.update(state="closed", closed_at=at(2, month=12))
    assert gaps_told(at(5, month=12)) == [("Licences", 3600), ("Email", 3600)]


def test_a_feed_of_another_operation_runs_no_gap_here(heard_once: Operation) -> None:
    hear(make_operation("Cali"), "interactions", at(13), ("Email", "1"))
    assert gaps_told(at(13), slug="bogot-norte")[1] == ("Email", 3600 + 10 * 86_400)


# Which rows


@pytest.mark.parametrize("name", reports.COLUMNS)
def test_only_the_given_operations_appear(name: str, told: Operation) -> None:
    hear(make_operation("Cali"), "interactions", at(1), ("Email", "77"))
    assert set(cells(body(name), "operation")) == {"bogot-norte", "cali"}
    assert cells(body(name, slug="cali"), "operation") == ["cali"]
    assert cells(body(name, slug="nowhere"), "operation") == []


def test_many_operations_are_one_condition(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "5"))
    Operation.objects.bulk_create(
        Operation(name=f"{number}", slug=f"{number}", server="0012", token_fingerprint=f"{number}")
        for number in range(1500)
    )
    assert [cells(body(name), "operation") for name in reports.COLUMNS] == [["bogot-norte"]] * 3
    assert cells(body("daily", server="0099"), "operation") == []


@pytest.mark.parametrize("name", reports.COLUMNS)
def test_only_the_given_products_appear(name: str, told: Operation) -> None:
    facebook = Product.objects.get(name="Facebook")
    assert set(cells(body(name, products=[facebook.pk]), "product")) == {"Facebook"}
    assert cells(body(name, products=[]), "product") == []
    if name != "snapshots":
        assert "30" in cells(body(name, products=[facebook.pk]), "licences")


@pytest.mark.parametrize("name", reports.COLUMNS)
def test_a_product_that_is_not_counted_is_left_out(name: str, told: Operation) -> None:
    Product.objects.filter(name="Facebook").update(is_counted=False)
    assert set(cells(body(name), "product")) == {"Licences", "Email"}


@pytest.mark.parametrize("name", reports.COLUMNS)
def test_only_the_month_appears(name: str, told: Operation) -> None:
    hear(told, "interactions", at(29), ("Email", "1234.25", "2026-11-04"), ("Facebook", "7"))
    before = body(name)
    hear(told, "interactions", at(1, month=12), ("Email", "9", "2026-12-01"))
    hear(told, "interactions", at(2, month=12), ("Email", "9", "2026-12-02"))
    assert body(name) == before


def test_the_order_is_that_of_the_bytes_and_of_no_language(operation: Operation) -> None:
    names = ["Zebra", "apple", "Ápple", "Apple", "_x", "a-b", "a b", "10", "9"]
    hear(make_operation("Armenia"), "interactions", at(1), ("Email", "1"))
    hear(operation, "interactions", at(1), *[(name, "1") for name in names])
    assert cells(body("daily"), "product") == ["Email", *sorted(names, key=str.encode)]


def test_a_report_is_one_statement_of_one_moment(
    told: Operation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings = 1 if connection.vendor == "postgresql" else 0
    with django_assert_num_queries(2 + settings):  # the operations' ids, and the report
        body("daily")


# A closed month


@pytest.mark.parametrize("dialect", reports.DIALECTS)
@pytest.mark.parametrize("name", reports.COLUMNS)
def test_a_closed_month_gives_the_same_bytes_whatever_comes_later(name: str, dialect: str, told: Operation) -> None:
    """But for the correction, which has a column of its own."""
    hear(told, "interactions", at(1, 0, month=12), ("Email", "1", "2026-12-01"))
    hear(told, "interaction_licenses", at(1, 0, month=12), ("Licences", "31"))
    closing.close_months(at(1, 1, month=12))
    closed = body(name, dialect=dialect)
    assert body(name, dialect=dialect, now=at(28, month=12)) == closed
    hear(told, "interactions", at(1, 2, month=12), ("Email", "9999", "2026-11-30"), ("Email", "2", "2026-12-01"))
    hear(told, "interaction_licenses", at(1, 2, month=12), ("Licences", "77"))
    closing.close_months(at(1, 3, month=12))
    assert Snapshot.objects.filter(month=NOVEMBER, items=9999).exists()
    Correction.objects.get(usage__month=NOVEMBER).delete()
    Product.objects.update(name="Renamed", kind="active count", licensed_by=None, is_counted=False)
    Operation.objects.update(time_zone="Asia/Tokyo")
    assert body(name, dialect=dialect) == closed
    assert not [difference for difference in rebuild(write=False) if "2026-11" in difference.row]


def test_a_summary_row_that_an_admin_unticked_in_the_month_stays_out_when_it_closes(told: Operation) -> None:
    hear(told, "interactions", at(30), ("Email", "1300"), ("Facebook", "9"), ("Total consumo", "1309"))
    Product.objects.filter(name="Total consumo").update(is_counted=False)
    assert "Total consumo" not in body("monthly")
    hear(told, "interactions", at(1, 0, month=12), ("Email", "1", "2026-12-01"))
    closing.close_months(at(1, 1, month=12))
    assert "Total consumo" not in body("monthly") + body("daily") + body("snapshots")


# What a spreadsheet would run

DANGEROUS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\u2003=1",
    "\ttab",
    "\rreturn",
    "\nline",
    " =1+1",
    "\u00a0 -1",
    "\u3000+1",
    "\ufeff=1",
    "＝1",
    "＋1",
    "－1",
    "＠1",
    ' ＝HYPERLINK("http://x")',
]


@pytest.mark.parametrize(("dialect", "delimiter"), [("", ","), ("excel-es", ";")])
@pytest.mark.parametrize("written", DANGEROUS)
def test_text_that_a_spreadsheet_would_run_is_made_inert(
    written: str, dialect: str, delimiter: str, operation: Operation
) -> None:
    hear(operation, "interactions", at(1), ("Email", "5", "=9-9"))
    Product.objects.filter(name="Email").update(name=written)
    Operation.objects.update(slug=written)
    inert = f"'{written}".replace("\r", " ").replace("\n", " ")
    for name in reports.COLUMNS:
        report = body(name, dialect=dialect)
        assert cells(report, "product", delimiter=delimiter) == [inert]
        assert cells(report, "operation", delimiter=delimiter) == [inert]
        assert report.count("\n") == report.count("\r\n") == 2
    assert cells(body("snapshots", dialect=dialect), "vendor_date", delimiter=delimiter) == ["'=9-9"]


@pytest.mark.parametrize(("dialect", "delimiter"), [("", ","), ("excel-es", ";")])
@pytest.mark.parametrize("written", ["Email", "a=b", "1-2", "a + b", "(=1)", "'=1", "50 %", "WhatsApp, voice; mail"])
def test_other_text_is_left_alone(written: str, dialect: str, delimiter: str, operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "5"))
    Product.objects.update(name=written)
    assert cells(body("daily", dialect=dialect), "product", delimiter=delimiter) == [written]


@pytest.mark.parametrize("written", ["a;=1+1;b", "a,=1+1,b", "a\t=1+1", "\t=1", "a; =1", 'a;"=1+1&"', "a,＝1"])
def test_text_that_would_be_a_formula_where_excel_parts_at_the_other_separator_is_not(
    written: str, operation: Operation
) -> None:
    hear(operation, "interactions", at(1), ("Email", "5"))
    Product.objects.update(name=written)
    for dialect, delimiter in (("", ","), ("excel-es", ";")):
        (product,) = cells(body("daily", dialect=dialect), "product", delimiter=delimiter)
        assert not set(product) & set(",;\t")


def test_quotes_and_separators_are_quoted(operation: Operation) -> None:
    hear(operation, "interactions", at(1), ("Email", "5.5"))
    Product.objects.update(name='The "best", a; b é')
    row = ',interactions,"The ""best"", a; b é",usage,5.5,5.5,,unfinished,2026-11-01T12:00:02-05:00'
    assert body("daily").splitlines()[1] == f"2026-11-01,bogot-norte{row}"
    row = ';interactions;"The ""best"", a; b é";usage;5,5;5,5;;unfinished;01/11/2026 12:00:02'
    assert body("daily", dialect="excel-es").splitlines()[1] == f"01/11/2026;bogot-norte{row}"


# The stream


@pytest.fixture
def long(operation: Operation) -> Operation:
    """A month whose daily report is many chunks."""
    for day in (1, 2):
        hear(operation, "interactions", at(day), *[(f"Product {number:05}", f"{day}") for number in range(1500)])
    return operation


def test_a_long_report_comes_in_chunks_and_never_a_row_a_chunk(long: Operation) -> None:
    header, *chunks = reports.stream("daily", month=NOVEMBER, operations=Operation.objects.all(), now=NOW)
    assert header == b"day,operation,api,product,kind,items,month_to_date,licences,state,as_of\r\n"
    assert all(len(chunk) > 30_000 for chunk in chunks[:-1])
    assert all(len(chunk) < 130_000 for chunk in chunks)
    assert sum(chunk.count(b"\r\n") for chunk in chunks) == 3000
    assert sum(chunk.count(b"\n") for chunk in chunks) == 3000


@pytest.mark.django_db(transaction=True)
def test_a_stream_closed_early_leaves_the_connection_usable(long: Operation) -> None:
    for chunks_read in range(4):
        stream = reports.stream("daily", month=NOVEMBER, operations=Operation.objects.all(), now=NOW)
        assert isinstance(stream, Generator)
        for _ in range(chunks_read):
            next(stream)
        underneath = connection.connection
        stream.close()
        assert len(cells(body("daily"), "day")) == 3000
        assert connection.connection is underneath


def test_an_unknown_dialect_is_refused(operation: Operation) -> None:
    with pytest.raises(ValueError, match="excel-fr"):
        body("daily", dialect="excel-fr")
