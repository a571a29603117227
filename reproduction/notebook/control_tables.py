"""Tables for chapters, as Markdown: effects of masks beside chance, and the masks of each sampler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations

import pandas as pd
from IPython.display import Markdown

from modules_lib.masking.samplers import SAMPLERS
from reproduction.experiments.compare_samplers import stage_between, stage_of
from reproduction.experiments.random_controls import ALONE, OTHER, SHARED, UNITS, WITHOUT
from reproduction.runs.measures import (
    TASKS,
    between_references,
    by_layer,
    goes_with,
    number,
    others_move,
    outcome,
    own_and_others,
    removed_classes,
)
from reproduction.runs.published import results_folder

WHAT = {
    ALONE: "{task} with its own weights alone",
    WITHOUT: "{task} without its weights",
    OTHER: "{other} without the weights of {task}",
    SHARED: "weights that {task} shares with {other}",
    UNITS: "weights that {task} shares with {other}, drawn unit by unit",
}


def published_controls(experiment: str) -> pd.DataFrame:
    """Read the controls of an experiment's published runs (``benchmarks.controls``); ``attrs`` has the draws."""
    about = json.loads((results_folder() / "controls.json").read_text(encoding="utf8"))
    rows = pd.DataFrame(about["rows"])
    rows.attrs["draws"] = about["provenance"][experiment]["draws"]
    return rows[rows["experiment"] == experiment]


def controls_of_operations(rows: pd.DataFrame) -> Markdown:
    """Tabulate addition and multiplication: measured, with random and with the largest weights, over seeds."""
    lines = ["| | these weights | as many at random | the largest | p |", "|---|---:|---:|---:|---:|"]
    for what, text in WHAT.items():
        for task, name in TASKS.items():
            chosen = rows[(rows["what"] == what) & (rows["task"] == task)]
            if chosen.empty:  # measured before there was this comparison
                continue
            other = next(called for called in TASKS.values() if called != name)
            largest = chosen["largest"] if "largest" in chosen else pd.Series(dtype=float)
            cells = [_mean(chosen["observed"]), _mean(chosen["chance"]), _mean(largest), _p(chosen["p"])]
            lines.append(f"| {text.format(task=name, other=other)} | {' | '.join(cells)} |")
    if draws := rows.attrs.get("draws"):
        lines += [
            "",
            f"{draws} draws: p is at least {1 / (draws + 1):.2g}, or twice that for the other task (two-sided).",
        ]
    return Markdown("\n".join(lines))


def controls_of_classes(rows: pd.DataFrame) -> Markdown:
    """Tabulate true-positive rates without a class's weights, and without as many of the reference's at random."""
    lines = ["| class | without its weights | without as many at random | p |", "|---|---:|---:|---:|"]
    for name, chosen in rows.groupby("task", sort=False):
        lines.append(f"| {name} | {_mean(chosen['observed'])} | {_mean(chosen['chance'])} | {_p(chosen['p'])} |")
    return Markdown("\n".join(lines))


def classes_by_network(results: Mapping[str, pd.DataFrame]) -> Markdown:
    """Tabulate the loss of a class in several networks, beside the difference of two masks of all classes.

    Args:
        results: name of the network -> its results, of the same classes in each.
    """
    measured = [
        {
            "recognised before masking": number(outcome(frame, "unmasked", "images")),
            "under the reference mask": number(outcome(frame, "full", "images")),
            "the reference keeps": number(
                by_layer(frame, "full", "kept")["total"] / by_layer(frame, "unmasked", "kept")["total"]
            ),
            "of these go with a class": number(goes_with(frame, removed_classes(frame))),
            "and with none, by noise": number(goes_with(frame, ["again"])),
            "the class falls by": number(pd.Series(own_and_others(frame)[0].mean(1)), "points"),
            "other classes move by": number(others_move(frame), "points"),
            "and by noise": number(between_references(frame), "points"),
        }
        for frame in results.values()
    ]
    lines = [f"| | {' | '.join(results)} |", "|---|" + "---:|" * len(results)]
    lines += [f"| {name} | {' | '.join(column[name] for column in measured)} |" for name in measured[0]]
    return Markdown("\n".join(lines))


def matched_modules(names: Mapping[str, str]) -> Markdown:
    """Tabulate how far modules of networks of different seeds agree, before and after their units are matched.

    Args:
        names: subtasks -> their names.
    """
    about = json.loads((results_folder() / "matching.json").read_text(encoding="utf8"))
    rows = pd.DataFrame(about["rows"])
    heads = ["two networks, units as they are", "by chance", "units matched", "by chance, each unit's number kept"]
    lines = [f"| module | {' | '.join(heads)} | one network, found twice |", "|---|" + "---:|" * (len(heads) + 1)]
    for (_, task), chosen in rows.groupby(["experiment", "task"], sort=False):
        columns = ("before", "chance", "matched", "chance by units", "again")
        lines.append(f"| {names[task]} | {' | '.join(number(chosen[column]) for column in columns)} |")
    return Markdown("\n".join(lines))


def _mean(values: pd.Series) -> str:
    return number(values) if values.notna().any() else ""


def _p(values: pd.Series) -> str:
    """The largest p over seeds, a bound for all of them."""
    return f"{values.max():.2g}"


def samplers(results: pd.DataFrame, milliseconds: Mapping[str, float] | None = None) -> Markdown:
    """Tabulate each sampler's masks: their accuracy, size and stability.

    Args:
        results: of the experiment on samplers.
        milliseconds: a step's, by sampler (:func:`~reproduction.experiments.compare_samplers.step_times`), if measured.
    """
    heads = ["sampler", "+ right, full mask", "× right, full mask", "kept by +", "kept by ×", "+ shares with ×"]
    again = "IoU when trained again, + (by chance)"
    lines = [f"| {' | '.join([*heads, again] + ['ms a step'] * bool(milliseconds))} |"]
    lines.append("|---" + "|---:" * (len(heads) + bool(milliseconds)) + "|")
    of_all = by_layer(results, "unmasked", "kept")["total"]
    for sampler in SAMPLERS:
        stages = {task: stage_of(task, sampler) for task in ("full", *TASKS)}
        cells = [number(outcome(results, stages["full"], task)) for task in TASKS]
        cells += [number(by_layer(results, stages[task], "kept")["total"] / of_all) for task in TASKS]
        cells.append(number(by_layer(results, stages["add"], "sharing")["total"]))
        cells.append(_agreement(results, stages["add"]))
        cells += [f"{milliseconds[sampler]:.1f}"] if milliseconds else []
        lines.append(f"| {sampler} | {' | '.join(cells)} |")
    return Markdown("\n".join(lines))


def _agreement(results: pd.DataFrame, stage: str) -> str:
    """The agreement of two trainings with other noise, over seeds; "trained once" where there was one."""
    chosen = results[results["stage"] == stage]
    found, chance = (chosen[chosen["metric"] == metric]["value"] for metric in ("iou", "iou by chance"))
    return f"{number(found)} ({100 * chance.mean():.1f}%)" if len(found) else "trained once"


def between_samplers(results: pd.DataFrame, task: str = "add") -> str:
    """Say how far the masks of two samplers agree, in a sentence."""
    there = set(results["stage"])
    named = {stage_between(task, a, b): f"{a} and {b}" for a, b in combinations(SAMPLERS, 2)}
    said = [f"{samplers} {_agreement(results, stage)}" for stage, samplers in named.items() if stage in there]
    return f"Between samplers, {TASKS[task]}: {'; '.join(said)}."
