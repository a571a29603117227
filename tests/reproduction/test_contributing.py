"""CONTRIBUTING's worked example is carried out as it stands, in a copy: three places, and the experiment is there."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml

from tests.conftest import ROOT
from tools.browser import PATIENCE

ENTRIES = "reproduction/experiments/__init__.py"
BEFORE = '        "samplers": Experiment('
PLACES = ("modules_lib", "reproduction", "tools", "book", "results", "_toc.yml", "_config.yml", "pyproject.toml")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project with the example's experiment in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in PLACES:
        there = ROOT / name
        copied = shutil.copytree if there.is_dir() else shutil.copy
        copied(there, folder / name, **({"symlinks": True} if there.is_dir() else {}))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8").partition("## An experiment, worked through")[2]
    module, entry, *cells = re.findall(r"```python\n(.*?)```", text.partition("\n## ")[0], re.DOTALL)
    (folder / "reproduction/experiments/logic.py").write_text(module, encoding="utf8")
    entries = (folder / ENTRIES).read_text(encoding="utf8")
    assert entries.count(BEFORE) == 1
    imported = "from reproduction.experiments.logic import Logic\n"
    (folder / ENTRIES).write_text(
        entries.replace("from reproduction.experiments.permuted", imported + "from reproduction.experiments.permuted")
        .replace(BEFORE, entry + BEFORE),
        encoding="utf8",
    )  # fmt: skip
    code = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    code[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Logic\n\nTwo functions."), *code])
    nbformat.write(notebook, folder / "book/logic.ipynb")
    contents = yaml.safe_load((folder / "_toc.yml").read_text(encoding="utf8"))
    contents["chapters"].append({"file": "book/logic"})
    (folder / "_toc.yml").write_text(yaml.safe_dump(contents), encoding="utf8")
    return folder


def run(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(folder), "MODULES_RUNS": str(folder / "runs")}
    result = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_command_line_knows_the_experiment(copy):
    listed = run(copy, "reproduction", "list", "logic")
    assert "stages: full, parity, majority" in listed and "Chapter: book/logic.ipynb" in listed
    assert "seed-0" in run(copy, "reproduction", "run", "logic", "--scale", "smoke", "--jobs", "1")


def test_its_chapter_shows_the_run(copy):
    run(copy, "tools.book", "execute", "logic", "--scale", "smoke")
    [executed] = copy.glob("_build/**/logic.ipynb")
    assert "layer" in str(nbformat.read(executed, as_version=4).cells[-1].outputs)
