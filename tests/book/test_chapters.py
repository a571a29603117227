"""The chapters: in their committed form, executed by papermill, compared by nbval; the command line around them."""

import ast
import re
import shutil
import subprocess

import nbformat
import pytest

from reproduction.experiments import preset
from reproduction.runs import published as results
from reproduction.runs import store as runs
from tests.conftest import ROOT, run_module
from tools.chapters import all_chapters, all_pages, normal, problems, read, source, tags
from tools.render import missing

SMOKE = {"MODULES_SCALE": "smoke"}


@pytest.mark.parametrize("name", all_chapters())
def test_chapters_are_committed_in_their_normal_form(name):
    assert problems(source(name)) == []


@pytest.mark.parametrize("name", all_chapters())
def test_cells_are_short(name):
    """Anything longer than ten lines of code belongs to the library; imports and parameters aside."""
    for cell in nbformat.read(source(name), 4).cells:
        if cell.cell_type == "code":
            parts = [part for part in ast.parse(cell.source).body if not isinstance(part, ast.Import | ast.ImportFrom)]
            assert sum(part.end_lineno - part.lineno + 1 for part in parts) <= 10, cell.source


def test_a_chapter_with_volatile_output_is_found(tmp_path):
    path = tmp_path / "addmul.ipynb"
    shutil.copyfile(source("book/addmul"), path)
    nb = nbformat.read(path, 4)
    cell = next(cell for cell in nb.cells if cell.cell_type == "code" and "figures." in cell.source)
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"application/vnd.plotly.v1+json": {}, "text/html": "<div>"})
    ]
    path.write_text(nbformat.writes(nb))
    found = "\n".join(problems(path))
    assert "stores an output" in found


def nbval(*paths, **environment):
    return run_module("pytest", "--nbval", "-q", "-p", "no:cacheprovider", *map(str, paths), **SMOKE, **environment)


STORING = [name for name in all_chapters() if any(cell.get("outputs") for cell in read(source(name)).cells)]


def test_most_chapters_store_an_output():
    assert len(STORING) == 13


@pytest.mark.parametrize("name", STORING)
def test_stored_outputs_are_those_of_the_built_book(built_book, name):
    """As nbval compares them: the book's chapters have just been executed, at the scale of the stored outputs."""
    executed = read(built_book.with_name("executed") / f"{name}.ipynb")
    both = [
        [(cell.source, cell.get("outputs")) for cell in nb.cells if "published" in tags(cell)]
        for nb in (normal(executed), read(source(name)))
    ]
    assert both[0] == both[1] and both[0]


def test_nbval_accepts_chapters(built_book, tmp_path):
    """With a copy of the built book's runs: another test has a chapter train."""
    shutil.copytree(built_book.parents[1] / "runs", tmp_path / "runs")
    chapters = [source(name) for name in ("book/index", "book/permuted", "book/reproducibility")]
    result = nbval(*chapters, MODULES_RUNS=str(tmp_path / "runs"))
    assert result.returncode == 0, result.stdout[-3000:]


@pytest.mark.parametrize("tampered", ["a stored number", "a published result"])
def test_nbval_finds_a_tampered_number(tmp_path, tampered):
    chapter, environment = tmp_path / "reproducibility.ipynb", {}
    text = source("book/reproducibility").read_text()
    if tampered == "a stored number":
        assert "laptop | 0, 1, 2, 3, 4 |" in text
        text = text.replace("laptop | 0, 1, 2, 3, 4 |", "laptop | 0, 1, 2, 3, 5 |")
    else:
        shutil.copytree(results.results_folder(), tmp_path / "results")
        for path in (tmp_path / "results").glob(f"addmul-lstm/{preset('addmul-lstm').hash()}/seed-0"):
            shutil.rmtree(path)
        environment = {"MODULES_RESULTS": str(tmp_path / "results")}
    chapter.write_text(text)
    result = nbval(chapter, **environment)
    assert result.returncode == 1 and re.search(r"[1-9] failed", result.stdout), result.stdout[-3000:]


def test_papermill_runs_a_chapter_with_a_changed_beta(tmp_path):
    command = ["papermill", "book/addmul.ipynb", str(tmp_path / "out.ipynb"), "-p", "beta", "2e-4", "--no-progress-bar"]
    result = run_module(*command, **SMOKE, MODULES_RUNS=str(tmp_path / "runs"))
    assert result.returncode == 0, result.stderr[-3000:]
    made = runs.stored(tmp_path / "runs")
    assert [run.config()["beta"] for run in made] == [2e-4, 2e-4]


@pytest.mark.parametrize(
    ("chapter", "parameter", "value", "message"),
    [
        ("addmul", "beta", "-1", "beta is -1; it must be a number of at least 0"),
        ("addmul", "scale", "big", "Unknown scale 'big'"),
        ("scan", "seeds", "1.5", "seeds is 1.5; it must be a whole number"),
        ("alpha", "tolerance", "x", "tolerance is 'x'; it must be a number of at least 0 and below 1"),
        ("cifar10", "removed", "plane", "each once, as ['airplane', 'cat'] does."),
    ],
)
def test_papermill_stops_at_a_bad_parameter_before_training(tmp_path, chapter, parameter, value, message):
    command = ["papermill", f"book/{chapter}.ipynb", str(tmp_path / "out.ipynb"), "-p", parameter, value]
    result = run_module(*command, "--no-progress-bar", **SMOKE, MODULES_RUNS=str(tmp_path / "runs"))
    assert result.returncode != 0 and message in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_the_book_refuses_parameters_and_chapters_that_do_not_exist():
    result = run_module("tools.book", "build", "--scale", "smoke", "-p", "betta", "1e-4")
    assert result.returncode != 0 and 'no chapter has a parameter "betta"' in result.stderr and "beta" in result.stderr
    result = run_module("tools.book", "execute", "--scale", "smoke", "chapter9")
    assert result.returncode != 0 and 'no chapter "chapter9"' in result.stderr


@pytest.mark.parametrize("command", ["book", "serve"])
def test_make_refuses_an_unknown_scale_before_installing(command):
    result = subprocess.run(["make", command, "SCALE=huge"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0 and "must be smoke, laptop or paper" in result.stderr
    assert f'try "make {command} SCALE=smoke"' in result.stderr


def test_the_built_book_is_complete(built_book):
    copies = [built_book.with_name("executed") / f"{name}.ipynb" for name in all_chapters()]
    assert {path.name: missing(read(path)) for path in copies} == {path.name: [] for path in copies}


def test_the_built_book_has_every_page(built_book):
    for name in all_pages():
        assert (built_book / f"{name}.html").exists()
    assert (built_book / "index.html").exists()
