"""A person from Finance signs in and walks through the pages, in a real browser under the real policy."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Page, Request, Response, sync_playwright

from tests.audit import ARGUMENTS, CHROMIUM, WATCH
from tests.conftest import hear, make_operation, make_user
from tests.installation import zone_at_noon
from tests.wolkvox.conftest import VendorFactory, start
from usage.models import MonthlyUsage, Operation, Product
from usage.presenting import words

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "a long enough password"
FIRST_VIEW = 120_000
"""Bytes, compressed, scripts and styles included."""


@pytest.fixture
def operations(transactional_db: None) -> list[Operation]:
    """Two of them, with the last month's end and this month so far."""
    now = timezone.now()
    made = [make_operation("Bogotá"), make_operation("Quito")]
    Operation.objects.update(time_zone=zone_at_noon())
    for operation in made:
        operation.refresh_from_db()
        begin = now.astimezone(operation.zone).replace(day=1, hour=0, minute=0)
        midnights = [at for days in range(31) if (at := begin + timedelta(days=days)) < now]
        for number, at in enumerate([begin - timedelta(hours=1), *midnights, now]):
            items = [(name, str(100 + number * weight)) for name, weight in (("Email", 90), ("Chat", 7))]
            hear(operation, "interactions", at, *items)
            hear(operation, "interaction_licenses", at, ("Interaction licences", str(40 + number // 9)))
    return made


@pytest.fixture
def person(transactional_db: None) -> User:
    return make_user("finance", "Finance")


@pytest.fixture
def complaints() -> list[str]:
    """What the browser had to say, a refused or failed request among it."""
    return []


def failures(request: Request) -> list[str]:
    """Why a request failed. What the next page cuts short, or a download that takes a page's place, did not."""
    return [] if "ERR_ABORTED" in (request.failure or "") else [f"{request.url}: {request.failure}"]


@pytest.fixture
def responses() -> list[Response]:
    return []


@pytest.fixture
def page(
    operations: list[Operation],
    person: User,
    live_server: Any,
    complaints: list[str],
    responses: list[Response],
) -> Iterator[Page]:
    """The overview, reached by the log-in's form. While the browser runs, the database is left alone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context(base_url=live_server.url, locale="en-GB", color_scheme="light").new_page()
        page.on("console", lambda message: complaints.append(f"{page.url}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("requestfailed", lambda request: complaints.extend(failures(request)))
        page.on("response", lambda response: responses.append(response))  # noqa: PLW0108  a builtin takes no mark
        page.goto("/")
        page.get_by_label("User name").fill("finance")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Usage in").wait_for()
        yield page
        browser.close()


def charts_drawn(page: Page) -> int:
    """How many, once every canvas of the page was near the window and is ready."""
    for canvas in page.locator("canvas").all():
        canvas.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('canvas')].every(c => 'ready' in c.dataset)")
    return page.locator("canvas").count()


def is_drawn_on(page: Page, canvas: str) -> bool:
    script = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(byte => byte > 0)"
    return bool(page.locator(canvas).first.evaluate(script))


def weight(responses: list[Response]) -> int:
    """Bytes on the wire, with the static files as WhiteNoise sends them: compressed."""
    return sum(
        response.request.sizes()["responseBodySize"]
        if "content-encoding" in response.headers
        else len(gzip.compress(response.body()))
        for response in responses
    )


def test_a_walk_through_the_pages(
    page: Page, complaints: list[str], responses: list[Response], live_server: Any
) -> None:
    page.get_by_role("link", name="Bogotá", exact=True).click()
    page.get_by_role("heading", name="Bogotá", exact=True).wait_for()
    assert charts_drawn(page) == 5
    assert is_drawn_on(page, "canvas")
    page.get_by_text("The figures as a table").first.click()
    page.get_by_role("region", name="The figures of Chat").wait_for()
    page.locator("h2").get_by_role("link", name="Email").click()
    page.get_by_role("heading", name="Month to date, by operation").wait_for()
    assert charts_drawn(page) == 1
    page.locator(".months summary").click()
    page.locator(".months li a").last.click()
    page.wait_for_url("**/products/*/?month=*")
    assert charts_drawn(page) == 1
    for name in ("Products", "Status", "Reports", "Overview"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        page.get_by_role("heading", level=1).wait_for()
    page.get_by_role("button", name="Español").click()
    page.wait_for_function("() => document.documentElement.lang === 'es'")
    page.locator(".who button").last.click()
    page.wait_for_url("**/accounts/login/")
    assert {urlsplit(response.url).netloc for response in responses} == {urlsplit(live_server.url).netloc}
    assert complaints == []


def test_charts_follow_a_change_to_dark(page: Page, complaints: list[str]) -> None:
    page.goto("/operations/bogot/")
    charts_drawn(page)
    light = page.locator("canvas").first.evaluate("c => c.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("before => document.querySelector('canvas').toDataURL() !== before", arg=light)
    assert complaints == []


def test_lines_differ_in_more_than_their_colour(page: Page) -> None:
    product = page.get_by_role("link", name="Email").first.get_attribute("href") or ""
    for path in ("/operations/bogot/", product):
        page.goto(path)
        page.wait_for_function("() => 'ready' in document.querySelector('canvas').dataset")
        marks = "canvas => Chart.getChart(canvas).data.datasets.map((line) => line.pointStyle)"
        one, other = page.locator("canvas").first.evaluate(marks)
        assert one != other


def point(page: Page, canvas: str, index: int) -> tuple[float, float]:
    """Where a chart's first series has its figure of a day, in the window."""
    charts_drawn(page)
    drawn = page.locator(canvas).first
    drawn.scroll_into_view_if_needed()
    script = "(c, index) => { const { x, y } = Chart.getChart(c).getDatasetMeta(0).data[index]; return [x, y + 2]; }"
    x, y = drawn.evaluate(script, index)
    box = drawn.bounding_box()
    assert box is not None
    return box["x"] + x, box["y"] + y


def test_points_lead_from_the_year_to_the_month_to_the_day(page: Page, complaints: list[str]) -> None:
    today = timezone.localdate()
    page.goto("/operations/bogot/year/")
    page.mouse.click(*point(page, "canvas", today.month - 1))
    page.wait_for_url(f"**/operations/bogot/?month={today:%Y-%m}")
    for canvas in ("[id^=daily]", "[id^=total]"):
        page.mouse.click(*point(page, canvas, today.day - 1))
        page.wait_for_url(f"**/products/*/{today}/")
        page.go_back()
    page.get_by_text("The figures as a table").first.click()
    page.get_by_role("region", name="The figures of Chat").get_by_role("link").last.click()
    page.wait_for_url(f"**/products/*/{today}/")
    page.get_by_role("link", name="Chat in").click()
    page.locator("h2").get_by_role("link", name="Chat").click()
    page.mouse.click(*point(page, "canvas", today.day - 1))
    page.wait_for_url(f"**/operations/*/products/*/{today}/")
    assert complaints == []


def test_no_click_leads_where_nothing_is(page: Page) -> None:
    page.goto("/operations/bogot/year/")
    x, y = point(page, "canvas", timezone.localdate().month - 1)
    page.mouse.move(x, y)
    assert page.locator("canvas").first.evaluate("c => c.style.cursor") == "pointer"
    script = "c => { const { left, top } = Chart.getChart(c).chartArea; return [left + 2, top + 2]; }"
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    left, top = page.locator("canvas").first.evaluate(script)
    page.mouse.move(box["x"] + left, box["y"] + top)
    assert page.locator("canvas").first.evaluate("c => c.style.cursor") == ""


@pytest.fixture
def outage(operations: list[Operation]) -> None:
    """Bogotá's, from 09:36 of the 1st to the 2nd's, which Quito didn't have: else both have the same figures."""
    MonthlyUsage.objects.update(gaps=[])
    MonthlyUsage.objects.filter(operation=operations[0]).update(gaps=[[34_560, 86_400 + 34_560]])


def test_charts_out_of_sight_wait_but_not_for_paper(page: Page, operations: list[Operation]) -> None:
    page.set_viewport_size({"width": 390, "height": 400})
    page.emulate_media(color_scheme="dark")
    page.goto("/operations/bogot/")
    page.locator("canvas").first.scroll_into_view_if_needed()
    page.wait_for_function("() => 'ready' in document.querySelector('canvas').dataset")
    ready = "[...document.querySelectorAll('canvas')].filter(canvas => 'ready' in canvas.dataset).length"
    assert page.evaluate(ready) < 5
    page.evaluate(f"""() => addEventListener("beforeprint", () => {{
        const canvas = document.querySelector("canvas");
        window.onPaper = [{ready}, getComputedStyle(canvas).getPropertyValue("--card"), canvas.clientWidth];
    }})""")
    page.pdf()
    drawn, paper, width = page.evaluate("window.onPaper")
    assert (drawn, paper) == (5, "#fff")
    assert width < 390
    assert charts_drawn(page) == 5


def hear_more(operation: Operation) -> None:
    hear(operation, "interactions", timezone.now(), ("Email", "54321"), ("Chat", "7"))
    connection.close()


def test_a_page_renews_itself_and_keeps_what_is_open(
    page: Page, operations: list[Operation], complaints: list[str], responses: list[Response]
) -> None:
    page.clock.install()
    page.goto("/operations/bogot/")
    page.get_by_text("The figures as a table").first.click()
    checked = page.get_by_text("renews itself")
    before = checked.inner_text()
    page.clock.run_for(61_000)
    page.wait_for_function("before => document.getElementById('fresh').textContent !== before", arg=before)
    assert responses[-1].request.sizes()["responseBodySize"] == 0  # a 304, which the browser shows as a 200
    before = page.locator("dl.keys dd").first.inner_text()
    with ThreadPoolExecutor(1) as another_thread:  # the browser's has an event loop
        another_thread.submit(hear_more, operations[0]).result()
    page.evaluate("document.querySelector('main summary').focus()")
    page.clock.run_for(60_000)
    page.get_by_text("54,321").first.wait_for()
    assert before != page.locator("dl.keys dd").first.inner_text()
    assert page.get_by_role("region", name="The figures of Chat").is_visible()
    assert page.evaluate("document.activeElement === document.querySelector('main summary')")
    assert charts_drawn(page) == 5
    page.wait_for_function("() => Object.keys(Chart.instances).length === 5")
    assert complaints == []


def test_a_page_renews_itself_though_another_tab_has_the_new_figures_already(
    page: Page, operations: list[Operation]
) -> None:
    page.clock.install()
    page.goto("/operations/bogot/")
    page.clock.run_for(4_000)
    page.wait_for_load_state("networkidle")
    with ThreadPoolExecutor(1) as another_thread:  # the browser's has an event loop
        another_thread.submit(hear_more, operations[0]).result()
    other = page.context.new_page()
    other.goto("/operations/bogot/")
    other.get_by_text("54,321").first.wait_for()
    page.clock.run_for(61_000)
    page.get_by_text("54,321").first.wait_for()


@pytest.fixture
def talk(operations: list[Operation]) -> None:
    hear(operations[0], "interactions", timezone.now(), ("Talk", "01:59:59"))


def test_a_tooltip_says_a_duration_as_the_table_does(talk: None, page: Page) -> None:
    page.goto("/operations/bogot/")
    charts_drawn(page)
    said = page.locator("[aria-label^='Talk, day by day']").evaluate("""canvas => [7199, 20, 0, -90].map((seconds) =>
        Chart.getChart(canvas).options.plugins.tooltip.callbacks.label(
            { dataset: { label: "Talk" }, dataIndex: 0, parsed: { y: seconds / 3600 } }
        )
    )""")
    assert said == [f"Talk: {words.duration(Decimal(seconds))}" for seconds in (7199, 20, 0, -90)]


def test_a_word_says_what_it_means_where_it_stands(page: Page) -> None:
    page.goto("/operations/bogot/")
    meaning = page.get_by_text("The month runs, and its figures follow each good poll.")
    assert not meaning.is_visible()
    page.get_by_role("button", name="open", exact=True).first.press("Enter")
    meaning.wait_for()
    page.keyboard.press("Escape")
    meaning.wait_for(state="hidden")


def test_a_page_says_that_it_can_not_be_renewed(page: Page) -> None:
    page.clock.install()
    page.goto("/")
    page.context.set_offline(True)
    page.clock.run_for(61_000)
    page.get_by_text("the server is not reached").wait_for()
    page.context.set_offline(False)
    page.clock.run_for(60_000)
    page.get_by_text("renews itself").wait_for()
    page.context.clear_cookies()
    page.clock.run_for(60_000)
    page.get_by_text("you are signed out").wait_for()


def columns_drawn(page: Page, canvas: str) -> list[str]:
    """What is drawn in each column of pixels of a chart's area."""
    script = """canvas => {
        const { left, right, top, bottom } = Chart.getChart(canvas).chartArea;
        const [width, height] = [right - left, bottom - top].map(Math.floor);
        const pixels = new Uint32Array(canvas.getContext("2d").getImageData(left, top, width, height).data.buffer);
        const rows = Array.from({ length: height }, (_, y) => y * width);
        return Array.from({ length: width }, (_, x) => rows.map((row) => pixels[row + x]).join());
    }"""
    charts_drawn(page)
    return list(page.locator(canvas).first.evaluate(script))


def test_a_gap_is_a_band_at_its_place_in_the_days(outage: None, page: Page, complaints: list[str]) -> None:
    for chart in ("[id^=daily]", "[id^=total]"):
        page.goto("/operations/quito/")
        without = columns_drawn(page, chart)
        days = page.evaluate("Chart.getChart(document.querySelector('canvas')).data.labels.length")
        page.goto("/operations/bogot/")
        pairs = enumerate(zip(without, columns_drawn(page, chart), strict=True))
        drawn = [x / len(without) * days for x, (one, other) in pairs if one != other]
        assert (min(drawn), max(drawn)) == (pytest.approx(0.4, abs=0.15), pytest.approx(1.4, abs=0.15))
    page.get_by_text("The figures as a table").first.click()
    assert page.get_by_text("No answer for 14 h").first.is_visible()
    assert complaints == []


@pytest.mark.parametrize("path", ["/", "/operations/bogot/"])
def test_the_first_view_is_light(page: Page, responses: list[Response], path: str) -> None:
    page.wait_for_load_state("networkidle")
    responses.clear()
    page.goto(path)
    charts_drawn(page)
    page.wait_for_load_state("networkidle")
    assert weight(responses) < FIRST_VIEW


def test_a_csv_is_downloaded_of_what_was_picked(page: Page, complaints: list[str]) -> None:
    page.goto("/reports/")
    page.get_by_text("Choose operations and products").click()
    page.get_by_label("Quito").check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download By month as CSV").click()
    assert download.value.suggested_filename.startswith("monthly-")
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 4
    assert all("quito" in line for line in lines[1:])
    assert complaints == []


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/operations/bogot/?align=weekday&per=licence")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_text("The figures as a table").first.click()
    day = page.locator("th.day a").last.get_attribute("href") or ""
    for path in ("/", "/operations/bogot/", "/operations/bogot/year/", day, "/products/", "/reports/", "/status/"):
        page.goto(path)
        assert (path, page.evaluate("document.documentElement.scrollWidth")) <= (path, width)


@pytest.fixture
def long_names(operations: list[Operation]) -> None:
    """Of an operation and a product, with no place to break them at."""
    name = "InteracciónTelefónicaSalientePredictivaConGrabaciónYTranscripciónAutomática"
    Operation.objects.filter(pk=operations[0].pk).update(name=name)
    Product.objects.filter(description="Email").update(name=name)


@pytest.mark.parametrize(("width", "boxes"), [(360, "html, .card"), (1440, "html, .card, .card .scroll")])
def test_a_long_name_pushes_no_figure_out_of_its_card(long_names: None, page: Page, width: int, boxes: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    product = page.get_by_role("link", name="Interacción").last.get_attribute("href")
    for path in ("/", "/operations/bogot/", "/operations/bogot/year/", "/products/", product):
        page.goto(path or "")
        wider = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.outerHTML)"
        assert page.locator(boxes).evaluate_all(wider) == []


def test_nothing_moves_while_a_page_loads(vendor: VendorFactory, page: Page, live_server: Any) -> None:
    """Its bytes stop for a while in the middle of its month, as they may on their way."""
    document = page.request.get("/operations/bogot/").body()
    document = document.replace(b'href="/static/', f'href="{live_server.url}/static/'.encode())
    head, cut = start("Content-Type: text/html; charset=utf-8", "Connection: close"), document.index(b"<summary>")
    server = vendor(lambda: [head + document[:cut], 0.5, document[cut:]])
    page.add_init_script(WATCH)
    page.goto(server.url)
    page.wait_for_timeout(100)
    assert page.evaluate("[seen.moved, document.querySelectorAll('.card').length > 0]") == [0, True]
