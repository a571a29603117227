"""The chapters as files: where they are, in which order, and the normal form in which they are committed.

A committed chapter stores no output except that of cells tagged `published`, and of those only text, which is worth
reviewing in a diff. Everything else comes back by running the chapter.
"""

from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
TEXT = {"text/plain", "text/markdown", "text/html"}
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class BookError(Exception):
    """An error for the reader of a terminal: one sentence, no traceback."""


def all_pages() -> list[str]:
    """List the pages as `_toc.yml` names them, in reading order, e.g. `book/method`."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    parts = [toc, *toc.get("parts", [])]
    return [toc["root"], *(page["file"] for part in parts for page in part.get("chapters", []))]


def all_chapters() -> list[str]:
    """List the pages that are notebooks; others are text, which is rendered as it is."""
    return [name for name in all_pages() if not (ROOT / f"{name}.md").exists()]


def select(names: list[str]) -> list[str]:
    """Find the chapters of these names (`method` and `book/method` alike); all chapters if none is named."""
    known = {Path(name).name: name for name in all_chapters()}
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names]
    for given, name in zip(names, wanted, strict=True):
        if name not in known:
            raise BookError(f'there is no chapter "{given}": choose from {", ".join(known)}, or name none for all')
    return [name for short, name in known.items() if not wanted or short in wanted]


def source(name: str) -> Path:
    path = ROOT / f"{name}.ipynb"
    if not path.exists():
        raise BookError(f"{name}.ipynb is named in _toc.yml but does not exist: write it, or take it out of _toc.yml")
    return path


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise BookError(f"{path} is not a readable notebook ({reason}): restore it, for example from git") from error


def write(nb: NotebookNode, path: Path) -> None:
    """Write a notebook; one that says the same already keeps its date, by which a stale executed copy is known."""
    text = nbformat.writes(nb) + "\n"
    if not path.exists() or path.read_text(encoding="utf8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")


def is_text(output: NotebookNode) -> bool:
    """Tell whether an output may be committed: printed text, or a result that is text in all its forms.

    A figure has a text form too, but that is a page of script.
    """
    if output.output_type == "stream":
        return output.name == "stdout"
    data = output.get("data", {})
    drawn = "plotly-graph-div" in "".join(data.get("text/html", ""))
    return output.output_type != "error" and TEXT.issuperset(data) and not drawn


def normal(nb: NotebookNode) -> NotebookNode:
    """Make the same chapter in the form in which it is committed; `nb` stays as it is."""
    nb = nbformat.from_dict(nb)
    nb.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    nb.nbformat, nb.nbformat_minor = 4, 5
    number = 0
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
        if cell.cell_type != "code":
            continue
        number += 1
        cell.outputs = [o for o in cell.outputs if is_text(o)] if "published" in tags(cell) else []
        # nbval takes outputs without a count for those of a cell that was never run.
        cell.execution_count = number if cell.outputs else None
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    return nb


def problems(path: Path) -> list[str]:
    """List, in sentences, why the notebook at `path` is not in its normal form; empty if it is."""
    path = Path(path)
    nb, found = read(path), []
    for number, cell in enumerate(nb.cells):
        where = f"{path.name}, cell {number}"
        if extra := set(cell.metadata) - {"tags"}:
            found.append(f"{where} has metadata that changes by itself: {', '.join(sorted(extra))}")
        if not cell.get("outputs"):
            if cell.get("execution_count") is not None:
                found.append(f"{where} has an execution count, but no output")
            continue
        if "published" not in tags(cell):
            found.append(f"{where} stores an output, but is not tagged `published`")
        elif not all(is_text(output) for output in cell.outputs):
            found.append(f"{where} stores an output that is not text")
    if not found and nbformat.writes(normal(nb)) + "\n" != path.read_text(encoding="utf8"):
        found.append(f"{path.name} is not in the form in which chapters are stored (metadata or JSON layout)")
    return found
