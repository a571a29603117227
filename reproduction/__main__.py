"""The command line: ``python -m reproduction --help``."""

from __future__ import annotations

import dataclasses
import itertools
import signal
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import docstring_parser
import tyro

from modules_lib.support.checks import check_count
from reproduction import claims as claims_module
from reproduction.experiments import EXPERIMENTS, preset
from reproduction.protocol.config import Config
from reproduction.runs import listing, other_code, tables
from reproduction.runs import published as results
from reproduction.runs import store as runs
from reproduction.runs.execute import execute
from reproduction.runs.provenance import is_stitched, origin

Scale = Literal["smoke", "laptop", "paper"]


def _options() -> list[tuple[str, Any, Any]]:
    """Every setting of any experiment as a dataclass field that is None unless it is given."""
    types: dict[str, Any] = {}
    said: dict[str, dict[str, str]] = {}  # setting -> a description of it -> the first family of experiments with it
    for experiment, entry in EXPERIMENTS.items():
        config = type(entry.presets["paper"])
        types = typing.get_type_hints(config) | types
        for name, description in _described(config).items():
            said.setdefault(name, {}).setdefault(description, experiment.split("-")[0])
    fixed = {"network", "size", "variant"}  # part of the experiment's name
    return [
        (name, Annotated[types[name] | None, _option(types[name], _help(said[name]))], dataclasses.field(default=None))
        for name in said
        if name in types and name not in fixed
    ]


METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", tuple[int, ...]: "INT ...", tuple[float, ...]: "FLOAT ..."}


def _option(kind: Any, help: str) -> Any:
    """A setting as the help shows it: the kind of its values, and that the scale decides by default."""
    return tyro.conf.arg(help=help, metavar=METAVARS.get(kind, "TEXT ..."), help_behavior_hint="(default: the scale's)")


def _described(config: type[Config]) -> dict[str, str]:
    """Setting -> its description in the docstrings of a config and its bases; that of a subclass prevails."""
    docs = [docstring_parser.parse(kind.__dict__.get("__doc__") or "") for kind in reversed(config.__mro__)]
    return {text.arg_name: " ".join((text.description or "").split()) for doc in docs for text in doc.params}


def _help(said: dict[str, str]) -> str:
    """The first description of a setting, then each other one with the experiments that it belongs to."""
    first, *others = said
    return " ".join([first, *(f"In {said[other]}: {other}" for other in others)])


@dataclass(frozen=True)
class Selection:
    """The runs that a command is about.

    Attributes:
        experiment: its name, as `list` has it, or "all".
        scale: how large; laptop takes minutes, paper hours.
        seeds: how many, counted from 0.
        seed: these seeds instead.
    """

    experiment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="EXPERIMENT")]
    scale: Scale = "laptop"
    seeds: int = 1
    seed: tuple[int, ...] = ()

    def configs(self) -> list[Config]:
        names = list(EXPERIMENTS) if self.experiment == "all" else [self.experiment]
        own = {f.name for f in fields(Selection)}
        changes = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in own}
        return [preset(name, self.scale, **changes) for name in names]

    def chosen_seeds(self) -> list[int]:
        return list(self.seed) or list(range(check_count("seeds", self.seeds)))


if TYPE_CHECKING:
    Selected = Selection
else:  # with an option for every setting, and the configs' own documentation as help
    Selected = Annotated[
        make_dataclass("Selected", _options(), bases=(Selection,), frozen=True), tyro.conf.arg(name="")
    ]


def run(selection: Selected, jobs: int | None = None, one_commit: bool = False) -> None:
    """Train an experiment's runs, or load finished ones; a run that fails is left out, and all others are made.

    Args:
        jobs: trainings at once; by default one a core, or one a GPU; more share one.
        one_commit: go on from checkpoints of this commit and processor alone; others are moved aside.
    """
    if jobs is not None:
        check_count("jobs", jobs)
    configs, seeds = selection.configs(), selection.chosen_seeds()
    for config, seed in itertools.product(configs, seeds) if one_commit else ():
        if aside := runs.set_aside_if_of_another(config, seed, origin()):
            print(f"{config.experiment} seed {seed} begins anew: another commit or processor began it, see {aside}.")
    try:
        execute(configs, seeds, jobs)
    finally:
        for finished in filter(None, (runs.find(config, seed) for seed in seeds for config in configs)):
            print(f"{finished.experiment} seed {finished.seed}: {finished.folder}")


def publish(selection: Selected) -> None:
    """Copy finished runs' measurements and provenance to results/, for the book to show."""
    seeds = selection.chosen_seeds()
    found = {config: [_finished(config, seed) for seed in seeds] for config in selection.configs()}
    copied = sum(len(results.publish(finished, config.drawn)) for config, finished in found.items())
    print(f"{copied} runs published, {sum(map(len, found.values())) - copied} were already.")


def _finished(config: Config, seed: int) -> runs.Run:
    if run := runs.find(config, seed):
        return run
    raise ValueError(
        f"{config.experiment} seed {seed} is not finished with these settings; `run` with the same ones makes it."
    )


def list_(experiment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = "") -> None:
    """List the experiments: what each shows, its chapter, its steps and minutes at each scale.

    Args:
        experiment: only this one, with its stages and settings.
    """
    print(listing.one_experiment(experiment) if experiment else listing.all_experiments())


def show() -> None:
    """List the runs in the store, finished and unfinished."""
    table = tables.store()
    print(f"Nothing is stored in {runs.runs_folder()} yet." if table.empty else table.to_string(index=False))


def check() -> None:
    """Compare every file of the run store and of results/ with its checksum, and name runs of several commits."""
    found = [*runs.stored(runs.runs_folder()), *runs.stored(results.results_folder())]
    problems = [problem for run in found for problem in run.damage()]
    for problem in problems:
        print(problem)
    for run in found:
        if not run.damage() and is_stitched(about := run.provenance()):
            print(f"{run.name} was made by several commits or processors: {about['commit']}; {about['hardware']}.")
    print(f"{len(found)} runs checked, {len(problems) or 'no'} problems.")
    if problems:
        sys.exit(1)


def claims(scale: Scale = "laptop", json: bool = False) -> None:
    """Print the verdict on each of the paper's claims, computed from the published results.

    Args:
        scale: the published results of which scale.
        json: print one list of objects instead of a table.
    """
    verdicts = claims_module.verdicts(scale)
    if json:
        print(dumps([verdict.to_dict() for verdict in verdicts], indent=1, ensure_ascii=False))
        return
    print(claims_module.report(verdicts), claims_module.summary(verdicts), sep="\n\n")


def compare(selection: Selected, theirs: Path | None = None) -> None:
    """Set the published numbers of an experiment beside those of another program, such as the paper's own code.

    Args:
        theirs: CSV of the other program's numbers; without it, the rows to fill in are printed.
    """
    [config] = selection.configs()
    frame = results.published(config)
    if frame.empty:
        raise ValueError(f"No run of {config.experiment} with these settings is published.")
    ours = other_code.quantities(frame)
    print(other_code.report(other_code.beside(ours, other_code.read(theirs))) if theirs else other_code.template(ours))


COMMANDS: dict[str, Callable[..., Any]] = {
    "list": list_,
    "run": run,
    "show": show,
    "check": check,
    "publish": publish,
    "claims": claims,
    "compare": compare,
}


def main() -> None:
    """Run a command; an error that a user can mend is one sentence, without a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's end of time is like Ctrl-C
    arguments = sys.argv[1:] or ["--help"]
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="python -m reproduction", args=arguments, config=(tyro.conf.OmitArgPrefixes,)
        )
    except (ValueError, RuntimeError, OSError) as error:  # OSError names a file that may not be read
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. Finished runs are kept; the same command goes on from the last checkpoint of the others.")


if __name__ == "__main__":
    main()
