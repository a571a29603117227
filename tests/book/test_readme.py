"""Every command of the README does what it says: those of make by the recipe, all others as they are typed."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from reproduction.__main__ import claims as print_claims
from reproduction.runs.published import results_folder
from reproduction.runs.store import stored
from tests.conftest import ROOT
from tests.reproduction.test_commands import TINY
from tools import readme
from tools.browser import PATIENCE

README = (ROOT / "README.md").read_text(encoding="utf8")
TYPED = r"(?:make|papermill|pip|pytest|python|snakemake) [^\n`]+"
# What make is to run, which other tests try: the book that they all read is built by the first.
RECIPES = {
    "make read": "-m tools.book read",
    "make readme": "-m tools.readme",
    "make book SCALE=smoke": "-m tools.book build --scale smoke",
    "make book": "-m tools.book build --scale laptop",
    "make test": "-m pytest tests/book tests/reproduction tests/library tests/test_*.py "
    "-n 4 --dist loadfile --no-loadscope-reorder",
    "make lab": "-m jupyterlab --allow-root book/index.ipynb" if os.getuid() == 0 else "-m jupyterlab book/index.ipynb",
    "make serve": "-m tools.serve",
    "make serve SCALE=smoke": "-m tools.serve --scale smoke",
    "make evidence": "-m tools.evidence --make 2",
    "make bench": "-m benchmarks.bench",
    "make gpu": "-m tools.gpu",
    "make test-cluster": "-m tests.book.cluster",
}
# What is added to a command to make it short, and what it then says.
SHORT = {
    "papermill book/addmul.ipynb out.ipynb -p beta 2e-4": (
        "--prepare-only --no-progress-bar",
        "",
    ),  # run by test_chapters
    "python -m reproduction list": ("", "addmul-fnn"),
    "python -m reproduction run addmul-fnn --seeds 5 --beta 2e-4": (" ".join(TINY), "seed-4"),
    "python -m reproduction show": ("", "Nothing is stored"),
    "python -m reproduction claims": ("", "reproduced"),
    "python -m reproduction check": ("", f"{len(stored(results_folder()))} runs checked, no problems"),
    "python -m reproduction compare addmul-fnn": ("", "stage,layer,task,metric"),
    "pip install .[figures]": ("--dry-run --no-deps --no-build-isolation --quiet", ""),
    "pip install .": ("--dry-run --no-deps --no-build-isolation --quiet", ""),
    "snakemake": ("--dry-run --quiet rules --config scale=smoke", ""),
    "snakemake --workflow-profile profiles/slurm --config scale=paper seeds=5 "
    "--default-resources slurm_partition=YOURS": ("--dry-run --quiet", ""),
    "pytest --nbval book/": ("--collect-only -q -p no:cacheprovider", "addmul.ipynb"),
}


def commands() -> set[str]:
    """What the README tells to type, without the comments behind it."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    return {*filter(None, lines), *re.findall(f"`({TYPED})`", text)}


def test_every_command_is_tried():
    assert commands() == {*RECIPES, *SHORT}


@pytest.mark.parametrize("command", RECIPES)
def test_make_runs_what_it_should(command):
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    planned = subprocess.run([*command.split(), "-n"], cwd=ROOT, env=outside, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    shell = planned.stdout.strip().splitlines()[-1].split()
    assert shell[0].endswith("/python") and " ".join(shell[1:]) == RECIPES[command]


@pytest.mark.parametrize("command", SHORT)
def test_a_command_works_as_typed(tmp_path, command):
    short, said = SHORT[command]
    folders = {"MODULES_RUNS": str(tmp_path / "runs"), "MODULES_OUTPUT": str(tmp_path), "MODULES_SCALE": "smoke"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # as after `. .venv/bin/activate`
    typed = f"{command} {short}".replace(" out.ipynb", f" {tmp_path}/out.ipynb")
    environment = os.environ | folders | {"PATH": path}
    result = subprocess.run(
        typed, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0 and said in output, output[-3000:]
    assert ("out.ipynb" in command) == (tmp_path / "out.ipynb").exists()


def test_the_answer_is_that_of_the_published_results():
    assert readme.renewed(README) == README, "the README's table is not what claims says: run make readme"
    changed = re.sub(r"(\| reproduced \| )\d+", r"\g<1>99", README)
    assert changed != README and readme.renewed(changed) == README


def test_the_answer_counts_what_the_command_prints(capsys):
    _, _, *lines = readme.ANSWER.search(README)[0].splitlines()
    rows = dict(line.strip("| ").split(" | ", 1) for line in lines)
    for scale, column in (("paper", 0), ("laptop", 1)):
        print_claims(scale, json=True)
        printed = json.loads(capsys.readouterr().out)
        counts = {word: int(cells.split(" | ")[column]) for word, cells in rows.items() if word != "runs"}
        told = Counter(claim["verdict"] for claim in printed)
        assert counts.pop("met in full by one run") + counts.pop("met in part by one run") == told.pop("single run", 0)
        assert {word: number for word, number in counts.items() if number} == told
        seeds = [claim["seeds"] for claim in printed if claim["seeds"]]
        ends = " to ".join(map(str, dict.fromkeys((min(seeds), max(seeds)))))
        assert rows["runs"].split(" | ")[column].endswith(f" runs, {ends} a claim")


def test_deployed_pages_have_a_link_once_there_are_some():
    assert "http" not in readme.answer("")
    assert readme.answer("https://book.example/").startswith(
        "**[Read the book](https://book.example/)**\n\n| 28 claims"
    )


def test_the_pictures_are_small_and_shown_by_theme():
    for theme, path in readme.PICTURES.items():
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.size == (readme.WIDTH, readme.HEIGHT)
        assert path.stat().st_size < 200_000
        assert f'"{path.relative_to(ROOT)}"' in README, f"the README does not show the {theme} picture"


def test_a_picture_is_taken_of_a_page_in_its_theme(browser, tmp_path):
    page = tmp_path / "page.html"
    script = "document.body.style.background = localStorage.theme == 'dark' ? 'black' : 'white'"
    page.write_text(f"<!doctype html><body><h1 id='top'></h1><script>{script}</script>", encoding="utf8")
    for theme, shade in (("light", 255), ("dark", 0)):
        readme.take_picture(browser, page, "top", theme, tmp_path / f"{theme}.png")
        with Image.open(tmp_path / f"{theme}.png") as picture:
            assert picture.convert("L").getextrema() == (shade, shade)


def test_jupyterlab_starts_with_the_book():
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "book/index.ipynb"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            found = (re.search(r"(http://127\S+?)/lab\?(token=\w+)", line) for line in process.stderr)
            address, token = next(filter(None, found)).groups()
            assert answered(f"{address}/api/contents/index.ipynb?content=0&{token}")
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def answered(address, seconds=PATIENCE):
    """Whether a server that has told its address comes to answer there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            time.sleep(0.2)
    return False
