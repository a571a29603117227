"""What a reader takes along: a figure's link, citation and commands; and a deployed chapter, opened elsewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
import yaml
from bs4 import BeautifulSoup

from reproduction.experiments import CHAPTERS
from reproduction.notebook.display import bundles
from tests.book.test_pages import PAGES, PHONE, assert_fits
from tests.conftest import DESKTOP, ROOT, figures, open_page
from tools.chapters import NOTEBOOK_METADATA, all_chapters

DEPLOYED, REPOSITORY = "https://book.example/", "https://github.com/someone/their-book"


def citing(page, plot):
    """What opens to cite a figure, and the figure's anchor."""
    anchor = plot.locator("xpath=ancestor::*[@role='figure']").get_attribute("id")
    return page.locator(f"#{anchor}-caption > .figure-cite"), anchor


@pytest.mark.parametrize("chapter", all_chapters())
def test_a_figure_says_how_it_is_cited_and_made(built_book, chapter):
    """In the page as it is on disk; the next test uses it in a browser."""
    name, keys = Path(chapter).name, set()
    soup = BeautifulSoup((built_book / f"{chapter}.html").read_text(encoding="utf8"), "html.parser")
    for figure in soup.select(".book-figure"):
        cite = soup.select_one(f"#{figure['aria-describedby']} > .figure-cite")
        assert not cite.has_attr("open")
        [address] = cite.select(".figure-address")
        assert address["href"] == f"#{figure['id']}" and address.text == f"{name}.html#{figure['id']}"
        assert f"url = {{{name}.html#{figure['id']}}}" in cite.text
        keys.add(re.search(r"@misc\{(\w[\w-]+),", cite.text)[1])
        commands = re.findall(r"python -m reproduction run (\S+)", cite.text)
        if name in CHAPTERS and name != "own":
            assert commands
        elif figure["id"] not in ("fig-claims", "fig-claims-paper"):
            assert "python" not in cite.text
    assert len(keys) == len(soup.select(".plotly-graph-div")) and all(f"_{name}_" in key for key in keys)


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_what_cites_a_figure_fits_and_is_copied(visit, width):
    page = visit("book/addmul", width)
    cite, anchor = citing(page, next(figures(page)))
    cite.locator("summary").click()
    page.evaluate("addEventListener('copy', ({ target }) => (window.copied = target.value))")
    texts = f"addmul.html#{anchor}", "@misc{modules_book_addmul_", "python -m reproduction run addmul"
    for row, said in enumerate(texts):
        cite.locator("button.copybtn").nth(row).click()
        assert said in page.evaluate("window.copied")
    assert_fits(page, width)
    assert page.trouble == []


def test_a_figure_can_be_cited_without_scripts(browser, built_book):
    page = browser.new_page(java_script_enabled=False)
    page.goto((built_book / "book/addmul.html").as_uri())
    cite = page.locator(".figure-cite:visible").first
    cite.locator("summary").click()
    assert "@misc{modules_book_addmul_" in cite.inner_text() and "addmul.html#fig-" in cite.inner_text()
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_pages_that_are_not_deployed_lead_to_no_one_elses_kernel(built_book, name):
    text = (built_book / f"{name}.html").read_text(encoding="utf8")
    assert "mybinder" not in text and "colab" not in text and 'rel="canonical"' not in text


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A book of one chapter with the book's own settings, once its pages have an address and a repository."""
    folder = tmp_path_factory.mktemp("deployed")
    shutil.copytree(ROOT / "book/_static", folder / "book/_static")
    shutil.copyfile(ROOT / "book/references.bib", folder / "book/references.bib")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    config["execute"] = {"execute_notebooks": "off"}
    config["html"]["baseurl"], config["repository"]["url"] = DEPLOYED, REPOSITORY
    config["sphinx"]["local_extensions"] = {"bookassets": str(ROOT / "_ext")}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/chapter\n")
    shown = bundles(go.Figure(go.Scatter(x=[1], y=[2])), "point", "A point", "One seed.")
    outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in shown]
    cells = [nbformat.v4.new_markdown_cell("# A chapter"), nbformat.v4.new_code_cell("show(figure)", outputs=outputs)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=NOTEBOOK_METADATA), folder / "book/chapter.ipynb")
    command = [sys.executable, str(Path(sys.executable).with_name("jupyter-book")), "build", "-W", "-q", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "_build/html/book/chapter.html"


def test_deployed_chapters_open_elsewhere_when_asked_and_only_then(browser, deployed):
    page = open_page(browser, deployed)
    page.locator(".dropdown-launch-buttons > button").press("Enter")
    chapter = "/someone/their-book"
    for host, path in (
        ("https://mybinder.org/v2/gh", "/main?urlpath=lab/tree/book/chapter.ipynb"),
        ("https://colab.research.google.com/github", "/blob/main/book/chapter.ipynb"),
    ):
        link = page.locator(f"a[href^='{host}']")
        assert link.is_visible() and link.get_attribute("href") == f"{host}{chapter}{path}"
    assert page.trouble == [], "a page asks nothing of anyone before a link is pressed"
    page.close()


def test_what_binder_installs_is_what_the_book_is_made_with():
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-build-isolation", "--no-index"]
    result = subprocess.run([*command, "-r", ".binder/requirements.txt"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Would install modules_lib" in result.stdout.replace("modules-lib", "modules_lib")


def test_a_deployed_figure_is_cited_by_its_address(browser, deployed):
    page = open_page(browser, deployed)
    page.locator(".figure-cite summary").click()
    assert f"url = {{{DEPLOYED}book/chapter.html#fig-point}}" in page.locator(".figure-cite").inner_text()
    page.close()
