"""Rendered pages in a headless browser, which asks the network for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 300  # seconds to wait for anything that is to come, also on a busy machine: only a hang takes longer
# no sandbox: containers run as root; the rest keeps the browser itself off the network
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]


@contextmanager
def headless() -> Iterator[Browser]:
    """Start the browser; it ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def new_page(browser: Browser, width: int, height: int, theme: str) -> Page:
    """Open an empty page of so many pixels, for a reader of the light or the dark theme."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(1000 * PATIENCE)
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.add_init_script(f"localStorage.mode = localStorage.theme = '{theme}'")
    return page


def read(page: Page, path: Path) -> Page:
    """Load a page of the book and wait until its figures are drawn."""
    page.goto(path.as_uri(), wait_until="load")
    for figure in page.locator(".plotly-graph-div").all():
        figure.locator(".main-svg").first.wait_for(state="attached")
    page.wait_for_timeout(300)
    return page
