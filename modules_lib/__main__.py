"""The command line: ``python -m modules_lib --help``."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from json import dumps
from typing import Annotated, Literal

import tyro

from modules_lib import claims as claims_module
from modules_lib import results, runs
from modules_lib.checks import check_count
from modules_lib.execute import execute
from modules_lib.experiments import EXPERIMENTS, preset
from modules_lib.experiments.config import Config

Scale = Literal["smoke", "laptop", "paper"]


@dataclass(frozen=True)
class Selection:
    """Which runs.

    Attributes:
        experiment: its name, or "all".
        scale: how large; laptop takes minutes, paper hours.
        seeds: how many, counted from 0.
        beta: the penalty's strength instead of the scale's own.
        mask_steps: the length of each stage instead of the scale's own.
    """

    experiment: tyro.conf.Positional[str]
    scale: Scale = "laptop"
    seeds: int = 1
    beta: float | None = None
    mask_steps: int | None = None

    def configs(self) -> list[Config]:
        names = list(EXPERIMENTS) if self.experiment == "all" else [self.experiment]
        return [preset(name, self.scale, beta=self.beta, mask_steps=self.mask_steps) for name in names]


Selected = Annotated[Selection, tyro.conf.arg(name="")]


def run(selection: Selected) -> None:
    """Train an experiment's runs, or load those that are finished."""
    for finished in execute(selection.configs(), selection.seeds):
        print(f"{finished.experiment} seed {finished.seed}: {finished.folder}")


def publish(selection: Selected) -> None:
    """Copy finished runs' measurements and provenance to results/, for the book to show."""
    found = []
    for config in selection.configs():
        for seed in range(check_count("seeds", selection.seeds)):
            finished = runs.find(config, seed)
            if finished is None:
                raise ValueError(
                    f"{config.experiment} seed {seed} is not finished with these settings; "
                    "`run` with the same ones makes it."
                )
            found.append(finished)
    copied = results.publish(found)
    print(f"{len(copied)} runs published, {len(found) - len(copied)} were already.")


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
    print(claims_module.report(verdicts))


def main() -> None:
    """Run a command; what a user can mend is one sentence, without a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's end of time is like Ctrl-C
    try:
        tyro.extras.subcommand_cli_from_dict({"run": run, "publish": publish, "claims": claims}, prog="modules_lib")
    except (ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. Finished runs are kept; the same command goes on from the last checkpoint of the others.")


if __name__ == "__main__":
    main()
