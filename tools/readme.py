"""What the README shows of the book, renewed: pictures of the landing page, and the table of the answer."""

from __future__ import annotations

import re
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from PIL import Image

from reproduction.pages.answer import answer_table, judged
from tools.browser import CHROMIUM, headless, new_page, read
from tools.chapters import ROOT
from tools.render import HTML

if TYPE_CHECKING:
    from playwright.sync_api import Browser

README = ROOT / "README.md"
PICTURES = {theme: ROOT / f"book/_static/landing-{theme}.png" for theme in ("light", "dark")}
WIDTH, HEIGHT = 1200, 1280  # pixels
SHOWN = "the-answer-at-a-glance"  # the section that pictures begin with
ANSWER = re.compile(r"(?<=<!-- The answer, by `make readme` -->\n\n).*?(?=\n\n<!-- End of the answer -->)", re.DOTALL)


def take_picture(browser: Browser, page: Path, section: str, theme: str, target: Path) -> None:
    """Write a PNG file of a rendered page from a section on, in the light or the dark theme, in 256 colours."""
    shown = read(new_page(browser, WIDTH, HEIGHT, theme), page)
    shown.locator(f"#{section}").evaluate("section => section.scrollIntoView({ behavior: 'instant' })")
    shown.wait_for_timeout(500)  # the head of the page follows
    with Image.open(BytesIO(shown.screenshot())) as image:
        image.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            target, optimize=True
        )
    shown.close()


def answer(address: str) -> str:
    """Write the README's answer: the table of verdicts, below a link to the deployed pages if there are some."""
    link = f"**[Read the book]({address})**\n\n" if address else ""
    return link + answer_table(judged())


def renewed(readme: str) -> str:
    """Put the present answer into the README's text, with the address of the deployed pages in ``_config.yml``."""
    address = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["html"]["baseurl"]
    return ANSWER.sub(lambda _: answer(address), readme)


def main() -> None:
    page = HTML / "book/index.html"
    if not page.exists():
        sys.exit(f"error: there is no page {page} to take a picture of: run make read first")
    if CHROMIUM is None:
        sys.exit("error: there is no browser to take the picture with: install Chromium or Chrome")
    with headless() as browser:
        for theme, target in PICTURES.items():
            take_picture(browser, page, SHOWN, theme, target)
    README.write_text(renewed(README.read_text(encoding="utf8")), encoding="utf8")
    print("Renewed:", *(path.relative_to(ROOT) for path in (README, *PICTURES.values())))


if __name__ == "__main__":
    main()
