"""What a page says is what the other pages and the CSV say: where they once contradicted each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client

from tests.conftest import hear, make_operation, text
from tests.presenting.in_bogota import NOVEMBER, at, everything, hear_days
from usage.collecting import closing, rebuilding
from usage.models import Feed, Operation, Product, validate_time_zone
from usage.presenting import reports
from usage.presenting.figures import Change

pytestmark = pytest.mark.django_db

HALF_PAST_NOON = at(11, 12, 30)


@pytest.fixture
def manager(client: Client, sign_in: Callable[[str], User]) -> Client:
    sign_in("Managers")
    return client


def operation_in(zone: str = "America/Bogota") -> Operation:
    operation = make_operation("Cali")
    Operation.objects.update(time_zone=zone)
    Feed.objects.update(interval=1440)
    operation.refresh_from_db()
    return operation


def lines_of(name: str, now: datetime, *, dialect: str = "", month: object = NOVEMBER) -> list[str]:
    stream = reports.stream(name, month=month, operations=everything(), now=now, dialect=dialect)  # type: ignore[arg-type]
    return b"".join(stream).decode().splitlines()


def shown(client: Client, path: str, now: datetime, pattern: str = "<main.*?</main>") -> str:
    """The first part of a page that matches, as text."""
    with time_machine.travel(now, tick=False):
        page = text(client.get(path))
    found = re.search(pattern, page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", found.group()).split()) if found else ""


KEYS = r'<dl class="keys.*?</dl>'
ANSWER = r'<section class="answer.*?</section>'


def close_october() -> None:
    closing.close_months(at(3))


# Edits after a closing


def test_the_other_month_has_the_licences_that_it_closed_with(manager: Client) -> None:
    cali = operation_in()
    for month, days in ((10, 31), (11, 10)):
        for day in range(1, days + 1):
            gauges = ("Agentes", "10"), ("Supervisores", "100")
            hear(cali, "interaction_licenses", at(day, 23, 50, month), *gauges)
            hear(cali, "interactions", at(day, 23, 55, month), ("Email", str(100 * day)))
            agents, supervisors = (Product.objects.get(description=name) for name, _ in gauges)
            Product.objects.filter(description="Email").update(licensed_by=agents if month == 10 else supervisors)
        close_october()
    october = shown(manager, "/operations/cali/?month=2026-10", HALF_PAST_NOON, KEYS)
    november = shown(manager, "/operations/cali/?month=2026-11", HALF_PAST_NOON, KEYS)
    assert "Use per licence 310" in october
    assert "310 in all of October" in november
    per_licence = shown(manager, "/operations/cali/?per=licence", HALF_PAST_NOON, KEYS)
    assert "90 then, 9 now, per licence" in per_licence


def test_what_closed_as_a_gauge_is_no_pace_and_no_part_of_a_sum(manager: Client) -> None:
    cali = operation_in()
    Feed.objects.update(is_enabled=True)
    for month, days in ((10, 31), (11, 20)):
        for day in range(1, days + 1):
            hear(cali, "wp_connectors", at(day, 23, 55, month), ("Mensajes", str(1000 * day)))
    close_october()
    Product.objects.update(kind=Product.Kind.USAGE)
    rebuilding.refold(Feed.objects.select_related("operation").get(api="wp_connectors"))
    now = at(21, 0, 30)
    for path in ("/", "/operations/cali/"):
        assert "pace" not in shown(manager, path, now, ANSWER).replace("speak of its pace", "")
    assert "Against October –" in shown(manager, "/operations/cali/", now, KEYS)
    assert "Year 20,000" in shown(manager, "/operations/cali/year/", now)


def test_trouble_is_told_over_the_months_end_and_not_beside_a_month_that_is_past(manager: Client) -> None:
    cali = operation_in()
    hear(cali, "interactions", at(30, 22), ("Email", "100"))
    refused = {"failing_since": at(30, 23), "failing_outcome": "token_refused"}
    cali.feeds.filter(is_enabled=True).update(**refused)
    path = "/operations/cali/?month=2026-11"
    assert "Token refused since 30 Nov" in shown(manager, path, at(1, 9, month=12), ANSWER)
    cali.feeds.update(failing_since=None, failing_outcome="")
    hear(cali, "interactions", at(1, 10, month=12), ("Email", "1"))
    cali.feeds.filter(is_enabled=True).update(**refused)
    assert "Token refused since 30 Nov" not in shown(manager, path, at(1, 11, month=12), ANSWER)


def test_what_a_day_count_loses_in_a_gap_is_called_exact_nowhere(manager: Client) -> None:
    cali = operation_in()
    cali.feeds.update(counts=Feed.Counts.DAY, interval=60)
    for day, hour in ((9, 10), (9, 11), (14, 9), (14, 10)):
        hear(cali, "interactions", at(day, hour), ("Email", str(4 * hour)))
    heard = shown(manager, "/operations/cali/", at(14, 10, 30), r'<p class="asof">.*?</p>')
    assert "what was used after a day's last poll is in no figure" in heard
    assert "exact" not in heard
    assert "Reckoned" in shown(manager, "/operations/cali/", at(14, 10, 30), r"9 Nov.*?</tr>")
    path = f"/operations/cali/products/{Product.objects.get().pk}/2026-11-09/"
    assert "what was used after a day's last poll is in no figure" in shown(manager, path, at(14, 10, 30))
    ninth, fourteenth = lines_of("daily", at(14, 10, 30))[-2:]
    assert ninth.split(",")[8] == "reckoned"
    assert fourteenth.split(",")[8] == "unfinished"


def test_a_closed_month_is_shown_as_it_closed_while_others_still_run(manager: Client) -> None:
    make_operation("Cali")
    east = make_operation("Auckland")
    Operation.objects.filter(pk=east.pk).update(time_zone="Pacific/Auckland")
    Feed.objects.update(interval=1440)
    for day in range(1, 31):
        for operation in everything():
            moment = datetime(2026, 11, day, 10, 30, tzinfo=UTC)
            hear(operation, "interactions", moment, ("Email", str(100 * day), f"2026-11-{day:02}"))
    now = datetime(2026, 11, 30, 13, tzinfo=UTC)
    hear(everything().get(name="Auckland"), "interactions", now - timedelta(hours=1), ("Email", "3", "2026-12-01"))
    assert closing.close_months(now) == 1
    Product.objects.update(name="Correo", is_counted=False)
    assert "Email 3,000" in shown(manager, "/?month=2026-11", now, r"<tbody.*?Auckland.*?</tbody>")
    assert "Email" in shown(manager, "/operations/auckland/?month=2026-11", now)
    assert [line for line in lines_of("monthly", now) if ",auckland,interactions,Email," in line]


# Months and days that are not yet over


def test_of_a_month_that_is_over_no_page_says_that_a_product_may_have_another_name(manager: Client) -> None:
    cali = operation_in()
    for day in range(1, 31):
        gone = [("Chat", "70")] if day < 12 else []
        hear(cali, "interactions", at(day, 23, 55), ("Email", str(100 * day)), *gone)
    for now, is_said in ((at(30, 23, 59), True), (at(1, 1, month=12), False)):
        for path in ("/?month=2026-11", "/operations/cali/?month=2026-11"):
            assert ("named Chat until 11 Nov only" in shown(manager, path, now)) is is_said
        page_of = "/products/{}/?month=2026-11".format(Product.objects.get(name="Chat").pk)
        assert ("Named by the vendor until 11 Nov only" in shown(manager, page_of, now)) is is_said
        page_of = "/products/{}/?month=2026-11".format(Product.objects.get(name="Email").pk)
        assert "Named by the vendor" not in shown(manager, page_of, now)


def test_a_day_that_the_vendor_begins_before_us_is_unfinished_everywhere(manager: Client) -> None:
    cali = operation_in("America/Tijuana")
    for day in range(1, 24):
        moment = datetime(2026, 11, day, 18, tzinfo=UTC)
        hear(cali, "interactions", moment, ("Email", str(100 * day), f"2026-11-{day:02}"))
    hear(cali, "interactions", datetime(2026, 11, 24, 7, 30, tzinfo=UTC), ("Email", "2370", "2026-11-24"))
    now = datetime(2026, 11, 24, 7, 35, tzinfo=UTC)  # 23:35 of the 23rd in Tijuana
    assert ",unfinished," in lines_of("daily", now)[-1]
    rows = shown(manager, "/operations/cali/", now)
    assert "23 Nov 100 2,300 10:00 24 Nov 70 2,370 23:30 Unfinished" in rows
    product = Product.objects.get()
    assert "before the day had ended" in shown(manager, f"/operations/cali/products/{product.pk}/2026-11-24/", now)
    assert "before the day had ended" not in shown(manager, f"/operations/cali/products/{product.pk}/2026-11-23/", now)


# Links


def test_a_link_leads_to_the_month_that_its_page_shows(manager: Client) -> None:
    cali = operation_in()
    for day in range(1, 32):
        hear(cali, "interactions", at(day, 23, 55, 10), ("Email", str(100 * day)), ("Chat", str(day)))
    hear(cali, "interactions", at(10, 12), ("Email", "700"))
    chat = Product.objects.get(description="Chat")
    with time_machine.travel(HALF_PAST_NOON, tick=False):
        shown_day = text(manager.get(f"/operations/cali/products/{chat.pk}/2026-10-12/"))
        assert f"/operations/cali/?month=2026-10#product-{chat.pk}" in shown_day
        assert "/operations/cali/?month=2026-10" in text(manager.get(f"/products/{chat.pk}/"))
        assert '<a class="name" href="/operations/cali/">' in text(manager.get("/")), "short where no page would differ"
    Operation.objects.update(time_zone="Pacific/Auckland")
    with time_machine.travel(datetime(2026, 11, 30, 13, tzinfo=UTC), tick=False):  # December there
        assert '<a class="name" href="/operations/cali/?month=2026-11">' in text(manager.get("/"))


# Smaller


def test_licences_that_are_not_counted_stand_not_unused(manager: Client) -> None:
    cali, now = make_operation("Cali"), at(23, 14)
    hear(cali, "interaction_licenses", now - timedelta(minutes=3), ("Licencias", "40"), ("All licences", "40"))
    Feed.objects.filter(api="interactions").update(last_good_poll_at=now - timedelta(minutes=2))
    Product.objects.filter(description="All licences").update(is_counted=False)
    assert shown(manager, "/operations/cali/", now, ANSWER) == "40 licences have stood unused for 22 days."


def test_news_that_was_taken_back_corrects_nothing(manager: Client) -> None:
    cali = operation_in()
    hear_days(cali, 11, {day: str(100 * day) for day in range(1, 31)})
    hear(cali, "interactions", at(1, 2, month=12), ("Email", "5", "2026-12-01"))
    closing.close_months(at(1, 3, month=12))
    page = ""
    for day, items in ((2, "3010"), (3, "3000")):
        news = ("Email", items, "2026-11-30"), ("Chat", "1", f"2026-12-0{day}")
        hear(cali, "interactions", at(day, 12, month=12), *news)
        page = shown(manager, "/operations/cali/?month=2026-11", at(3, 13, month=12))
        year = shown(manager, "/operations/cali/year/", at(3, 13, month=12))
        assert ("corrected: Email" in year) is (day == 2)
    assert "On 2 December the vendor said 3,010 instead of 3,000; the closed figure stands." in page
    assert "On 3 December the vendor said 3,000 again, as it is closed." in page


def test_there_is_no_percent_of_less_than_nothing() -> None:
    assert Change(20, Decimal(500), Decimal(-700), is_whole=False).percent is None


@pytest.mark.parametrize("name", ["CET", "EET", "MET", "WET"])
def test_a_zone_that_postgresql_takes_for_another_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        validate_time_zone(name)
