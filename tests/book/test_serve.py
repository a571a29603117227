"""The served book: for who has the token, on this machine only, and live in a headless browser."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import psutil
import pytest

from tests.book import control
from tests.conftest import DESKTOP, ROOT, run_module
from tools.browser import PATIENCE, new_page
from tools.serve import ADDRESSES, IDLE, live_files, settings

SEED, SAMPLER = 0, 3  # code cells of the chapter on the method: its parameters, and the figure of the sampler


@contextmanager
def served(book, *command):
    """A server of the built book: its process and the address that it prints."""
    environment = {"MODULES_OUTPUT": str(book.parent.parent), "MODULES_SCALE": "smoke"}  # and runs of its own
    command = [sys.executable, *command]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            address = next(filter(None, (re.search(r"http://\S+", line) for line in process.stdout)))[0]
            yield process, address
        finally:
            process.terminate()  # ends the kernels, too
            process.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def server(built_book):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with served(built_book, "-m", "tools.serve", "--port", str(taken)) as (process, address):
            assert f":{taken}/" not in address  # a taken port does not keep the book from being read
            yield process, address


def ask(address, path="", token=None, method="GET", data=None):
    """(status, text) of a request to the server at the address."""
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(address.partition("?")[0] + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def token_of(address):
    return address.partition("token=")[2]


def kernels(address):
    return json.loads(ask(address, "api/kernels", token_of(address))[1])


def test_only_this_machine_can_reach_it(server):
    process, address = server
    assert address.startswith("http://127.0.0.1:") and len(token_of(address)) >= 32
    listening = [one for one in psutil.Process(process.pid).net_connections("inet") if one.status == "LISTEN"]
    assert listening and {one.laddr.ip for one in listening} == {"127.0.0.1"}


@pytest.mark.parametrize("token", [None, "0" * 32])
def test_nothing_runs_without_the_token(server, token):
    _, address = server
    body = b'{"name": "python3"}'
    assert ask(address, "api/kernels", token, "POST", body)[0] == 403
    session = b'{"path": "book/x.ipynb", "type": "notebook", "name": "x", "kernel": {"name": "python3"}}'
    assert ask(address, "api/sessions", token, "POST", session)[0] == 403
    assert ask(address, "api/contents", token)[0] == 403
    assert "The method" not in ask(address, "read/book/method.html", token)[1]
    assert kernels(address) == []


def test_pages_are_live_only_when_they_are_served(server, built_book):
    _, address = server
    status, page = ask(address, "read/book/method.html", token_of(address))
    assert status == 200 and "The method" in page and token_of(address) in page
    on_disk = (built_book / "book/method.html").read_text()
    assert page != on_disk and re.sub(r'<link rel="stylesheet" href="/live/.*?</script>', "", page) == on_disk


def test_files_beside_the_book_are_not_served(server):
    _, address = server
    assert ask(address, "read/_static/vendor/book.css", token_of(address))[0] == 200
    for path in ("read/../executed/book/method.ipynb", "read/%2e%2e/snakemake.log", "live/../serve.py", "read/no.html"):
        assert ask(address, path, token_of(address))[0] in (403, 404)


def test_thebe_asks_for_nothing_from_elsewhere():
    files = live_files()
    bundle = (ROOT / "tools/live/thebe/index.js").read_bytes()
    for elsewhere, here in ADDRESSES.items():
        assert elsewhere in bundle and elsewhere not in files["thebe/index.js"] and here in files["thebe/index.js"]
    assert b"require.config" in files["require.js"]


def test_a_kernel_that_nobody_uses_is_ended(built_book):
    config = settings(8888).MappingKernelManager
    assert config.cull_idle_timeout == IDLE == 3600 and config.cull_connected and not config.cull_busy
    impatient = "import tools.serve; tools.serve.IDLE = 1; tools.serve.main()"
    with served(built_book, "-c", impatient) as (_, address):
        assert ask(address, "api/kernels", token_of(address), "POST", b'{"name": "python3"}')[0] == 201
        until = time.monotonic() + PATIENCE
        while kernels(address) and time.monotonic() < until:
            time.sleep(0.5)
        assert kernels(address) == []


def test_without_a_rendered_book_it_says_what_to_do(tmp_path):
    result = run_module("tools.serve", MODULES_OUTPUT=str(tmp_path))
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith("error: there is no rendered book") and "run make book first" in result.stderr


@pytest.fixture
def live(browser, server):
    """The chapter on the method, live; `page.trouble` lists what went wrong."""
    _, address = server
    page = new_page(browser, DESKTOP, 1000, "light")
    page.trouble = []
    page.on("console", lambda message: message.type == "error" and page.trouble.append(message.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    own = address.partition("?")[0]
    page.on(
        "request", lambda request: request.url.startswith((own, "data:", "blob:")) or page.trouble.append(request.url)
    )
    page.goto(f"{own}read/book/method.html?token={token_of(address)}")
    assert token_of(address) not in page.url  # nor in the browser's history
    page.get_by_role("button", name="Live", exact=True).click()
    is_in(page, "Ready")
    yield page
    page.close()
    for kernel in kernels(address):
        ask(address, f"api/kernels/{kernel['id']}", token_of(address), "DELETE")


def is_in(page, state):
    page.locator("[role=status]", has_text=state).wait_for()


def write(page, cell, code):
    page.evaluate("([i, code]) => document.querySelectorAll('.CodeMirror')[i].CodeMirror.setValue(code)", [cell, code])


def run(page, cell):
    page.locator(".live-run").nth(cell).click()
    is_in(page, "Ready")


def bars(page):
    """What the bars of the sampler's figure show."""
    figure = page.locator(".live-cell").nth(SAMPLER).locator(".plotly-graph-div")
    figure.locator(".main-svg").first.wait_for(state="attached")
    return figure.evaluate("gd => JSON.stringify(gd.data.map(trace => trace.y))")


def test_a_changed_parameter_redraws_the_figure_in_its_place(live):
    printed = bars(live)
    run(live, SAMPLER)  # runs first what is above
    assert bars(live) == printed, "the same parameters give the same figure"
    write(live, SEED, "seed, steps, alpha = 7, 20, 2e-4")
    run(live, SAMPLER)
    assert bars(live) != printed
    live.evaluate("document.documentElement.dataset.theme = 'dark'")
    background = "document.querySelectorAll('.live-cell')[3].querySelector('.js-plotly-plot')._fullLayout.paper_bgcolor"
    live.wait_for_function(f"{background} === 'rgba(0,0,0,0)'")
    assert live.trouble == []


def test_each_chapters_control_retrains_masks_in_the_page(live):
    """One after another in one kernel, which has imported torch."""
    output = live.locator(".live-output").nth(SEED)
    for retraining in control.CHAPTERS:
        write(live, SEED, control.cell(retraining))
        run(live, SEED)
        control.retrain_twice_and_stop_once(output, ".plotly-graph-div", changes=retraining != "SCAN")
        run(live, SEED)
        assert [button.count() for button in control.buttons(output)] == [1, 1] and output.locator("tbody").count() == 0
    assert live.trouble == []


def test_stop_and_restart_leave_a_page_that_goes_on(live):
    output = live.locator(".live-output").nth(SEED)
    write(live, SEED, "import time\nprint('begun')\nfor i in range(10_000):\n    time.sleep(0.1)")
    live.locator(".live-run").nth(SEED).click()
    output.get_by_text("begun").wait_for()
    is_in(live, "Running")
    assert live.get_by_role("button", name="Run all").is_disabled()
    live.get_by_role("button", name="Stop").click()
    is_in(live, "Ready")
    assert "KeyboardInterrupt" in output.inner_text()
    write(live, SEED, "import os\nmark = 5\nprint(os.path.basename(os.getcwd()), os.environ['MODULES_SCALE'])")
    run(live, SEED)
    assert output.inner_text().strip() == "book smoke"
    live.get_by_role("button", name="Restart").click()
    is_in(live, "Ready")
    write(live, SEED, "print('mark' in dir())")
    run(live, SEED)
    assert output.inner_text().strip() == "False"
    assert live.trouble == []


def test_a_page_that_is_left_ends_its_kernel(live, server):
    _, address = server
    assert len(kernels(address)) == 1
    live.goto("about:blank")
    until = time.monotonic() + PATIENCE
    while kernels(address) and time.monotonic() < until:
        time.sleep(0.2)
    assert kernels(address) == []
