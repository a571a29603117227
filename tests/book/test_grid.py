"""The Snakefile: what is there is not made again, and what has changed is made alone."""

import os
import re

from reproduction.experiments import CHAPTERS, EXPERIMENTS
from tests.conftest import ROOT, run_module
from tools.chapters import all_chapters, source


def to_do(built_book, *config, options=()):
    """The jobs that a dry run announces, by rule."""
    folder = built_book.parents[1]
    places = {"MODULES_OUTPUT": str(folder), "MODULES_RUNS": str(folder / "runs")}
    result = run_module("snakemake", "--dry-run", *options, "--config", "scale=smoke", *config, **places)
    assert result.returncode == 0, result.stderr
    text = result.stdout + result.stderr
    stats = text.partition("Job stats:")[2].partition("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}


def test_a_finished_grid_has_nothing_to_do(built_book):
    assert to_do(built_book) == {}


def test_another_seed_is_one_run_of_each_experiment_and_the_chapters_that_show_them(built_book):
    more = to_do(built_book, "seeds=2")
    assert (more["run"], more["chapter"]) == (len(EXPERIMENTS), len(CHAPTERS))
    assert set(EXPERIMENTS) == {name for names in CHAPTERS.values() for name in names}


def test_another_beta_is_another_run(built_book):
    assert to_do(built_book, "betas=[1e-3]", "experiments=[addmul-fnn]")["run"] == 1


def test_a_changed_chapter_is_executed_alone(built_book):
    path = source("book/method")
    before = path.stat()
    try:
        os.utime(path)
        # By date alone: snakemake sees that the content is still the same and would leave the chapter as it is.
        todo = to_do(built_book, options=("--max-checksum-file-size", "0"))
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "run" not in todo and (todo["chapter"], todo["pages"]) == (1, 1)
    assert len(all_chapters()) > 1 and (ROOT / "grid.yaml").exists()


def test_an_experiment_asks_for_what_it_needs(tmp_path):
    asked = ("scale=paper", "experiments=[capacity-huge,addmul-fnn]")
    result = run_module("snakemake", "--dry-run", "runs", "--config", *asked, MODULES_RUNS=str(tmp_path))
    assert result.returncode == 0, result.stderr
    text = result.stdout + result.stderr
    assert sorted(re.findall(r"runtime=(\d+), gpu=(\d), mem_mb=(\d+)", text)) == [
        ("2880", "1", "16000"),
        ("360", "1", "6000"),
    ]
