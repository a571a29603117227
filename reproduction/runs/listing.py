"""The experiments for a newcomer: the question of each, its number of steps, and its time."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass

from modules_lib.support.checks import check_choice
from reproduction.experiments import EXPERIMENTS, preset, published_preset
from reproduction.protocol.config import Config
from reproduction.protocol.scales import SCALES
from reproduction.runs.published import runs_of

WIDTH = 100  # columns
NO_BREAK = "\u00a0"  # where a line must not be broken


@dataclass(frozen=True)
class Time:
    """The time that a run takes.

    Attributes:
        seconds: on one core, mean over the published seeds.
        scaled: whether published runs have other settings; their time is then scaled by the number of steps.
        seeds: how many.
    """

    seconds: float
    scaled: bool
    seeds: int


def run_time(experiment: str, scale: str = "laptop") -> Time | None:
    """Estimate the time of the run that a chapter makes, from published runs; None where there are none."""
    own, made = preset(experiment, scale), published_preset(experiment, scale)
    seconds = [run.provenance()["seconds"] for run in runs_of(made)]
    if not seconds:
        return None
    return Time(sum(seconds) / len(seconds) * own.work() / made.work(), own != made, len(seconds))


def all_experiments() -> str:
    """List the experiments below what they show and their chapter, with steps and minutes at each scale."""
    lines = ["Steps of training, and minutes on one core where runs are published (- where none is):", ""]
    columns = "  ".join(f"{scale:>8}" for scale in SCALES)
    lines.append(f"  {'':<18}{'steps':^28}    {'minutes':^28}".rstrip())
    lines.append(f"  {'':<18}{columns}    {columns}")
    shown = ""
    for name, entry in EXPERIMENTS.items():
        if _shows(name) != shown:
            shown = _shows(name)
            lines += ["", *textwrap.wrap(f"{shown}: book/{EXPERIMENTS[name].chapter}.ipynb", WIDTH)]
        steps = "  ".join(f"{entry.presets[scale].work():>8,}" for scale in SCALES)
        lines.append(f"  {name:<18}{steps}    {'  '.join(f'{_minutes(name, scale):>8}' for scale in SCALES)}")
    return "\n".join([*lines, "", "More of one, its stages and settings: python -m reproduction list NAME"])


def one_experiment(name: str) -> str:
    """Say what an experiment shows and where, its stages at each scale, and the settings that differ from the paper's.

    Raises:
        ValueError: there is no such experiment.
    """
    scales = EXPERIMENTS[check_choice("experiment", name, EXPERIMENTS)].presets
    lines = textwrap.wrap(f"{name}: {_shows(name)}", WIDTH)
    lines.append(f"Chapter: book/{EXPERIMENTS[name].chapter}.ipynb")
    for scale, config in scales.items():
        about = f"{scale}: {config.work():,} steps, {_minutes(name, scale)} minutes on one core"
        lines += ["", about.replace("- minutes", "minutes not measured")]
        whole = [stage.replace(" ", NO_BREAK) for stage in config.stages]
        lines += [line.replace(NO_BREAK, " ") for line in _indented(f"stages: {', '.join(whole)}")]
        if changed := _changed(config, scales["paper"]):
            lines += _indented(f"not as in the paper: {changed}")
        lines.append(f"  python -m reproduction run {name}{'' if scale == 'laptop' else f' --scale {scale}'}")
    return "\n".join(lines)


def _shows(name: str) -> str:
    """The first words of the experiment's own file."""
    module = inspect.getmodule(type(EXPERIMENTS[name].presets["paper"]))
    text = (inspect.getdoc(module) or "").replace("\n", " ")
    return text.split(":")[0].split(". ")[0].rstrip(".")


def _minutes(name: str, scale: str) -> str:
    time = run_time(name, scale)
    return f"{max(0.1, time.seconds / 60):,.{0 if time.seconds > 600 else 1}f}" if time else "-"


def _changed(config: Config, papers: Config) -> str:
    theirs = papers.fields()
    return ", ".join(f"{setting} {value}" for setting, value in config.fields().items() if value != theirs[setting])


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
