"""Make the book: execute its chapters, render its pages, refresh what is stored in its notebooks."""

import argparse
import ast
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import papermill
from traitlets.config import Config

from tools.chapters import ROOT, BookError, all_chapters, normal, problems, read, select, source, tags, write
from tools.render import EXECUTED, HTML, executed, render

DURATION = {"smoke": "about 2 minutes", "laptop": "about 17 minutes on 2 cores", "paper": "days, less on a GPU"}


def finished(command: list[str], errors: IO[str] | None = None) -> int:
    """Run a command to its end and return its exit code; on Ctrl-C, which reaches it too, it is given time to end."""
    process = subprocess.Popen(command, cwd=ROOT, stderr=errors)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def train(scale: str) -> None:
    """Train what the chapters show, here in the terminal; a run that is finished already is only loaded."""
    code = finished([sys.executable, "-m", "modules_lib", "run", "--scale", scale, "all"])
    if code:
        raise BookError(f"training stopped (exit code {code}): mend what it says above; finished runs are kept")


def assignments(code: str) -> dict[str, ast.expr]:
    """The names that some code sets at its top level, and where their values stand in it."""
    found: dict[str, ast.expr] = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    return found


def parameters_of(name: str) -> list[str]:
    """What a chapter lets its reader set: the names in its cell tagged `parameters`."""
    cells = [cell for cell in read(source(name)).cells if "parameters" in tags(cell)]
    return list(assignments(cells[0].source)) if cells else []


def check_parameters(names: list[str], given: dict) -> None:
    """Papermill only warns about a name that no chapter has, and the book would quietly show something else."""
    allowed = sorted({parameter for name in names for parameter in parameters_of(name)})
    for parameter in given:
        if parameter not in allowed:
            raise BookError(f'no chapter has a parameter "{parameter}": choose from {", ".join(allowed) or "none"}')


def replace_value(code: str, old: ast.expr, new: str) -> str:
    lines = code.encode().splitlines(keepends=True)  # syntax trees count bytes
    first, last = old.lineno - 1, old.end_lineno - 1
    lines[first : last + 1] = [lines[first][: old.col_offset] + new.encode() + lines[last][old.end_col_offset :]]
    return b"".join(lines).decode()


def fold_parameters(path: Path) -> None:
    """Papermill adds its values in a second cell, which would undo a reader's later edit of the first.

    Keep one cell, with the values that were used.
    """
    nb = read(path)
    injected = next((cell for cell in nb.cells if "injected-parameters" in tags(cell)), None)
    if injected is None:
        return
    own = next(cell for cell in nb.cells if "parameters" in tags(cell))
    for name, used in assignments(injected.source).items():
        new = ast.get_source_segment(injected.source, used)
        own.source = replace_value(own.source, assignments(own.source)[name], new)
    nb.cells.remove(injected)
    write(nb, path)


def execute(name: str, target: Path, given: dict) -> None:
    """Run one chapter into `target`, which appears when it has run to its end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".stopped.ipynb")  # what is up to date is known by the target's date
    terminal = sys.stderr.isatty()
    began = time.monotonic()
    sockets = tempfile.TemporaryDirectory(prefix="kernel-")  # kernels that start together would race for ports
    try:
        papermill.execute_notebook(
            str(source(name)),
            str(unfinished),
            parameters={key: value for key, value in given.items() if key in parameters_of(name)},
            kernel_name="python3",
            cwd=str(source(name).parent),  # as in JupyterLab and nbval
            config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets.name}/kernel"}),
            progress_bar={"desc": name, "leave": False} if terminal else False,
        )
    except papermill.PapermillExecutionError as error:
        lines = [f"  {line}" for line in error.source.strip().splitlines()]
        print(f"{name}, cell [{error.exec_count}]:\n" + "\n".join(lines), file=sys.stderr)
        reason = f"{error.ename}: {error.evalue}".splitlines()[0]
        raise BookError(f"{name} failed with {reason}; the run up to there is {unfinished}") from None
    finally:
        sockets.cleanup()
    fold_parameters(unfinished)
    unfinished.replace(target)
    print(f"{name:<20} {time.monotonic() - began:6.1f} s", flush=True)


def build(scale: str, given: dict) -> None:
    """Train, with progress; the Snakefile then makes the chapters and pages that are not up to date."""
    check_parameters(all_chapters(), given)
    print(f"Building the book at scale {scale}: {DURATION[scale]} the first time.")
    if scale != "smoke":
        print("For a quick look: make book SCALE=smoke")
    sys.stdout.flush()
    train(scale)
    config = [f"scale={scale}", f"parameters={json.dumps(given)}"]
    log = EXECUTED.parent / "snakemake.log"  # what it does, step by step, is for who wants to know
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf8") as file:
        code = finished([sys.executable, "-m", "snakemake", "--quiet", "rules", "--config", *config], file)
    if code:
        print("\n".join(log.read_text(encoding="utf8").splitlines()[-30:]), file=sys.stderr)
        raise BookError(f"the book is not complete: mend what it says above (all of it: {log}), then make book")
    print(f"The book: {(HTML / 'index.html').as_uri()}")


def run(scale: str, names: list[str], given: dict) -> None:
    """Execute chapters, one after another."""
    check_parameters(all_chapters(), given)
    os.environ["MODULES_SCALE"] = scale  # the chapters' kernels inherit it
    for name in names:
        execute(name, executed(name), given)


def refresh(names: list[str]) -> None:
    """Execute chapters from nothing at the smallest scale and store the outputs of their `published` cells."""
    os.environ["MODULES_SCALE"] = "smoke"
    with tempfile.TemporaryDirectory() as runs:
        os.environ["MODULES_RUNS"] = runs
        for name in names:
            copy = ROOT / f"_build/refreshed/{name}.ipynb"
            execute(name, copy, {})
            fresh, stored = read(copy), read(source(name))
            for cell, ran in zip(stored.cells, fresh.cells, strict=True):
                if cell.cell_type == "code":
                    cell.outputs = ran.outputs
            write(normal(stored), source(name))


def check(names: list[str]) -> None:
    found = [problem for name in names for problem in problems(source(name))]
    print("\n".join(found) if found else "all chapters are in their normal form")
    if found:
        raise BookError("chapters are not in the form in which they are stored: run make chapters")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.book", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    to_build = commands.add_parser("build", help="train, execute the chapters, and render them")
    to_execute = commands.add_parser("execute", help="execute chapters; make book executes those that need it")
    for command in (to_build, to_execute):
        command.add_argument("--scale", choices=DURATION, default="laptop", help="how large: %(choices)s (%(default)s)")
        command.add_argument(
            "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a chapter's parameter"
        )
    commands.add_parser("html", help="render the executed chapters again")
    to_refresh = commands.add_parser("refresh", help="renew the outputs stored in the notebooks")
    to_refresh.add_argument("--check", action="store_true", help="only say what is not in its normal form")
    for command in (to_execute, to_refresh):
        command.add_argument("chapter", nargs="*", help="only these chapters, e.g. method")
    return parser.parse_args()


def value(text: str) -> object:
    """`0.2`, `[1, 2]` or `None` as Python reads it; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    args = arguments()
    logging.getLogger("papermill").setLevel(logging.ERROR)  # its parameter warnings; check_parameters knows better
    try:
        if args.command == "build":
            build(args.scale, dict(args.p))
        elif args.command == "execute":
            run(args.scale, select(args.chapter), {name: value(text) for name, text in args.p})
        elif args.command == "html":
            render()
        elif args.check:
            check(select(args.chapter))
        else:
            refresh(select(args.chapter))
    except BookError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; finished runs are kept, the next make book goes on from there")


if __name__ == "__main__":
    main()
