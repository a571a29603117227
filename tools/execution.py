"""Running chapters with papermill: a copy with outputs, also of a chapter that fails on its way or is not to train."""

import ast
import os
import sys
import tempfile
import time
from pathlib import Path

import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.execute import ERROR_MARKER_TAG
from traitlets.config import Config

from tools.chapters import BookError, normal, read, source, tags, write

TRAIN = (
    "missing",
    "untried",
    "never",
)  # a copy of reproduction.notebook.own_runs.TRAIN, which would import torch: seconds a chapter
UNTRAINED = "Not run: nothing was trained for this page. `make book` runs the cells from here on."


def assignments(code: str) -> dict[str, ast.expr]:
    """Find the names that code sets at its top level, and where their values stand in it."""
    found: dict[str, ast.expr] = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    return found


def parameters_of(name: str) -> list[str]:
    """List the names that a chapter lets its reader set: those in its cell tagged `parameters`."""
    cells = [cell for cell in read(source(name)).cells if "parameters" in tags(cell)]
    return list(assignments(cells[0].source)) if cells else []


def check_parameters(names: list[str], given: dict) -> None:
    """Refuse a name that no chapter has: papermill only warns, and the book would quietly show other results."""
    allowed = sorted({parameter for name in names for parameter in parameters_of(name)})
    for parameter in given:
        if parameter not in allowed:
            raise BookError(f'no chapter has a parameter "{parameter}": choose from {", ".join(allowed) or "none"}')


def replace_value(code: str, old: ast.expr, new: str) -> str:
    lines = code.encode().splitlines(keepends=True)  # syntax trees count bytes
    first, last = old.lineno - 1, (old.end_lineno or old.lineno) - 1
    lines[first : last + 1] = [lines[first][: old.col_offset] + new.encode() + lines[last][old.end_col_offset :]]
    return b"".join(lines).decode()


def fold_parameters(nb: NotebookNode) -> None:
    """Keep one cell of parameters, with the values that were used.

    Papermill adds its values in a second cell, which would undo a reader's later edit of the first.
    """
    injected = next((cell for cell in nb.cells if "injected-parameters" in tags(cell)), None)
    if injected is None:
        return
    own = next(cell for cell in nb.cells if "parameters" in tags(cell))
    for name, used in assignments(injected.source).items():
        new = ast.get_source_segment(injected.source, used) or ast.unparse(used)
        own.source = replace_value(own.source, assignments(own.source)[name], new)
    nb.cells.remove(injected)


def execute(name: str, target: Path, given: dict, train: str = "missing") -> None:
    """Run one chapter into `target`, which appears when it has run to its end.

    Args:
        name: the chapter's.
        target: where the copy with outputs goes.
        given: values for its parameters; those that it does not have are left out.
        train: "missing" makes the runs that the chapter shows, and a cell that fails is an error. "untried" is for a
            chapter of a whole book: runs that failed are not tried again, and where a cell fails a sentence stands.
            "never" trains nothing, and is like it otherwise.

    Raises:
        BookError: a cell failed, and `train` is "missing".
    """
    began = time.monotonic()
    os.environ["MODULES_TRAIN"] = train  # which the chapter's kernel inherits
    if train == "never" and any("trains" in tags(cell) for cell in read(source(name)).cells):
        write(without_training(read(source(name))), target)
    else:
        unfinished = target.with_suffix(f".stopped-{os.getpid()}.ipynb")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            reason = run_cells(name, unfinished, given)
            if reason and train == "missing":
                kept = unfinished.replace(target.with_suffix(".stopped.ipynb"))
                raise BookError(f"{name} failed with {reason}; the run up to there is {kept}")
            nb = read(unfinished)
            fold_parameters(nb)
            write(ended(name, nb, reason) if reason else nb, unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    print(f"{name:<20} {time.monotonic() - began:6.1f} s", flush=True)


def run_cells(name: str, copy: Path, given: dict) -> str:
    """Run a chapter's cells into a copy, up to one that fails; return the reason of the failure, or no text."""
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:  # kernels that start together would race for ports
        try:
            papermill.execute_notebook(
                str(source(name)),
                str(copy),
                parameters={key: value for key, value in given.items() if key in parameters_of(name)},
                kernel_name="python3",
                cwd=str(source(name).parent),  # as in JupyterLab and nbval
                config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"}),
                progress_bar={"desc": name, "leave": False} if sys.stderr.isatty() else False,
            )
        except papermill.PapermillExecutionError as error:
            lines = [f"  {line}" for line in error.source.strip().splitlines()]
            print(f"{name}, cell [{error.exec_count}]:\n" + "\n".join(lines), file=sys.stderr)
            return f"{error.ename}: {error.evalue}".splitlines()[0]
        except DeadKernelError:
            return "its process was killed, often because memory ran out: free some, or take a smaller scale"
    return ""


def ended(name: str, nb: NotebookNode, reason: str) -> NotebookNode:
    """Make the copy of a chapter that failed fit for a page.

    A sentence stands where the chapter stopped; the cells below have their stored outputs.
    """
    nb.cells = [cell for cell in nb.cells if ERROR_MARKER_TAG not in tags(cell)]
    codes = [cell for cell in nb.cells if cell.cell_type == "code"]
    stopped = next(i for i, cell in enumerate(codes) if cell.metadata.papermill.get("status") != "completed")
    sentence = f"The chapter {name} could not be run beyond this cell: {reason}"
    codes[stopped].outputs = [notice(sentence, missing=True)]
    stored = [cell for cell in normal(read(source(name))).cells if cell.cell_type == "code"]
    for cell, own in list(zip(codes, stored, strict=True))[stopped + 1 :]:
        cell.outputs = own.outputs
    nb.metadata.papermill.exception = None
    return nb


def notice(sentence: str, missing: bool = False) -> NotebookNode:
    """Make a cell's output of a sentence; with `missing`, the terminal shows it, too."""
    from reproduction.notebook.own_runs import notice_output

    bundle, metadata = notice_output(sentence, missing)
    return new_output("display_data", bundle, metadata=metadata)


def without_training(chapter: NotebookNode) -> NotebookNode:
    """Copy a chapter that trains in its cells as it is stored, with a sentence in the first such cell."""
    nb = normal(chapter)
    first = next(cell for cell in nb.cells if "trains" in tags(cell))
    first.outputs = [notice(UNTRAINED)]
    nb.metadata.papermill = {"end_time": "never begun", "exception": None}
    return nb
