"""What several tests share: single-threaded torch, the book built once at smoke scale, a browser to read it with."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from reproduction import __main__ as command_line
from tools.browser import CHROMIUM, PATIENCE, headless, new_page, read

# Inherited by all processes that tests begin: threads of several on the same cores would wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent
DESKTOP = 1300  # pixels of width


def pytest_collection_modifyitems(items):
    """Leave out tests that need a GPU where there is none."""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Results must not depend on how many cores the machine has, those of fixtures neither."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Tests neither see nor leave anything in the user's run store."""
    monkeypatch.setenv("MODULES_RUNS", str(tmp_path / "runs"))


def run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m ARGUMENTS`` in the repository's root, with extra environment variables."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )


@pytest.fixture
def reproduction(capfd, monkeypatch):
    """``python -m reproduction ARGUMENTS`` in this process, which has imported torch; test_readme.py types commands."""

    def typed(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["reproduction", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        code: object = 0
        try:
            command_line.main()
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, before)
        said, errors = capfd.readouterr()
        if isinstance(code, str):  # as Python ends with it
            code, errors = 1, f"{errors}{code}\n"
        return subprocess.CompletedProcess(arguments, int(code or 0), said, errors)

    return typed


@pytest.fixture(scope="session")
def built_book(tmp_path_factory) -> Path:
    """The HTML of the whole book, trained, executed and rendered at smoke scale: once for all processes that test.

    MODULES_BUILT_BOOK names the repository in which `make book SCALE=smoke` has made it before.
    """
    if os.environ.get("MODULES_BUILT_BOOK"):
        return Path(os.environ["MODULES_BUILT_BOOK"]).resolve() / "_build/html"
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "book"
    failure = folder / "failed.txt"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            environment = {"MODULES_OUTPUT": str(folder), "MODULES_RUNS": str(folder / "runs")}
            result = run_module("tools.book", "build", "--scale", "smoke", **environment)
            if result.returncode:
                failure.write_text((result.stdout + result.stderr)[-5000:])
    assert not failure.exists(), failure.read_text()
    return folder / "_build/html"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        reason = "no Chromium or Chrome to look at the pages with: install one, for example `apt-get install chromium`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    pytest.importorskip("playwright.sync_api")
    with headless() as browser:
        yield browser


def open_page(browser, address, width=DESKTOP, theme="light"):
    """A page when it is drawn; `page.trouble` lists what went wrong."""
    page = new_page(browser, width, 1000, theme)
    page.trouble = []
    page.on("console", lambda message: message.type == "error" and page.trouble.append(message.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("requestfailed", lambda request: page.trouble.append(f"failed: {request.url}"))
    page.on("request", lambda request: is_local(request.url) or page.trouble.append(f"outside: {request.url}"))
    return read(page, address)


@pytest.fixture
def visit(browser, built_book):
    """Open a page of the book as nobody has touched it."""
    opened = []

    def visit(name, *look, **looks):
        opened.append(open_page(browser, built_book / f"{name}.html", *look, **looks))
        return opened[-1]

    yield visit
    for page in opened:
        page.close()


@pytest.fixture(scope="module")
def page(browser, built_book, request):
    """A page that all tests of a file use that name it with `each_page`: opening one takes longer than most of them."""
    page = open_page(browser, built_book / f"{request.param}.html")
    yield page
    page.close()


def each_page(names):
    """Run a test on these pages, all tests of a file on one before the next is opened."""
    return pytest.mark.parametrize("page", names, indirect=True, scope="module")


def figures(page):
    """Each figure of a page, with the view chosen that it belongs to: view after view, as all figures change theirs."""
    plots = page.locator(".plotly-graph-div")
    views = plots.evaluate_all("gds => gds.map(gd => gd.closest('[data-view]')?.dataset.view ?? '')")
    for view in dict.fromkeys(views):
        for i in (i for i, own in enumerate(views) if own == view):
            figure = plots.nth(i)
            if view and not figure.is_visible():
                figure.locator("xpath=ancestor::*[@class='views']").locator(f"[data-shows='{view}']").click()
            yield figure


def is_local(url):
    return url.startswith(("file:", "data:", "blob:"))
