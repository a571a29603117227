"""A chapter's control in JupyterLab, used in a headless browser on a notebook of its own: chapters stay as they are."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from tests.book import control
from tests.book.test_readme import answered
from tests.conftest import DESKTOP, ROOT
from tools.browser import PATIENCE, new_page
from tools.chapters import NOTEBOOK_METADATA

SETUP = "from reproduction.notebook.display import setup\nsetup()"


@pytest.fixture
def lab(browser, tmp_path):
    """JupyterLab with a notebook of one cell for each chapter's control, in folders that nobody else uses."""
    cells = [nbformat.v4.new_code_cell(SETUP + control.cell(retraining)) for retraining in control.CHAPTERS]
    notebook = nbformat.v4.new_notebook(metadata=NOTEBOOK_METADATA, cells=cells)
    nbformat.write(notebook, tmp_path / "control.ipynb")
    own = {f"JUPYTERLAB_{name}_DIR": str(tmp_path / name) for name in ("SETTINGS", "WORKSPACES")}
    own |= {"PYTHONPATH": str(ROOT), "MODULES_RUNS": str(tmp_path / "runs")}
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "control.ipynb"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | own, stderr=subprocess.PIPE, text=True) as process:
        page = new_page(browser, DESKTOP, 1000, "light")
        try:
            found = (re.search(r"(http://127\S+?)/lab\S*\?(token=\w+)", line) for line in process.stderr)
            address, token = next(filter(None, found)).groups()
            assert answered(f"{address}/api?{token}")
            page.goto(f"{address}/doc/tree/control.ipynb?{token}")
            yield page
        finally:
            page.close()
            process.terminate()  # ends the kernel, too
            process.wait(timeout=PATIENCE)


def run_the_cell(page, cell, times):
    """Run it once the kernel can, and wait until it has been run as so manieth of all runs."""
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()  # keys are lost on a kernel that still starts
    cell.locator(".cm-content").press("Control+Enter")
    cell.locator(".jp-InputPrompt", has_text=f"[{times}]").wait_for()
    cell.get_by_role("button", name="Retrain the masks").wait_for()


def test_each_chapters_control_retrains_masks_stops_and_stays_one(lab):
    for i, retraining in enumerate(control.CHAPTERS):
        cell = lab.locator(".jp-CodeCell").nth(i)
        cell.scroll_into_view_if_needed()
        run_the_cell(lab, cell, 2 * i + 1)
        control.retrain_twice_and_stop_once(cell, ".js-plotly-plot", changes=retraining != "SCAN")
        run_the_cell(lab, cell, 2 * i + 2)
        cell.locator("tbody").wait_for(state="detached")
        assert [button.count() for button in control.buttons(cell)] == [1, 1]
