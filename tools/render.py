"""From executed chapters to pages: Jupyter Book with execution off, so that a page shows exactly what was run."""

import html
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import yaml
from docutils.nodes import make_id
from nbformat import NotebookNode

from tools.chapters import NOTEBOOK_METADATA, ROOT, BookError, all_chapters, normal, read, source, tags, write

OUTPUT = Path(os.environ.get("MODULES_OUTPUT") or ROOT).resolve()  # tests build elsewhere
EXECUTED = OUTPUT / "_build/executed"
PAGES = OUTPUT / "_build/pages"
HTML = OUTPUT / "_build/html"
RENDERING = OUTPUT / "_build/rendering"
PANDAS_NAME = re.compile(r"\bT_[0-9a-f]{5}(?=[\"_ ])")
NOTEBOOK_LINK = re.compile(r'href="(?P<name>[\w-]+)\.ipynb(#(?P<heading>[^"]*))?"')


def executed(name: str) -> Path:
    return EXECUTED / f"{name}.ipynb"


def is_complete(nb: NotebookNode) -> bool:
    """Tell whether papermill reached the end of this copy; its marks tell a stopped run from a finished one."""
    marks = nb.metadata.get("papermill", {})
    return marks.get("end_time") is not None and not marks.get("exception")


def missing(nb: NotebookNode) -> list[str]:
    """List the sentences in which an executed chapter says that a run, or the rest of its cells, is missing."""
    outputs = [output for cell in nb.cells for output in cell.get("outputs", [])]
    return [output.metadata["missing"] for output in outputs if output.get("metadata", {}).get("missing")]


def readable(nb: NotebookNode) -> NotebookNode:
    """Prepare a chapter for a page without a kernel: no widgets, which would be dead there, and no progress bars.

    Links to notebooks become links to their pages. All that differs from one execution to the next is taken out:
    its time, and the random names that pandas gives its tables.
    """
    nb.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    tables: dict[str, str] = {}
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({"tags": tags(cell)})
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not _is_widget(o) and o.get("name") != "stderr"]
            for data in [output["data"] for output in cell.outputs if "text/html" in output.get("data", {})]:
                text = NOTEBOOK_LINK.sub(_page_link, "".join(data["text/html"]))
                data["text/html"] = PANDAS_NAME.sub(lambda name: tables.setdefault(name[0], f"T_{len(tables)}"), text)
    return nb


def _page_link(link: re.Match[str]) -> str:
    """The link to a page: a heading's address is its words with hyphens in JupyterLab, but Sphinx's id in a page."""
    heading = f"#{make_id(html.unescape(link['heading']))}" if link["heading"] else ""
    return f'href="{link["name"]}.html{heading}"'


def _is_widget(output: NotebookNode) -> bool:
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def page(name: str) -> NotebookNode:
    """Make the page of a chapter from its executed copy, or from its stored outputs if it was never executed."""
    path = executed(name)
    if not path.exists():
        print(f"{name}: not executed yet, its page shows only the stored outputs", flush=True)
        return readable(normal(read(source(name))))
    nb = read(path)
    if not is_complete(nb):
        raise BookError(f"{name} stopped before its end when it was executed: mend it, then run make book")
    if path.stat().st_mtime < source(name).stat().st_mtime:
        print(f"{name}: changed since it was executed, run make book to see the change", flush=True)
    return readable(nb)


def sources() -> None:
    """Lay out `_build/pages`: the book's own files, with each chapter replaced by its page."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "book", PAGES / "book", ignore=shutil.ignore_patterns("*.ipynb", ".*"))
    shutil.copyfile(ROOT / "_toc.yml", PAGES / "_toc.yml")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    config["execute"] = {"execute_notebooks": "off"}
    config["sphinx"]["local_extensions"] = {
        extension: str(ROOT / folder) for extension, folder in config["sphinx"]["local_extensions"].items()
    }
    (PAGES / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf8")
    for name in all_chapters():
        write(page(name), PAGES / f"{name}.ipynb")


def render() -> None:
    """Write the pages to `_build/html`; a warning is an error, since it is something a reader would see.

    They are made in a folder of their own and take the place of the earlier ones when they are whole.
    """
    if not any(executed(name).exists() for name in all_chapters()):
        raise BookError("no chapter has been executed yet: run make book first (SCALE=smoke is the quick look)")
    sources()
    shutil.rmtree(RENDERING, ignore_errors=True)
    print("rendering the pages ...", flush=True)
    began = time.monotonic()
    # --all: Sphinx does not notice that a local extension has changed
    strict = ["--all", "-W", "-n", "--keep-going", "-q"]
    program = [sys.executable, str(Path(sys.executable).with_name("jupyter-book"))]
    command = [*program, "build", *strict, "--path-output", str(RENDERING), str(PAGES)]
    result = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        print(result.stdout, file=sys.stderr)
        raise BookError("the pages could not be rendered without warnings: mend what Jupyter Book says above")
    old = RENDERING / "old"
    if HTML.exists():
        HTML.rename(old)
    (RENDERING / "_build/html").rename(HTML)
    shutil.rmtree(RENDERING)
    taken = time.monotonic() - began
    (HTML.parent / "rendering.seconds").write_text(f"{taken:.1f}")
    landing = HTML / "index.html"
    print(f"rendering took {taken:.0f} s\n\nOpen the book:\n  {landing.as_uri()}\n  {landing}")
