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
from typing import IO

from tools.building import all_missing, check_free
from tools.chapters import ROOT, BookError, all_chapters, normal, problems, read, select, source, write
from tools.execution import TRAIN, check_parameters, execute
from tools.render import EXECUTED, HTML, executed, render
from tools.times import times_table

DURATION = {"smoke": "3 to 6 minutes", "laptop": "25 to 45 minutes on 2 cores", "paper": "days, less on a GPU"}


def finished(command: list[str], errors: IO[str] | None = None) -> int:
    """Run a command to its end and return its exit code; on Ctrl-C, which reaches it too, it is given time to end."""
    process = subprocess.Popen(command, cwd=ROOT, stderr=errors)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def train(scale: str) -> None:
    """Train the runs that chapters show, here in the terminal; a run that is finished already is only loaded.

    A run that fails is missing in its chapter, which says so.
    """
    code = finished([sys.executable, "-m", "reproduction", "run", "--scale", scale, "all"])
    if code < 0:
        raise BookError(f"training was ended by signal {-code}; the next make book goes on from there")


def build(scale: str, given: dict) -> None:
    """Train, with progress; then make the chapters and pages that are not up to date."""
    check_parameters(all_chapters(), given)
    check_free()
    print(f"Building the book at scale {scale}: {DURATION[scale]} the first time.")
    if scale != "smoke":
        print("Only to read it: make read. For a quick look at everything that runs: make book SCALE=smoke")
    sys.stdout.flush()
    began = time.time()
    train(scale)
    make_pages(since=began, scale=scale, parameters=json.dumps(given))


def build_to_read() -> None:
    """Make the chapters and pages from the published results, without any training."""
    check_free()
    print("Making the book from the published results: one to four minutes.", flush=True)
    make_pages(train="never")


def make_pages(since: float | None = None, **config: object) -> None:
    """Have snakemake make what is not up to date; say at the end where the time went and what is missing in the book.

    Args:
        since: when the build began, in seconds since 1970, if the time is to be told.
        config: settings of the Snakefile.
    """
    config |= {"since": since} if since else {}
    values = [f"{name}={value}" for name, value in config.items()]
    log = EXECUTED.parent / "snakemake.log"  # what it does, step by step, is for who wants to know
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf8") as file:
        code = finished([sys.executable, "-m", "snakemake", "--quiet", "rules", "--config", *values], file)
    if code:
        print("\n".join(log.read_text(encoding="utf8").splitlines()[-30:]), file=sys.stderr)
        raise BookError(f"the book is not complete: mend what it says above (all of it: {log}), then make book")
    if since:
        print(times_table(since))
    print(f"The book: {(HTML / 'index.html').as_uri()}")
    if sentences := all_missing():
        print("It is complete but for this:", *sentences, sep="\n")


def run(scale: str, names: list[str], given: dict, train: str) -> None:
    """Execute chapters, one after another."""
    check_parameters(all_chapters(), given)
    os.environ["MODULES_SCALE"] = scale  # the chapters' kernels inherit it
    for name in names:
        execute(name, executed(name), given, train)


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
    to_execute.add_argument(
        "--train",
        choices=TRAIN,
        default="missing",
        help="which runs may be made; untried: none that failed, and a chapter that fails ends there (%(default)s)",
    )
    commands.add_parser("read", help="execute the chapters without training, and render them")
    commands.add_parser("html", help="render the executed chapters again")
    to_refresh = commands.add_parser("refresh", help="renew the outputs stored in the notebooks")
    to_refresh.add_argument("--check", action="store_true", help="only say what is not in its normal form")
    for command in (to_execute, to_refresh):
        command.add_argument("chapter", nargs="*", help="only these chapters, e.g. method")
    return parser.parse_args()


def value(text: str) -> object:
    """Read `0.2`, `[1, 2]` or `None` as Python does; anything else is a string."""
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
            run(args.scale, select(args.chapter), {name: value(text) for name, text in args.p}, args.train)
        elif args.command == "read":
            build_to_read()
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
