"""The pictures of the guides, from a running demo: python -m tests.screenshots [URL]. `make run` starts the demo."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from playwright.sync_api import Browser, sync_playwright

from tests.audit import ARGUMENTS, CHROMIUM, signed_in

GUIDES = Path(__file__).resolve().parent.parent / "docs" / "guides"
WIDTH = 1200


LOCALES = {"en": "en-GB", "es": "es-CO"}


class Picture(NamedTuple):
    """A page as somebody sees it, in that size, from the top or from an element on."""

    name: str
    who: str
    path: str
    height: int
    begins: str = "body"


LAST_MONTHS_END = datetime.now(tz=ZoneInfo("America/Bogota")).date().replace(day=1) - timedelta(days=1)
BOGOTA = "/operations/bogota-norte-ventas/"
PICTURES = [
    Picture("overview", "manager", "/", 760),
    Picture("operation", "manager", BOGOTA, 960),
    Picture("year", "manager", f"{BOGOTA}year/", 800),
    Picture("day", "manager", f"{BOGOTA}products/3/{LAST_MONTHS_END}/", 640),
    Picture("reports", "finance", "/reports/", 640),
    Picture("status", "admin", "/status/", 640),
    Picture("add", "admin", "/admin/usage/operation/add/", 520),
    Picture("refused", "admin", "/operations/lima-retencion/", 330),
]


def take(browser: Browser, url: str, picture: Picture, language: str) -> Path:
    context = browser.new_context(
        base_url=url,
        locale=LOCALES[language],
        color_scheme="light",
        viewport={"width": WIDTH, "height": picture.height},
    )
    page = signed_in(context, picture.who)
    page.goto(picture.path)
    page.locator(picture.begins).first.evaluate("its => its.scrollIntoView()")
    page.wait_for_load_state("networkidle")
    taken = GUIDES / language / f"{picture.name}.png"
    page.screenshot(path=taken)
    context.close()
    return taken


def main() -> None:
    url = sys.argv[1] if sys.argv[1:] else f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for language, picture in product(LOCALES, PICTURES):
            print(take(browser, url, picture, language))


if __name__ == "__main__":
    main()
