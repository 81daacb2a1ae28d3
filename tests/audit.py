"""The pages of a running demo as a browser finds them: python -m tests.audit [URL]

What a first and a second view weigh; whether anything moves while a page loads; when its charts are there and how long
they keep the browser busy; Lighthouse, where npx is; and axe on every page, in both languages, light and dark, 390 and
1440 px wide, with all that unfolds unfolded. Exits 1 if a figure falls short. `make run` starts the demo.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.bench.measuring import report

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
LOCALES, SCHEMES, WIDTHS = ("en-GB", "es-CO"), ("light", "dark"), (1440, 390)
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LIGHTHOUSE = "lighthouse@12.8.2"
GOALS = {"performance": 98, "accessibility": 100, "best-practices": 100}
FIRST, SECOND = 120_000, 15_000
"""Bytes on the wire."""
READY, BUSY = 300, 200
"""Milliseconds: from the response's end until the charts in sight are drawn, and the longest task while scrolling."""
VIEWS = 9
OPERATION = "/operations/bogota-norte-ventas/"
OPERATIONS = [OPERATION, f"{OPERATION}?align=weekday&per=licence", "/operations/lima-retencion/"]
CHARTED = [OPERATION, "/products/1/"]
OVERLAYS = {
    "document.querySelector('.months details').open = true": ".months details",
    "document.querySelector('[popover]').showPopover()": "[popover]",
}
WATCH = """
    window.seen = { ready: 0, moved: 0, busy: 0 };
    const watch = (type, take) =>
        new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
    watch("layout-shift", (shift) => (seen.moved += shift.hadRecentInput ? 0 : shift.value));
    watch("longtask", (task) => (seen.busy = Math.max(seen.busy, task.duration)));
    const isInSight = ({ top, bottom }) => top < innerHeight && bottom > 0;
    new MutationObserver((changes) => {
        if (changes.some(({ target }) => isInSight(target.getBoundingClientRect()))) seen.ready = performance.now();
    }).observe(document, { subtree: true, attributeFilter: ["data-ready"] });
"""
SCROLL = """async () => {
    for (let y = 0; y < document.body.scrollHeight; y += 120) {
        scrollTo(0, y);
        await new Promise(requestAnimationFrame);
    }
}"""


def signed_in(context: BrowserContext, who: str) -> Page:
    """A page of the demo, after the log-in of one of its people."""
    page = context.new_page()
    page.goto("/accounts/login/")
    page.fill("[name=username]", who)
    page.fill("[name=password]", "demo")
    page.press("[name=password]", "Enter")
    page.get_by_role("heading", level=1).wait_for()
    return page


class Audit:
    def __init__(self, url: str, browser: Browser) -> None:
        self.url, self.browser, self.falls_short = url, browser, False
        context = browser.new_context(base_url=url)
        signed_in(context, "finance")
        self.state = context.storage_state()

    def report(self, what: str, figure: str, goal: str, holds: bool, absolute: str = "") -> None:
        self.falls_short |= not holds
        report(what, figure, goal, holds, absolute)

    def context(self, **looks: Any) -> BrowserContext:
        return self.browser.new_context(base_url=self.url, storage_state=self.state, **looks)

    def pages(self) -> list[str]:
        """One of each kind, found by the links of those before it."""
        page = self.context().new_page()
        found = ["/", "/?month=2020-01", "/?q=nobody", "/products/", "/reports/", "/status/", *OPERATIONS]
        for start in ("/products/", OPERATION):
            page.goto(start)
            links = [link.get_attribute("href") or "" for link in page.locator("main a").all()]
            kinds = {re.sub(r"=[^&]*", "=", re.sub(r"[0-9]+", "1", link)): link for link in reversed(links)}
            found += [link for link in kinds.values() if link.startswith(("/", "?")) and link not in found]
        return [path if path.startswith("/") else OPERATION + path for path in dict.fromkeys(found)]


def unfold(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    page.evaluate("document.querySelectorAll('details:not(.months *)').forEach((its) => (its.open = true))")


def audit_access(audit: Audit) -> None:
    axe, violations, checked = Axe(), 0, 0
    paths = audit.pages()
    for locale, scheme, width in product(LOCALES, SCHEMES, WIDTHS):
        looks: dict[str, Any] = {"locale": locale, "color_scheme": scheme, "viewport": {"width": width, "height": 900}}
        pages = [("/accounts/login/", audit.browser.new_context(base_url=audit.url, **looks).new_page())]
        signed_in = audit.context(**looks).new_page()
        for path, page in pages + [(path, signed_in) for path in paths]:
            page.goto(path)
            unfold(page)
            checked += 1
            found = axe.run(page, options=RULES).response["violations"]
            for open_it, what in OVERLAYS.items():  # each alone: what it covers is not to be clicked then
                if page.locator(what).count():
                    page.evaluate(open_it)
                    found += axe.run(page, context=what, options=RULES).response["violations"]
            for violation in found:
                violations += 1
                where = f"{path} {locale} {scheme} {width}"
                nodes = violation["nodes"]
                print(f"  {where}: {violation['id']} x {len(nodes)}: {nodes[0]['html'][:160]}")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                violations += 1
                print(f"  {path} {locale} {scheme} {width}: wider than the window")
    kinds = f"{len(paths) + 1} pages x {len(LOCALES)} languages x {len(SCHEMES)} schemes x {len(WIDTHS)} widths"
    audit.report(f"axe: violations on {checked} views", str(violations), "0", violations == 0, kinds)


def wire(page: Page) -> list[int]:
    """Collects the bytes of each answer as it ends, its headers included."""
    sizes: list[int] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    return sizes


def audit_weight(audit: Audit, path: str) -> None:
    page = audit.context().new_page()
    sizes = wire(page)
    views = []
    for _ in range(2):
        sizes.clear()
        page.goto(path)
        unfold(page)
        page.wait_for_timeout(300)
        views.append((sum(sizes), len(sizes)))
    for what, (size, requests), most in zip(("first", "second"), views, (FIRST, SECOND), strict=True):
        audit.report(
            f"{path}, {what} view",
            f"{size / 1000:.1f} kB",
            f"≤ {most // 1000} kB",
            size <= most,
            f"{requests} requests",
        )


def audit_drawing(audit: Audit, path: str) -> None:
    """In a tab that was just opened, which has all to learn, and in one that comes from another page, as people do."""
    ready: dict[str, list[float]] = {"tab just opened": [], "coming from another page": []}
    moved, busy = [], []
    for width, way, _ in product(WIDTHS, ready, range(VIEWS)):
        page = audit.context(viewport={"width": width, "height": 900}).new_page()
        page.add_init_script(WATCH)
        if way == "tab just opened":
            page.goto(path)
        else:
            page.goto("/reports/")
            page.wait_for_load_state("networkidle")
            with page.expect_navigation():
                page.evaluate("path => location.assign(path)", path)
        page.wait_for_load_state("networkidle")
        answered = page.evaluate("performance.getEntriesByType('navigation')[0].responseEnd")
        if drawn := page.evaluate("seen.ready"):  # on a phone none may be in sight
            ready[way].append(drawn - answered)
        page.evaluate(SCROLL)
        page.wait_for_timeout(100)
        seen = page.evaluate("seen")
        moved.append(seen["moved"])
        busy.append(seen["busy"])
        page.context.close()
    for way, times in ready.items():
        charts = statistics.median(times)
        audit.report(
            f"{path}, {way}: charts in sight after",
            f"{charts:.0f} ms",
            f"≤ {READY} ms",
            charts <= READY,
            f"{min(times):.0f} to {max(times):.0f}",
        )
    audit.report(f"{path}, layout shift", f"{max(moved):.3f}", "0", max(moved) < 0.001)
    audit.report(
        f"{path}, longest task, scrolled through",
        f"{statistics.median(busy):.0f} ms",
        f"≤ {BUSY} ms",
        statistics.median(busy) <= BUSY,
    )


def audit_lighthouse(audit: Audit, path: str) -> None:
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in audit.state["cookies"])
    with tempfile.NamedTemporaryFile(suffix=".json") as output:
        flags = f"--headless=new {' '.join(ARGUMENTS)}"
        headers = json.dumps({"Cookie": cookies})
        command = [
            "npx",
            "--yes",
            LIGHTHOUSE,
            audit.url + path,
            "--quiet",
            "--output=json",
            f"--output-path={output.name}",
        ]
        command += [f"--extra-headers={headers}", f"--only-categories={','.join(GOALS)}", f"--chrome-flags={flags}"]
        subprocess.run(command, check=True, env=os.environ | {"CHROME_PATH": CHROMIUM}, stderr=subprocess.DEVNULL)
        categories = json.loads(Path(output.name).read_text())["categories"]
    scores = {name: round(categories[name]["score"] * 100) for name in GOALS}
    holds = all(scores[name] >= goal for name, goal in GOALS.items())
    audit.report(
        f"Lighthouse, mobile, {path}", "/".join(map(str, scores.values())), "98/100/100", holds, ", ".join(scores)
    )


def main() -> None:
    url = sys.argv[1] if sys.argv[1:] else f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
    with sync_playwright() as playwright:
        audit = Audit(url, playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS))
        for path in ("/", *CHARTED):
            audit_weight(audit, path)
        for path in CHARTED:
            audit_drawing(audit, path)
        if shutil.which("npx"):
            for path in ("/", OPERATION, "/products/", "/reports/"):
                audit_lighthouse(audit, path)
        audit_access(audit)
    sys.exit(audit.falls_short)


if __name__ == "__main__":
    main()
