"""The overview as an answer: what it says first, what its address asks for, and how it holds up with many."""

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.conftest import NOW, hear, make_operation, text
from usage.models import Feed, MonthlyUsage, Operation, Product

pytestmark = [pytest.mark.usefixtures("now"), pytest.mark.django_db]

SEPTEMBER, OCTOBER, NOVEMBER = date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)


@pytest.fixture
def manager(client: Client, sign_in: Callable[[str], User]) -> Client:
    sign_in("Managers")
    return client


def product_of(name: str, kind: str = "usage", licensed_by: Product | None = None) -> Product:
    api = "interactions" if kind == "usage" else "interaction_licenses"
    return Product.objects.get_or_create(
        api=api, description=name, defaults={"name": name, "kind": kind, "licensed_by": licensed_by}
    )[0]


def fill(operation: Operation, month: date, a_day: int, *, licences: int = 40, name: str = "Email") -> None:
    """A month of so much a day; of November, until now."""
    gauge = product_of("Interaction licences", "licences")
    length = 23 if month == NOVEMBER else monthrange(month.year, month.month)[1]
    as_of = (
        NOW - timedelta(minutes=1)
        if month == NOVEMBER
        else datetime(month.year, month.month, length, 23, 59, tzinfo=UTC)
    )
    for product, by_day in ((product_of(name, licensed_by=gauge), a_day), (gauge, licences)):
        MonthlyUsage.objects.update_or_create(
            operation=operation,
            product=product,
            month=month,
            defaults={
                "items": by_day * length if product.is_usage else by_day,
                "items_by_day": [str(by_day)] * length,
                "to_date_by_day": [str(by_day * day) for day in range(1, length + 1)] if product.is_usage else [],
                "as_of": as_of,
            },
        )


def make(name: str, *a_day: int, licences: tuple[int, int] = (40, 40)) -> Operation:
    """An operation that is heard, with October and November of so much a day."""
    operation = make_operation(name)
    operation.feeds.filter(is_enabled=True).update(last_good_poll_at=NOW - timedelta(minutes=1))
    for month, each, held in zip((OCTOBER, NOVEMBER), a_day, licences, strict=False):
        fill(operation, month, each, licences=held)
    return operation


def answer_of(shown: str) -> str:
    """The box at the top, as text."""
    (box,) = re.findall(r'<section class="answer.*?</section>', shown, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", box).split())


def named(shown: str) -> list[str]:
    """The operations of the table, in order."""
    return re.findall(r'<a class="name"[^>]*>([^<]*)</a>', shown)


# The answer


def test_an_operations_page_says_what_the_overview_says_of_it(manager: Client) -> None:
    cali = make("Cali", 1000, 1180)
    assert "Email is 18% above October&#x27;s pace; its 40 licences stood unchanged." in text(manager.get("/"))
    said = answer_of(text(manager.get(cali.get_absolute_url())))
    assert said == "Email is 18% above October&#x27;s pace; its 40 licences stood unchanged."
    fill(cali, SEPTEMBER, 900)
    assert '<section class="answer' not in text(manager.get(f"{cali.get_absolute_url()}?against=2026-09"))


def test_the_answer_names_the_worst_first_in_whatever_order_the_table_is(manager: Client) -> None:
    for number in range(5):
        make(f"Cali {number}", 1000, 1300 + number * 100)
    said = [answer_of(text(manager.get(path))) for path in ("/", "/?sort=name")]
    assert "Cali 4 Email is" in said[0]
    assert said[0] == said[1]


def test_licences_that_rose_and_fell_again_did_not_stand_unchanged(manager: Client) -> None:
    cali = make("Cali", 1000, 1180)
    MonthlyUsage.objects.filter(product__kind="licences").update(lowest=40, highest=90)
    assert answer_of(text(manager.get("/"))).endswith("Cali Email is 18% above October&#x27;s pace.")
    shown = text(manager.get(cali.get_absolute_url()))
    assert answer_of(shown) == "Email is 18% above October&#x27;s pace."
    assert "40 to 90 in the month" in shown
    MonthlyUsage.objects.filter(product__kind="licences").update(highest=40)
    assert "Unchanged in the month" in text(manager.get(cali.get_absolute_url()))


def test_an_operation_of_which_nothing_is_polled_any_more_is_not_called_heard(manager: Client) -> None:
    cali = make("Cali", 1000, 1010)
    assert "The operation is heard" in answer_of(text(manager.get("/")))
    cali.feeds.update(is_enabled=False)
    shown = text(manager.get("/"))
    assert answer_of(shown) == "The operation needs no look."
    assert "Polling is switched off" in shown
    assert "Polling is switched off" in text(manager.get(cali.get_absolute_url()))
    cali.feeds.filter(api="ivr_calls").update(is_enabled=True)
    assert answer_of(text(manager.get("/"))) == "The operation needs no look.", "what is polled was never heard"


def test_a_search_leaves_the_months_as_they_are(manager: Client) -> None:
    make("MONTH", 1000, 1010)
    links = re.findall(r'href="([^"]*month=2026-1[01][^"]*)"', text(manager.get("/?q=MONTH")))
    assert "?month=2026-10&amp;q=MONTH" in links


def test_a_closed_month_shows_its_products_as_they_were(manager: Client) -> None:
    cali = make("Cali", 1000)
    email, gauge = Product.objects.get(name="Email"), Product.objects.get(kind="licences")
    for product in (email, gauge):
        MonthlyUsage.objects.filter(month=OCTOBER, product=product).update(
            state="closed",
            closed_at=NOW - timedelta(days=20),
            closed_name=product.name,
            closed_kind=product.kind,
            closed_unit=product.unit,
            closed_licensed_by=product.licensed_by,
            closed_zone="America/Bogota",
        )
    paths = ["/?month=2026-10", f"{cali.get_absolute_url()}?month=2026-10", f"{cali.get_absolute_url()}year/"]
    paths += ["/products/?month=2026-10", f"/products/{email.pk}/?month=2026-10"]
    paths += [f"{cali.get_absolute_url()}products/{email.pk}/2026-10-07/"]

    def seen() -> list[str]:
        return [
            re.sub(r"<(header|nav|form|script).*?</\1>", "", text(manager.get(path)), flags=re.DOTALL) for path in paths
        ]

    before = seen()
    Product.objects.filter(pk=email.pk).update(
        name="Correo", unit="seconds", kind="active count", licensed_by=None, is_counted=False
    )
    assert seen() == before
    Product.objects.filter(pk=gauge.pk).update(name="Licencias", is_counted=False)
    assert seen() == before


def test_other_licences_since_a_closed_month_are_compared_with_themselves(manager: Client) -> None:
    cali = make("Cali", 1000, 1180)
    email, others = Product.objects.get(name="Email"), product_of("Other licences", "licences")
    for usage in MonthlyUsage.objects.filter(product__name="Interaction licences"):
        usage.pk, usage.product, usage.items, usage.items_by_day = None, others, 77, ["77"] * 23
        usage.save()
    MonthlyUsage.objects.filter(month=OCTOBER, product=email).update(
        state="closed", closed_at=NOW, closed_name="Email", closed_kind="usage", closed_licensed_by=email.licensed_by
    )
    Product.objects.filter(pk=email.pk).update(licensed_by=others)
    said = "Email is 18% above October&#x27;s pace; its 77 licences stood unchanged."
    assert said in text(manager.get("/"))
    assert said in text(manager.get(cali.get_absolute_url()))


def test_the_answer_names_what_needs_a_look_with_its_sentence(manager: Client) -> None:
    make("Cali", 1000, 1180)
    make("Lima", 100, 101)
    failing = make("Quito", 100, 100)
    Feed.objects.filter(operation=failing).update(
        failing_since=NOW - timedelta(hours=5), failing_outcome="token_refused"
    )
    shown = text(manager.get("/"))
    assert answer_of(shown) == (
        "2 of 3 operations need a look Quito Token refused since 09:35. An administrator has to act. "
        "It is due to be tried again. "
        "Cali Email is 18% above October&#x27;s pace; its 40 licences stood unchanged."
    )
    assert named(shown) == ["Quito", "Cali", "Lima"]
    assert "<p>Email keeps October&#x27;s pace.</p>" in shown


def test_the_answer_names_a_few_and_leads_to_all(manager: Client) -> None:
    for number in range(5):
        make(f"Operation {number}", 100, 200)
    box = answer_of(text(manager.get("/")))
    assert box.count("Email is 100% above") == 4
    assert box.endswith("Show all 5")


def test_the_answer_is_spanish_for_who_reads_spanish(manager: Client) -> None:
    make("Cali", 1000, 1180, licences=(1000, 1200))
    make("Lima", 100, 100)
    assert answer_of(text(manager.get("/", headers={"accept-language": "es-CO,es"}))) == (
        "1 de 2 operaciones requiere atención Cali Email va un 18% por encima del ritmo de octubre; "
        "las licencias pasaron de 1.000 a 1.200."
    )


def test_the_answer_says_when_all_is_well(manager: Client) -> None:
    make("Cali", 100, 101)
    assert answer_of(text(manager.get("/"))) == "The operation is heard, and not far from its usual pace."
    make("Lima", 100, 100)
    shown = text(manager.get("/"))
    assert answer_of(shown) == "All 2 operations are heard, and none is far from its usual pace."


def test_of_a_pace_nothing_is_said_on_too_little(manager: Client) -> None:
    make("Cali", 2, 4)
    shown = text(manager.get("/"))
    assert answer_of(shown) == "The operation is heard as it should be. Too little is known yet to speak of its pace."
    assert "Email is" not in shown


def test_what_is_not_heard_yet_is_not_called_well(manager: Client) -> None:
    make_operation("Lima")
    assert 'class="answer' not in text(manager.get("/"))
    make("Cali", 100, 100)
    assert answer_of(text(manager.get("/"))) == "None of the 2 operations needs a look."


def test_a_month_that_is_over_is_told_as_one(manager: Client) -> None:
    operation = make("Cali", 1120)
    fill(operation, SEPTEMBER, 1000)
    Feed.objects.update(failing_since=NOW, failing_outcome="token_refused")
    shown = text(manager.get("/?month=2026-10"))
    assert "Email ended 12% above September&#x27;s pace." in shown
    assert answer_of(shown) == "The operation did not end far from its usual pace."
    fill(operation, SEPTEMBER, 2000)
    assert answer_of(text(manager.get("/?month=2026-10"))).startswith("The operation needs a look Cali Email ended 44%")


def test_the_change_in_the_table_is_that_of_the_sentence(manager: Client) -> None:
    """October's first 22 days have one working day more than November's: by the day it would be another figure."""
    operation = make("Cali", 100, 100)
    for month, length in ((OCTOBER, 31), (NOVEMBER, 23)):
        by_day = ["0" if month.replace(day=day).weekday() > 4 else "100" for day in range(1, length + 1)]
        MonthlyUsage.objects.filter(operation=operation, month=month, product__kind="usage").update(items_by_day=by_day)
    shown = text(manager.get("/"))
    assert '<span class="change"><span aria-hidden="true"></span><span class="hidden"></span> 0%</span>' in shown
    assert "Against October's pace</th>" in shown


# Licences of whose use nothing is told


def idle(**feed: Any) -> str:
    """An operation with licences, and an answer about their use in which nothing stands."""
    operation = make("Cali")
    fill(operation, NOVEMBER, 100)
    MonthlyUsage.objects.filter(product__kind="usage").delete()
    Feed.objects.filter(api="interactions").update(**feed)
    return "40 licences have stood unused for 22 days."


def test_licences_of_whose_use_nothing_is_told_are_unused(manager: Client) -> None:
    said = idle()
    shown = text(manager.get("/?show=unused"))
    assert named(shown) == ["Cali"]
    assert said in shown


@pytest.mark.parametrize(
    "feed",
    [{"is_enabled": False}, {"last_good_poll_at": NOW - timedelta(days=1)}, {"counts": "day"}],
)
def test_where_their_use_is_not_heard_nothing_is_said_of_licences(manager: Client, feed: dict[str, Any]) -> None:
    said = idle(**feed)
    assert said not in text(manager.get("/"))


def test_licences_are_used_by_products_that_nobody_holds_against_them(manager: Client) -> None:
    operation = make("Cali", 100, 100)
    Product.objects.update(licensed_by=None)
    assert "unused" not in text(manager.get("/"))
    assert operation.name in named(text(manager.get("/")))


# A product that the vendor names no more


RENAMED = "The vendor named Email until 12 Nov only; if it has another name now, its use counts twice."


def rename(cali: Operation) -> None:
    """Since the 12th the vendor tells of Mail instead of Email."""
    fill(cali, NOVEMBER, 1100, name="Mail")
    at = datetime(2026, 11, 13, 4, 59, tzinfo=UTC)  # the 12th in Bogotá
    MonthlyUsage.objects.filter(product__description="Email", month=NOVEMBER).update(as_of=at)


def test_a_product_that_is_named_no_more_is_told_before_all_else(manager: Client) -> None:
    cali = make("Cali", 1000, 1400)
    assert RENAMED not in text(manager.get("/"))
    rename(cali)
    shown = text(manager.get("/"))
    assert answer_of(shown) == f"The operation needs a look Cali {RENAMED}"
    page = text(manager.get(cali.get_absolute_url()))
    assert answer_of(page) == RENAMED, "how it keeps its pace, nobody knows"
    assert f'<span class="warn">{RENAMED}</span>' in page
    assert page.count(RENAMED) == 2


def test_licences_that_are_named_no_more_are_told_too(manager: Client) -> None:
    cali = make("Cali", 1000, 1000)
    other = product_of("Agents", "licences")
    MonthlyUsage.objects.create(operation=cali, product=other, month=NOVEMBER, items=40, as_of=NOW)
    said = "The vendor named Interaction licences until 23 Nov only; the figure is the last that it told."
    for path in ("/", cali.get_absolute_url()):
        assert answer_of(text(manager.get(path))).endswith(said)


@pytest.mark.parametrize(
    "as_it_is",
    [
        lambda: Feed.objects.filter(api="interactions").update(counts="day"),
        lambda: MonthlyUsage.objects.filter(product__description="Email", month=NOVEMBER).update(items=0),
        lambda: MonthlyUsage.objects.filter(product__description="Mail").delete(),
    ],
    ids=["a day's count begins anew", "nothing was used", "nothing else is told of either"],
)
def test_nothing_is_said_of_a_silence_that_may_be_right(manager: Client, as_it_is: Callable[[], object]) -> None:
    cali = make("Cali", 1000, 1400)
    rename(cali)
    as_it_is()
    for path in ("/", cali.get_absolute_url()):
        assert "named Email" not in text(manager.get(path))


# What the address asks for


def test_a_shared_link_shows_the_same_page(manager: Client) -> None:
    make("Cali Ñorte", 100, 200)
    make("Lima Ñorte", 100, 50)
    make("Quito", 100, 200)
    shown = text(manager.get("/?month=2026-11&q=norte&show=above&sort=name"))
    assert named(shown) == ["Cali Ñorte"]
    assert 'class="answer' not in shown
    assert 'value="norte"' in shown
    for kept in ('name="month" value="2026-11"', 'name="show" value="above"', 'name="sort" value="name"'):
        assert f'<input type="hidden" {kept}>' in shown
    assert 'href="?month=2026-11&amp;q=norte&amp;show=below&amp;sort=name"' in shown
    assert '<a href="?month=2026-11&amp;q=norte&amp;show=above&amp;sort=name" aria-current="true">' in shown


def test_the_months_keep_what_is_asked_for(manager: Client) -> None:
    make("Cali", 100, 200)
    make("Lima", 100, 200)
    assert 'href="?q=cali&amp;show=above&amp;month=2026-10"' in text(manager.get("/?q=cali&show=above"))


def test_when_nothing_is_left_the_way_back_is_shown(manager: Client) -> None:
    make("Cali", 100, 100)
    make("Lima", 100, 100)
    shown = text(manager.get("/?month=2026-10&q=%3Cb%3E"))
    assert "No operation or product matches “&lt;b&gt;” here." in shown
    assert '<a class="button" href="?month=2026-10">Show all 2 operations</a>' in shown
    assert "There is none of this kind in this month." in text(manager.get("/?show=unused"))


@pytest.mark.parametrize("query", ["show=x", "show=ABOVE", "show=%00", "show=above&show=x", "sort=", "sort=items"])
def test_a_filter_that_is_none_is_refused_in_a_sentence(manager: Client, query: str) -> None:
    choices = {
        "show": "?show=attention, ?show=failing, ?show=above, ?show=below, ?show=unused",
        "sort": "?sort=attention, ?sort=name",
    }
    for language, said in (("en", "What can be asked for here"), ("es", "Aquí se puede pedir")):
        response = manager.get(f"/?{query}", headers={"accept-language": language})
        assert response.status_code == 400
        assert f"{said}: {choices[query[:4]]}." in text(response)


@pytest.mark.parametrize("search", ["", "%20%20", "%00", "%F0%9F%93%9E", "x" * 5000])
def test_any_text_can_be_searched_for(manager: Client, search: str) -> None:
    make("Cali", 100, 100)
    assert manager.get(f"/?q={search}").status_code == 200


# Many


def test_many_operations_ask_no_more_often_and_take_a_line_each(
    manager: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(42):
        make(f"Operation {number:02}", 100, 200 if number == 41 else 100)
        fill(Operation.objects.get(name=f"Operation {number:02}"), NOVEMBER, 7, name="X")
    with django_assert_num_queries(9):
        shown = text(manager.get("/"))
    assert named(shown)[:2] == ["Operation 41", "Operation 00"]
    assert shown.count('<svg class="spark') == 42
    assert shown.count('<tr id="operation-') == 42
    with django_assert_num_queries(9):
        assert text(manager.get("/?q=Operation+1")).count('<svg class="spark') == 14 * 2


def test_an_operation_without_figures_has_its_line_among_many(manager: Client) -> None:
    for number in range(41):
        make_operation(f"Operation {number}")
    hear(Operation.objects.get(name="Operation 3"), "interactions", NOW, ("Email", "10"))
    assert text(manager.get("/")).count('<tr id="operation-') == 41
