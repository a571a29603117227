"""Making the book when something fails or is killed: all else is made, it is said, and the next time it is whole."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from reproduction.experiments import EXPERIMENTS
from reproduction.notebook import own_runs
from tests.book.sabotage.modules_lib_failures import FAILS, NO_DATA
from tests.conftest import ROOT, run_module
from tools import execution
from tools.browser import PATIENCE
from tools.chapters import all_pages, read
from tools.render import missing

BUILD = ["tools.book", "build", "--scale", "smoke"]
SNAKEMAKE = ["snakemake", "--quiet", "rules", "--config", "scale=smoke"]


@pytest.fixture
def copy(built_book, tmp_path):
    """A copy of the built book and its runs that a test may damage: its folder, and environment variables for it."""
    built, folder = built_book.parents[1], tmp_path / "book"
    shutil.copytree(built / "runs", folder / "runs")
    shutil.copytree(built / "_build", folder / "_build")
    return folder, {"MODULES_OUTPUT": str(folder), "MODULES_RUNS": str(folder / "runs")}


def forget(folder, runs=(), chapters=()):
    """Have these runs and chapters made again."""
    for name in runs:
        shutil.rmtree(folder / "runs" / name)
    for name in chapters:
        (folder / f"_build/executed/book/{name}.ipynb").unlink()


def pages(folder):
    """The text of all pages; but for the times of training steps, which differ from one build to the next."""
    texts = {name: (folder / f"_build/html/{name}.html").read_text() for name in all_pages()}
    return texts | {"book/own": re.sub(r">\d+\.\d<", "><", texts["book/own"])}


def test_what_fails_is_left_out_and_said_and_the_next_build_is_whole(copy, built_book):
    folder, places = copy
    forget(folder, ["cifar10", "permuted-half"], ["cifar10", "permuted", "own"])
    spoiled = places | {"PYTHONPATH": str(ROOT / "tests/book/sabotage")}
    result = run_module(*BUILD, **spoiled)
    assert result.returncode == 0, result.stdout + result.stderr
    said = result.stdout.strip().splitlines()
    sentences = [
        f"cifar10 seed 0 failed: {FAILS}",
        f"permuted-half seed 0 failed: {NO_DATA}",
        f"The chapter book/own could not be run beyond this cell: MissingDataError: {NO_DATA}",
    ]
    assert said[-4:] == ["It is complete but for this:", *sentences]
    for name, sentence in zip(("cifar10", "permuted", "own"), sentences, strict=True):
        page = (folder / f"_build/html/book/{name}.html").read_text()
        assert sentence.replace("<", "&lt;").replace(">", "&gt;") in page
    assert 'id="fig-taken-for"' in (folder / "_build/html/book/cifar10.html").read_text()  # of published results
    assert 'id="fig-in-use"' in (folder / "_build/html/book/permuted.html").read_text()
    assert "straight-through" in (folder / "_build/html/book/own.html").read_text()  # the stored table below
    failed = run_module("reproduction", "run", "--scale", "smoke", "all", **spoiled)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert len(re.findall(r"^\S+ seed 0: /", failed.stdout, re.MULTILINE)) == len(
        EXPERIMENTS
    ) - 2 and failed.stderr.endswith(f"error: {sentences[0]}\n{sentences[1]}\n")
    assert f"failed: {FAILS}" in run_module("reproduction", "show", **places).stdout
    result = run_module(*BUILD, **places)
    assert result.returncode == 0 and "complete but for" not in result.stdout, result.stdout + result.stderr
    runs, chapters = (re.search(rf"^  {part} +\d+  (.*)$", result.stdout, re.M)[1] for part in ("runs", "chapters"))
    assert re.search(r"cifar10 \d", runs) and "addmul" not in runs  # its runs were there
    assert re.search(r"cifar10 \d", chapters) and re.search(r"own \d", chapters) and "method" not in chapters
    assert pages(folder) == pages(built_book.parents[1])
    assert not [*(folder / "runs").rglob("*.failed")]


SIGNS = {
    "training": "runs/addmul-lstm/*/seed-0.partial",
    "chapters": "_build/executed/book/addmul.stopped-*.ipynb",
    "rendering": "_build/rendering",
}


def test_killed_in_every_phase_the_next_command_goes_on(copy, built_book):
    """`kill -9` of the command and all its children. `make book` trains, then has snakemake do the rest."""
    folder, places = copy
    forget(folder, ["addmul-lstm"], ["addmul"])
    for command, phase in ((BUILD, "training"), (SNAKEMAKE, "training"), (BUILD, "chapters"), (SNAKEMAKE, "rendering")):
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | places | {"MODULES_CHECKPOINT": "0"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(folder, SIGNS[phase], process)
        kill(process)
    result = run_module(*BUILD, **places)
    assert result.returncode == 0, result.stdout + result.stderr
    assert pages(folder) == pages(built_book.parents[1])
    assert not [*folder.rglob("*.partial")] + [*folder.glob("_build/rendering")]


def wait_for(folder, sign, process):
    deadline = time.monotonic() + PATIENCE
    while not any(folder.glob(sign)):
        assert process.poll() is None and time.monotonic() < deadline, f"waited for {sign} in vain"
        time.sleep(0.02)


def kill(process):
    children = psutil.Process(process.pid).children(recursive=True)
    for one in (process, *children):
        one.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(children, timeout=PATIENCE)


def test_a_book_that_another_process_makes_is_left_to_it(tmp_path):
    places = {"MODULES_OUTPUT": str(tmp_path), "MODULES_RUNS": str(tmp_path / "runs")}
    holding = "from tools.building import hold; lock = hold(); print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", holding],
        cwd=ROOT,
        env=os.environ | places,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    for command in (BUILD, ["tools.book", "read"], [*SNAKEMAKE, "--dry-run"]):
        result = run_module(*command, **places)
        assert result.returncode != 0
        assert f"process {holder.pid} is making this book already" in result.stdout + result.stderr
    holder.kill()
    holder.communicate()
    assert run_module(*SNAKEMAKE, "--dry-run", **places).returncode == 0


def test_to_read_no_run_is_made_and_no_data_are_touched(tmp_path):
    names = ["permuted", "cifar10", "own"]
    places = {f"MODULES_{name.upper()}": str(tmp_path / name) for name in ("output", "runs", "data")}
    result = run_module("tools.book", "execute", "--train", "never", *names, **places)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output"]
    for name in names:
        nb = read(tmp_path / f"output/_build/executed/book/{name}.ipynb")
        said = "".join(str(output) for cell in nb.cells for output in cell.get("outputs", []))
        assert (own_runs.NO_RUN if name != "own" else execution.UNTRAINED) in said and not missing(nb)
        assert ("fig-in-use" if name == "permuted" else "fig-drops" if name == "cifar10" else "hard-concrete") in said


def test_what_may_be_trained_has_the_same_names_everywhere(monkeypatch):
    assert execution.TRAIN == own_runs.TRAIN
    monkeypatch.setenv("MODULES_TRAIN", "sometimes")
    with pytest.raises(ValueError, match="Unknown value of MODULES_TRAIN 'sometimes'; it must be one of missing, unt"):
        own_runs.own_runs({})


def test_torch_is_not_imported_to_execute_a_chapter():
    """It takes seconds, once more for every chapter."""
    assert torch is not None
    code = "import sys, tools.book; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
