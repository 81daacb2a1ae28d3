import json
import re
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import Any

import pytest
import time_machine
from cryptography.fernet import Fernet
from django.contrib.auth.models import Group, User
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.conftest import NOW, SignIn, hear, make_operation, make_user, text
from usage.models import Certificate, Correction, DailyUsage, Feed, MonthlyUsage, Operation, Poll, Product
from usage.presenting import reports, words

pytestmark = [pytest.mark.usefixtures("now"), pytest.mark.django_db]

PAGES = ["/", "/operations/bogot-norte/", "/products/", "/reports/", "/status/"]


def fill(operation: Operation) -> None:
    """October's end, and two days of November, of three products and the licences."""
    for at in (NOW - timedelta(days=33), NOW - timedelta(days=1), NOW - timedelta(minutes=4)):
        hear(operation, "interaction_licenses", at, ("Interaction licences", "40"))
        items = f"{at.day * 100}.5"
        hear(operation, "interactions", at, ("Email", items), ("Facebook", items), ("X", items))


@pytest.fixture
def filled(operation: Operation) -> Operation:
    fill(operation)
    return operation


@pytest.fixture
def finance(client: Client, sign_in: SignIn, filled: Operation) -> Client:
    """Signed in, with figures to see."""
    sign_in("Finance")
    return client


# Who


@pytest.mark.parametrize("path", [*PAGES, "/reports/monthly.csv"])
def test_without_a_log_in_there_is_only_the_log_in(client: Client, filled: Operation, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response["Location"]) == (302, f"/accounts/login/?next={path}")


@pytest.mark.parametrize("path", [*PAGES, "/reports/monthly.csv"])
def test_without_a_role_every_page_says_who_gives_one(client: Client, filled: Operation, path: str) -> None:
    client.force_login(make_user("nobody"))
    response = client.get(path)
    assert response.status_code == 403
    assert "Ask an administrator to give it one" in text(response)


@pytest.mark.parametrize("role", ["Managers", "Finance", "Administrators"])
@pytest.mark.parametrize("path", PAGES)
def test_pages_open_to_those_with_a_role(
    client: Client, sign_in: SignIn, filled: Operation, role: str, path: str
) -> None:
    sign_in(role)
    refused = role == "Managers" and path == "/reports/"
    assert client.get(path).status_code == (403 if refused else 200)


def test_reports_are_for_finance(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    assert 'href="/reports/"' not in text(client.get("/"))
    response = client.get("/reports/monthly.csv")
    assert response.status_code == 403
    assert "Reports are for the Finance role." in text(response)


def test_finance_finds_the_reports(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Finance")
    assert 'href="/reports/"' in text(client.get("/"))
    assert 'href="/admin/"' not in text(client.get("/"))


def test_staff_finds_the_admin(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Administrators")
    assert 'href="/admin/"' in text(client.get("/"))


@pytest.mark.parametrize(
    "path",
    [
        "/operations/quito/",
        "/reports/?operation=quito",
        "/reports/monthly.csv?operation=quito",
        "/reports/daily.csv?month=2026-11&operation=bogot-norte&operation=quito",
    ],
)
def test_another_teams_operation_is_not_found(client: Client, sign_in: SignIn, filled: Operation, path: str) -> None:
    fill(make_operation("Quito", groups=["Quito"]))
    sign_in("Finance")
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/products/", "/reports/", "/status/"])
def test_another_teams_operation_is_in_no_list(client: Client, filled: Operation, path: str) -> None:
    quito = make_operation("Quito", groups=["Quito"])
    hear(quito, "interactions", NOW, ("Secret product", "1"))
    finance = make_user("finance", "Finance")
    client.force_login(finance)
    shown = text(client.get(path))
    assert "Quito" not in shown
    assert "Secret product" not in shown
    finance.groups.add(Group.objects.get(name="Quito"))
    client.force_login(User.objects.get(pk=finance.pk))
    assert "Quito" in text(client.get(path))


def test_another_teams_product_is_not_found(client: Client, sign_in: SignIn, filled: Operation) -> None:
    hear(make_operation("Quito", groups=["Quito"]), "interactions", NOW, ("Secret product", "1"))
    secret = Product.objects.get(name="Secret product")
    sign_in("Finance")
    assert client.get(f"/products/{secret.pk}/").status_code == 404
    assert client.get(f"/reports/monthly.csv?product={secret.pk}").status_code == 404


# Which


@pytest.mark.parametrize("path", ["/", "/operations/bogot-norte/", "/products/", "/reports/", "/reports/daily.csv"])
@pytest.mark.parametrize(
    ("month", "status", "sentence"),
    [
        ("2026-10", 200, None),
        (
            "2026-05",
            404,
            "There are no figures for May 2026. The latest months with figures: November 2026, October 2026.",
        ),
        ("9999-12", 404, "There are no figures for December 9999."),
        *[
            (bad, 400, "such as ?month=2026-11")
            for bad in ("", "2026", "2026-13", "0000-01", "2026-1", "x", "2026-11-01")
        ],
        *[(bad, 400, "such as ?month=2026-11") for bad in ("２０２６-11", "2026-11%00", "2026-11%0a", "-2026-11")],
    ],
)
def test_a_month_is_one_with_figures_or_is_refused_in_a_sentence(
    finance: Client, path: str, month: str, status: int, sentence: str | None
) -> None:
    response = finance.get(f"{path}?month={month}")
    assert response.status_code == status
    assert sentence is None or sentence in text(response)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/operations/nowhere/", 404),
        ("/operations/%00/", 404),
        ("/products/99999/", 404),
        ("/products/99999999999999999999999/", 404),
        ("/products/x/", 404),
        ("/nowhere", 404),
        ("/reports/yearly.csv", 404),
        ("/reports/monthly.csv?dialect=excel", 400),
        ("/reports/monthly.csv?operation=nowhere", 404),
        ("/reports/monthly.csv?operation=%00", 404),
        ("/reports/monthly.csv?operation=", 404),
        ("/reports/monthly.csv?product=1%27", 400),
        ("/reports/monthly.csv?product=", 400),
        ("/reports/monthly.csv?product=٣", 400),
        ("/reports/monthly.csv?product=-1", 400),
        ("/reports/monthly.csv?product=999999999999999999", 404),
        ("/reports/monthly.csv?product=9999999999999999999", 400),
        ("/reports/?product=x", 400),
    ],
)
def test_what_is_wrong_in_an_address_is_said_in_a_sentence(
    client: Client, sign_in: SignIn, filled: Operation, path: str, status: int
) -> None:
    sign_in("Finance")
    response = client.get(path)
    assert response.status_code == status
    assert re.search(r"<h1>.+</h1>\s+<p>[A-Z].+\.</p>", text(response))


def test_a_sentence_is_not_markup(client: Client, sign_in: SignIn) -> None:
    sign_in("Finance")
    assert "<script>" not in text(client.get("/?month=<script>"))


def test_pages_are_only_read(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Finance")
    assert [client.post(path).status_code for path in PAGES] == [405] * len(PAGES)


# Reports


def test_a_csv_is_streamed_as_a_download_that_nobody_keeps(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Finance")
    response = client.get("/reports/monthly.csv?month=2026-10", headers={"accept-encoding": "gzip"})
    assert response.streaming
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="monthly-2026-10.csv"'
    assert response["Cache-Control"] == "private, no-store"
    assert "Content-Encoding" not in response
    assert response.getvalue().startswith(b"month,operation,")


def test_without_a_month_a_csv_is_of_the_current_one(client: Client, sign_in: SignIn) -> None:
    sign_in("Finance")
    response = client.get("/reports/daily.csv")
    assert 'filename="daily-2026-11.csv"' in response["Content-Disposition"]
    assert response.getvalue().count(b"\r\n") == 1


def test_a_csv_has_the_operations_and_products_that_were_picked(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    fill(make_operation("Quito"))
    sign_in("Finance")
    email = Product.objects.get(name="Email").pk
    response = client.get(f"/reports/monthly.csv?month=2026-11&operation=quito&product={email}&dialect=excel-es")
    lines = response.getvalue().decode("utf-8-sig").splitlines()
    assert len(lines) == 2
    assert "quito" in lines[1]


def test_a_product_that_was_picked_stays_ticked_in_a_month_without_it(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    hear(filled, "interactions", NOW - timedelta(days=35), ("Fax", "5"))
    sign_in("Finance")
    fax = Product.objects.get(name="Fax").pk
    (ticked,) = re.findall(r"<input[^>]*checked>", text(client.get(f"/reports/?month=2026-11&product={fax}")))
    assert f'name="product" value="{fax}"' in ticked


def test_the_reports_page_keeps_what_was_picked(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Finance")
    email = Product.objects.get(name="Email").pk
    shown = text(client.get(f"/reports/?operation=bogot-norte&product={email}"))
    assert shown.count(" checked") == 2
    assert f'href="?operation=bogot-norte&amp;product={email}&amp;month=2026-10"' in shown
    assert " checked" not in text(client.get("/reports/"))


@pytest.mark.parametrize("name", reports.COLUMNS)
def test_every_column_of_a_report_is_explained(name: str) -> None:
    report = words.report(name, reports.COLUMNS[name])
    assert all(meaning for _, meaning in report.columns)


# How


@pytest.mark.parametrize(
    ("path", "queries"),
    [("/", 9), ("/operations/bogot-norte/", 8), ("/products/", 6), ("/status/", 6), ("/reports/", 8)],
)
@pytest.mark.parametrize("number", [1, 20])
def test_a_page_asks_as_often_whatever_the_number_of_operations(
    finance: Client, django_assert_num_queries: DjangoAssertNumQueries, path: str, queries: int, number: int
) -> None:
    for other in range(1, number):
        fill(make_operation(f"Operation {other}"))
    with django_assert_num_queries(queries):
        assert finance.get(path).status_code == 200


def test_a_product_page_asks_as_often_whatever_the_number_of_operations(
    client: Client, sign_in: SignIn, filled: Operation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    path = f"/products/{Product.objects.get(name='Email').pk}/"
    sign_in("Managers")
    for name in ("Quito", "Lima"):
        with django_assert_num_queries(10):
            assert client.get(path).status_code == 200
        fill(make_operation(name))


def test_a_product_page_says_what_its_dashes_mean(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    usage = MonthlyUsage.objects.filter(product__kind="usage").latest("month")
    where, mark = f"/products/{usage.product_id}/", '<li class="line reckoned any">'
    MonthlyUsage.objects.update(reckoned_days=[])
    assert mark not in text(client.get(where))
    MonthlyUsage.objects.filter(pk=usage.pk).update(reckoned_days=[3])
    assert mark in text(client.get(where))


def test_an_operation_page_asks_as_often_whatever_the_number_of_products(
    client: Client, sign_in: SignIn, operation: Operation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    hear(operation, "interactions", NOW, *[(f"Product {number}", "1") for number in range(30)])
    sign_in("Managers")
    with django_assert_num_queries(8):
        assert client.get("/operations/bogot-norte/").status_code == 200


def test_pages_are_compressed_and_kept_by_nobody_but_their_browser(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    sign_in("Finance")
    for path in PAGES:
        response = client.get(path, headers={"accept-encoding": "gzip"})
        assert response["Content-Encoding"] == "gzip"
        assert response["Cache-Control"] == "private, no-cache"


RENEWED = ["/", "/operations/bogot-norte/", "/products/", "/products/1/", "/status/"]


@pytest.mark.parametrize("path", RENEWED)
def test_a_page_that_shows_the_same_is_not_sent_again(client: Client, finance: Client, path: str) -> None:
    path = path.replace("1", str(Product.objects.get(description="Email").pk))
    response = client.get(path)
    again = client.get(path, headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", response["ETag"])


@pytest.mark.parametrize("path", RENEWED[:-1])
def test_a_page_with_another_figure_is_sent(client: Client, finance: Client, path: str) -> None:
    path = path.replace("1", str(Product.objects.get(description="Email").pk))
    response = client.get(path)
    hear(Operation.objects.get(), "interactions", NOW - timedelta(seconds=1), ("Email", "2399"), ("New", "1"))
    again = client.get(path, headers={"If-None-Match": response["ETag"]})
    assert again.status_code == 200
    assert again["ETag"] != response["ETag"]


def test_a_page_that_grew_stale_is_sent(client: Client, finance: Client) -> None:
    response = client.get("/")
    with time_machine.travel(NOW + timedelta(hours=2), tick=False):
        assert client.get("/", headers={"If-None-Match": response["ETag"]}).status_code == 200


def test_forms_of_another_log_in_are_sent(client: Client, finance: Client) -> None:
    response = client.get("/")
    client.force_login(User.objects.get())
    client.cookies.pop("csrftoken")
    assert client.get("/", headers={"If-None-Match": response["ETag"]}).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_nothing_in_a_page_needs_a_looser_policy(client: Client, sign_in: SignIn, filled: Operation, path: str) -> None:
    sign_in("Administrators")
    response = client.get(path)
    assert "default-src 'self'" in response["Content-Security-Policy"]
    shown = text(response)
    assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", shown)
    assert all("src=" in tag or 'type="application/json"' in tag for tag in re.findall(r"<script[^>]*>", shown))


HOSTILE = "<script>alert('x')</script>\"&"


def test_hostile_names_are_shown_as_text(client: Client, sign_in: SignIn, operation: Operation) -> None:
    Operation.objects.update(name=HOSTILE, vendor_name=HOSTILE)
    hear(operation, "interactions", NOW, (HOSTILE, "1"), name=HOSTILE)
    Operation.objects.update(other_vendor_name=HOSTILE)
    Feed.objects.filter(api="interactions").update(
        failing_since=NOW, failing_outcome="server_failed", failing_message=HOSTILE
    )
    sign_in("Finance")
    for path in [*PAGES, f"/products/{Product.objects.get().pk}/"]:
        shown = text(client.get(path))
        assert "<script>alert" not in shown
        assert "alert(" in shown


def test_a_token_is_in_no_page(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Administrators")
    for path in PAGES:
        shown = text(client.get(path))
        assert filled.token not in shown
        assert filled.token_encrypted not in shown


# In which language


def test_spanish_pages_have_spanish_numbers_and_months(client: Client, sign_in: SignIn, operation: Operation) -> None:
    hear(operation, "interactions", NOW, ("Email", "1234.5"))
    sign_in("Managers")
    shown = text(client.get("/", headers={"accept-language": "es-CO,es"}))
    assert '<html lang="es">' in shown
    assert "1.234,5" in shown
    assert "noviembre de 2026" in shown


def test_the_language_switch_keeps_the_page(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    here = "/operations/bogot-norte/?month=2026-10"
    assert f'name="next" value="{here}"' in text(client.get(here))
    response = client.post("/accounts/language/", {"language": "es", "next": here})
    assert response["Location"] == here
    assert "octubre de 2026" in text(client.get(here))


# What they say


def test_the_overview_tells_trouble_in_words_where_the_figure_stands(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    Feed.objects.filter(api="interactions").update(
        failing_since=NOW - timedelta(hours=5), failing_outcome="token_refused"
    )
    sign_in("Managers")
    shown = text(client.get("/"))
    assert "The operation needs a look" in shown
    assert shown.count("Token refused since 09:35") == 2
    assert "An administrator has to act." in shown


def test_the_overview_says_when_all_is_well(client: Client, sign_in: SignIn, filled: Operation) -> None:
    sign_in("Managers")
    shown = text(client.get("/"))
    assert "The operation is heard as it should be." in shown
    assert "heard 14:31" in shown


def test_a_closed_month_says_that_it_never_changes(client: Client, sign_in: SignIn, filled: Operation) -> None:
    MonthlyUsage.objects.filter(month="2026-10-01").update(
        state="closed", closed_at=datetime(2026, 11, 1, 5, 4, tzinfo=UTC)
    )
    sign_in("Managers")
    page = text(client.get("/operations/bogot-norte/?month=2026-10"))
    assert "Closed 1 Nov 00:04: it never changes any more." in page
    assert "<dt>The whole month</dt>" in page


@pytest.fixture
def certified(finance: Client, filled: Operation) -> Client:
    """Signed in, with October closed, certified and corrected twice."""
    october = MonthlyUsage.objects.filter(month="2026-10-01")
    october.update(state="closed", closed_at=datetime(2026, 11, 1, 5, 4, tzinfo=UTC), reckoned_days=[20])
    polls = Poll.objects.filter(feed__api="interactions")
    for usage in october:
        Certificate.objects.create(
            usage=usage,
            poll=polls[0],
            last_good_poll_at=usage.as_of,
            seconds_unheard=39,
            most_unseen=2 if usage.product.is_usage else None,
            pace="busiest" if usage.product.is_usage else "unknown",
            answer_sha256="9f" * 32,
        )
        for poll in polls[:2]:
            Correction.objects.create(usage=usage, poll=poll, items=5012, seen_at=NOW)
    return finance


def test_a_closed_month_shows_what_it_stands_on(certified: Client) -> None:
    shown = text(certified.get("/operations/bogot-norte/?month=2026-10"))
    assert shown.count("39 s before the month ended; at most 2 interactions can have gone unseen since") == 3
    assert "<strong>Interaction licences:</strong> The last good poll was" in shown
    assert shown.count(f"<dd>{'9f' * 32}</dd>") == 4
    assert shown.count("On 23 November the vendor said 5,012 instead of 2,100.5") == 6
    assert "before the month ended" not in text(certified.get("/operations/bogot-norte/"))


def test_a_closed_month_asks_no_more_often(
    certified: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(8):
        certified.get("/operations/bogot-norte/?month=2026-10")


def test_only_who_may_see_polls_is_led_to_the_one_that_a_month_stands_on(certified: Client) -> None:
    assert "/admin/usage/poll/" not in text(certified.get("/operations/bogot-norte/?month=2026-10"))
    certified.force_login(make_user("admin", "Administrators"))
    assert "/admin/usage/poll/" in text(certified.get("/operations/bogot-norte/?month=2026-10"))


def test_the_table_says_in_words_what_the_charts_draw(finance: Client) -> None:
    MonthlyUsage.objects.filter(month="2026-11-01").update(
        gaps=[[21 * 86_400, 21 * 86_400 + 10_800]], gap_seconds=10_800, reckoned_days=[22]
    )
    DailyUsage.objects.filter(day="2026-11-22").update(is_reckoned=True)
    shown = text(finance.get("/operations/bogot-norte/"))
    assert "<span>Reckoned</span><span>No answer for 3 h</span>" in shown
    assert shown.count('class="hatch"') == 6
    assert "For 3 h of the month nothing was heard." in shown


@pytest.mark.parametrize("path", ["/", "/operations/bogot-norte/?month=2026-10", "/status/"])
def test_every_word_that_can_be_asked_has_its_meaning_on_the_page(certified: Client, path: str) -> None:
    page = text(certified.get(path))
    asked = re.findall(r'popovertarget="([\w-]+)"', page)
    assert asked
    assert set(asked) <= set(re.findall(r'<div popover id="([\w-]+)"', page))


def test_a_page_and_the_csv_tell_the_same_of_a_gap_that_still_runs(finance: Client) -> None:
    MonthlyUsage.objects.update(gaps=[], gap_seconds=0)
    Feed.objects.filter(api="interactions").update(last_good_poll_at=NOW - timedelta(hours=3))
    assert "For 3 h of the month nothing was heard." in text(finance.get("/operations/bogot-norte/"))
    assert "No answer for 3 h" in text(finance.get("/operations/bogot-norte/year/"))
    _, licences, email, *_ = finance.get("/reports/monthly.csv").getvalue().decode().splitlines()
    assert (",10800," in licences, ",10800," in email) == (False, True)


def test_a_link_keeps_the_month_unless_it_is_the_one_shown_anyway(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    sign_in("Managers")
    assert 'href="/operations/bogot-norte/?month=2026-10"' in text(client.get("/?month=2026-10"))
    assert 'href="/operations/bogot-norte/"' in text(client.get("/"))


def test_status_says_what_is_used_of_the_days_calls_and_what_the_schedule_needs(
    client: Client, sign_in: SignIn, operation: Operation
) -> None:
    sign_in("Managers")
    Operation.objects.update(calls=214, calls_day=date(2026, 11, 23))
    said = "Calls to the vendor today: 214. The schedule needs 312 a day; the vendor's limit isn't known."
    assert said in unescape(text(client.get("/status/")))
    Operation.objects.update(call_limit=12_000)
    shown = text(client.get("/status/"))
    assert "Calls to the vendor today: 214 of 12,000. The schedule needs 312 a day." in shown
    assert "kept in reserve" not in shown
    Operation.objects.update(call_limit=320)
    assert "The schedule needs more than the 304 calls that it may use; 16 are kept in reserve" in text(
        client.get("/status/")
    )
    Operation.objects.update(is_active=False)
    assert "Calls to the vendor" not in text(client.get("/status/"))


def test_no_two_lines_of_a_chart_look_the_same_and_what_is_not_drawn_is_said(
    client: Client, sign_in: SignIn, operation: Operation
) -> None:
    products = [f"Product {number}" for number in range(10)]
    for days in (24, 1):
        hear(operation, "interactions", NOW - timedelta(days=days), *[(name, "100") for name in products])
    Product.objects.filter(description="Product 1").update(is_counted=False)  # the first and the ninth are drawn then
    sign_in("Managers")
    shown = text(client.get(operation.get_absolute_url()))
    charts = json.loads(shown.partition('id="charts" type="application/json">')[2].partition("</script>")[0])
    assert len({line["slot"] for line in charts["products"]["series"]}) == 8
    assert "Not every product is drawn: eight at the most" in shown


def test_status_calls_nothing_good_that_is_not(client: Client, sign_in: SignIn, filled: Operation) -> None:
    def answer() -> str:
        return text(client.get("/status/")).partition('<section class="answer')[2].partition("</section>")[0]

    sign_in("Managers")
    Feed.objects.filter(api="interactions", is_enabled=True).update(last_good_poll_at=None)
    assert "1 of 2 feeds is heard as it should be." in answer()
    assert answer().startswith('" ')
    Operation.objects.update(is_active=False)
    assert "0 of 2 feeds are heard as they should be." in answer()
    assert "Read every" not in text(client.get(filled.get_absolute_url()))
    Feed.objects.update(is_enabled=False)
    assert "No API is polled: an administrator chooses which." in answer()


def test_status_says_that_the_vendor_answers_for_another_operation(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    Operation.objects.update(vendor_name="Bogotá", other_vendor_name="Lima")
    sign_in("Managers")
    assert "The vendor has answered for “Lima” here, and for “Bogotá” before" in text(client.get("/status/"))


def test_status_says_what_counts_otherwise_than_it_is_set_and_where_the_vendors_month_begins(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    Feed.objects.filter(api="interactions").update(contrary_midnights=2)
    Operation.objects.update(reset_after=-18_050, reset_before=-17_750)
    sign_in("Managers")
    shown = text(client.get("/status/"))
    assert "1 feed seems to count something other than it is set to" in shown
    assert "an administrator sets “figures count” to “the day”." in shown
    assert "seen to begin between 18:59 and 19:05, Bogotá time." in shown
    assert "the time zone is another one" in shown


def test_status_says_when_what_failed_is_tried_again(client: Client, sign_in: SignIn, filled: Operation) -> None:
    failed = {"failing_since": NOW, "failing_outcome": "maintenance", "next_due_at": NOW + timedelta(minutes=30)}
    Feed.objects.filter(api="interactions").update(**failed)
    sign_in("Managers")
    assert "It is tried again at 15:05." in text(client.get("/status/"))
    assert "Próximo intento: 15:05." in text(client.get("/status/", headers={"accept-language": "es"}))


def test_status_says_once_whether_what_failed_passes_and_what_to_do(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    failed = {"failing_since": NOW, "failing_message": "FORBIDDEN", "next_due_at": NOW + timedelta(minutes=30)}
    sign_in("Managers")
    for outcome, english, spanish in (
        ("server_failed", "It usually passes by itself. The fault is", "Suele resolverse por sí solo. El fallo es"),
        ("token_refused", "An administrator has to act. Paste", "Debe intervenir un administrador. Pegue"),
    ):
        Feed.objects.filter(is_enabled=True).update(failing_outcome=outcome, **failed)
        shown = unescape(text(client.get("/status/")))
        assert (shown.count(english), shown.count("The message was: FORBIDDEN")) == (1, 1)
        assert shown.count("It is tried again at 15:05.") == 2
        shown = text(client.get("/status/", headers={"accept-language": "es"}))
        assert shown.count(spanish) == 1


def test_an_operations_page_says_whether_what_failed_passes_by_itself(
    client: Client, sign_in: SignIn, filled: Operation
) -> None:
    failed = {"failing_since": NOW, "failing_outcome": "server_failed", "next_due_at": NOW + timedelta(minutes=30)}
    Feed.objects.filter(api="interactions").update(**failed)
    sign_in("Managers")
    shown = " ".join(unescape(text(client.get("/operations/bogot-norte/"))).split())
    said = "It usually passes by itself. The fault is the vendor's; if it lasts, ask its support. It is tried again at"
    assert f"Vendor's server failed since 14:35.</strong> {said} 15:05." in shown
    Feed.objects.filter(api="interactions").update(failing_outcome="token_refused")
    shown = text(client.get("/operations/bogot-norte/"))
    assert "An administrator has to act. It is tried again at 15:05." in shown
    assert "Paste a valid token" not in shown
    sign_in("Administrators")
    shown = text(client.get("/operations/bogot-norte/"))
    assert "An administrator has to act. Paste a valid token" in shown


# Without a log-in


def test_healthz_is_well(client: Client, filled: Operation) -> None:
    Feed.objects.filter(is_enabled=True).update(next_due_at=NOW + timedelta(minutes=1))
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok")


def test_healthz_tells_stalled_polling_without_names(client: Client, operation: Operation) -> None:
    Feed.objects.filter(is_enabled=True).update(next_due_at=NOW - timedelta(minutes=11))
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (503, b"Polling has stalled.")


def test_healthz_tells_a_database_that_does_not_answer(client: Client) -> None:
    def fail(*_: object) -> None:
        raise OperationalError

    with connection.execute_wrapper(fail):
        response = client.get("/healthz")
    assert (response.status_code, response.content) == (503, b"The database does not answer.")


def test_a_page_that_breaks_says_so_without_a_database(client: Client, sign_in: SignIn) -> None:
    def fail(*_: object) -> None:
        raise OperationalError

    sign_in("Managers")
    client.raise_request_exception = False
    with connection.execute_wrapper(fail):
        response = client.get("/")
    assert response.status_code == 500
    assert "Something broke here" in text(response)


def test_a_wrong_password_is_told_and_many_lock_the_name_out(client: Client) -> None:
    make_user("manager", "Managers")
    attempt = {"username": "manager", "password": "wrong"}
    assert 'role="alert"' in text(client.post("/accounts/login/", attempt))
    for _ in range(8):
        client.post("/accounts/login/", attempt)
    response = client.post("/accounts/login/", attempt)
    assert response.status_code == 429
    assert "Locked for a while" in text(response)


def test_a_stale_form_is_told_in_the_same_design(client: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    response = strict.post("/accounts/login/", {"username": "x", "password": "y"})
    assert response.status_code == 403
    assert "This form is out of date" in text(response)


@pytest.mark.parametrize("path", ["/admin/usage/poll/?outcome=%00", "/admin/usage/product/?api=%00", "/admin/?%00"])
def test_a_nul_in_an_address_of_the_admin_is_a_bad_request(client: Client, sign_in: SignIn, path: str) -> None:
    sign_in("Administrators")
    answer = client.get(path)
    assert answer.status_code == 400
    assert "NUL" in text(answer)


# Without the tokens' key


def test_a_lost_key_costs_no_page_and_no_report(
    client: Client, sign_in: SignIn, filled: Operation, settings: Any
) -> None:
    sign_in("Administrators")
    places = [*PAGES, "/admin/", "/admin/usage/operation/", f"/admin/usage/operation/{filled.pk}/change/"]
    files = [f"/reports/{name}.csv?month=2026-10" for name in reports.COLUMNS]
    before = [b"".join(client.get(file)) for file in files]
    settings.TOKEN_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert {place: client.get(place).status_code for place in places} == dict.fromkeys(places, 200)
    assert [b"".join(client.get(file)) for file in files] == before
