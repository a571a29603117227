"""Prose with numbers, and tables, for chapters."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown, display

from modules_lib.training.alpha_search import Choice
from reproduction.claims import Verdict, report, verdicts
from reproduction.experiments import EXPERIMENTS, preset, published_preset
from reproduction.protocol.config import Config
from reproduction.runs.measures import TASKS, number
from reproduction.runs.published import published, results_folder

LEFT = 'style="text-align: left"'  # JupyterLab would align tables right


def say(text: str) -> None:
    """Show a sentence of prose whose numbers come from results."""
    display(Markdown(text))


class VerdictTable:
    """Verdicts as a table: with badges in a page, in plain text elsewhere.

    Args:
        verdicts: in the order to show.
        details: also list every statement that was tested.
    """

    def __init__(self, verdicts: list[Verdict], details: bool = False):
        self.verdicts, self.details = verdicts, details

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": report(self.verdicts, self.details), "text/html": self.html()}

    def html(self) -> str:
        rows = "".join(self._row(verdict) for verdict in self.verdicts)
        head = "".join(f"<th {LEFT}>{title}</th>" for title in ("#", "claim of the paper", "verdict", "measured here"))
        return f'<table class="verdicts"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'

    def _row(self, verdict: Verdict) -> str:
        claim = f"{html.escape(verdict.claim.claim)} <small>({html.escape(verdict.claim.paper)})</small>"
        cells = "".join(
            f"<td {LEFT}>{cell}</td>" for cell in (verdict.claim.id, claim, badge(verdict), verdict.holding)
        )
        return f'<tr class="claim">{cells}</tr>' + (_statements(verdict) if self.details else "")


def badge(verdict: Verdict) -> str:
    """Write a verdict's word as HTML that pages give its colour and sign."""
    return f'<span class="verdict-{verdict.verdict.replace(" ", "-")}">{verdict.verdict}</span>'


def statements_list(verdict: Verdict) -> str:
    """List a verdict's statements as HTML, each with its sign and what was measured."""
    items = (f"<li>{s.mark} {html.escape(s.text)}: <strong>{s.measured}</strong></li>" for s in verdict.statements)
    return f"<ul>{''.join(items)}</ul>"


def _statements(verdict: Verdict) -> str:
    return f'<tr class="statements"><td></td><td colspan="3" {LEFT}>{statements_list(verdict)}</td></tr>'


def at_paper_scale(*claims: int) -> VerdictTable | Markdown:
    """Show verdicts on the numbered claims that have published runs of the paper's sizes and steps.

    Where these runs differ from the scale's present preset, a sentence names the choices, and a second table has the
    claims that runs of the preset decide by themselves.
    """
    judged = [verdict for verdict in verdicts("paper", *claims) if verdict.statements]
    if not judged:
        return Markdown("None of this was run at the paper's sizes yet.")
    needed = {name for verdict in judged for name in verdict.claim.experiments}
    results = {name: published(preset(name, "paper")) for name in EXPERIMENTS if name in needed}
    now = [verdict for verdict in verdicts("paper", *claims, results=results) if verdict.statements]
    names = {name for verdict in judged for name in verdict.runs}
    earlier = {f"`{setting}` {value}" for name in names for setting, value in _earlier(name).items()}
    table = VerdictTable(judged, details=True)
    if not earlier:
        return table
    say(
        "These runs were made before the released code decided where the paper is silent "
        f"({', '.join(sorted(earlier))})" + ("." if now else "; none with its choices is published yet.")
    )
    if not now:
        return table
    display(table)
    say("Claims that can be judged by runs with its choices:")
    return VerdictTable(now, details=True)


def _earlier(experiment: str) -> dict[str, Any]:
    """The choices in which published runs at the paper's scale differ from its preset."""
    now = preset(experiment, "paper").fields()
    then = published_preset(experiment, "paper").fields()
    return {name: value for name, value in then.items() if value != now[name]}


def paper_runs(experiments: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Read published results at the paper's sizes and steps, by name, of those experiments that have any."""
    return published_results(experiments, "paper")


def present_runs(experiments: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Read published results of the paper scale's present preset, by name, where :func:`paper_runs` has others."""
    results = {
        name: published(preset(experiment, "paper")) for name, experiment in experiments.items() if _earlier(experiment)
    }
    return {name: frame for name, frame in results.items() if not frame.empty}


def published_results(experiments: Mapping[str, str], scale: str) -> dict[str, pd.DataFrame]:
    """Read published results at a scale, by name, of those experiments that have any."""
    results = {name: published(published_preset(experiment, scale)) for name, experiment in experiments.items()}
    return {name: frame for name, frame in results.items() if not frame.empty}


def settings_table(ours: dict[str, Config], papers: dict[str, Config]) -> Markdown:
    """Tabulate the settings in which our configs differ from the paper's, by network."""
    rows = [
        f"| {name} | `{field}` | {_setting(papers[name].fields()[field])} | {_setting(value)} |"
        for name, config in ours.items()
        for field, value in config.fields().items()
        if value != papers[name].fields()[field]
    ]
    head = ["| network | setting | paper | here |", "|---|---|---|---|"]
    return Markdown("\n".join(head + rows) if rows else "Every setting is the paper's.")


def alpha_beside_papers(ours: Config, papers: Config) -> Markdown:
    """Say how much higher our price of a weight is than the paper's where beta is the same and batches are smaller."""
    times = f"{ours.alpha / papers.alpha:g}"
    return Markdown(
        f"Beta is the paper's, but alpha = beta / batch is {times} times the paper's, since batches are smaller."
    )


def choice_table(choice: Choice) -> Markdown:
    """Tabulate the alphas that :func:`~modules_lib.training.alpha_search.choose_alpha` tried, and their outcomes."""
    lines = ["| alpha | accuracy | kept | steps | |", "|---|---:|---:|---:|---|"]
    for row in choice.curve.itertuples():
        said = "**chosen**" if row.alpha == choice.alpha else "holds" if row.holds else "fails"
        lines.append(f"| {row.alpha:.1e} | {row.accuracy:.1%} | {row.kept:.1%} | {row.steps} | {said} |")
    return Markdown("\n".join(lines))


def agreement_table() -> Markdown:
    """Tabulate how many weights plain, float32 and bfloat16 training keep and share (``results/agreement.json``)."""
    rows = pd.DataFrame(_measured("agreement.json")["rows"])
    engines = {"plain": "plain step", "float32": "float32", "bfloat16": "bfloat16"}
    lines = [f"| | {' | '.join(engines.values())} |", "|---" * (len(engines) + 1) + "|"]
    for (metric, stage), frame in rows.groupby(["metric", "stage"], sort=False):
        cells = (number(frame[frame["engine"] == engine]["value"]) for engine in engines)
        lines.append(f"| {metric}, {TASKS[stage]} | {' | '.join(cells)} |")
    return Markdown("\n".join([*lines, "", f"{rows['seed'].nunique()} seeds."]))


def bench_table() -> Markdown:
    """Tabulate the times of a step of mask training, from ``results/bench.json``."""
    bench = _measured("bench.json")
    heads = ("network", "products", "plain [ms]", "ours [ms]", "ratio", "unmasked [ms]", "floor [ms]", "peak [MB]")
    lines = [f"| {' | '.join(heads)} |", "|---|---" + "|---:" * (len(heads) - 2) + "|"]
    for row in bench["rows"]:
        times = (f"{row[f'{kind}_ms']:.1f}" for kind in ("plain", "fast"))
        more = (f"{row[f'{kind}_ms']:.1f}" for kind in ("unmasked", "floor"))
        cells = [row["model"], row["precision"], *times, f"{row['ratio']:.1f}", *more, f"{row['peak_mb']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    machine = bench["machine"]
    return Markdown("\n".join([*lines, "", f"Medians; {machine['hardware']}, {machine['threads']} threads."]))


def stage_table(experiment: str, scale: str) -> Markdown:
    """Tabulate the cost of a step along a whole stage, which ``python -m benchmarks.stage`` has measured.

    Args:
        experiment, scale: of the network that was masked.
    """
    about = _measured(f"stage-{experiment}-{scale}.json")
    rows = pd.DataFrame(about["rows"])
    kinds = [kind for kind in ("masked", "unmasked", "plain") if f"{kind}_ms" in rows]
    heads = ("up to step", "weights that take part", *(f"{kind} step [ms]" for kind in kinds))
    lines = [f"| {' | '.join(heads)} |", "|---:" * len(heads) + "|"]
    for _, row in rows[rows.index.isin([0, 1, 2, 3, 5, 9, 14, 19])].iterrows():
        times = " | ".join(f"{row[f'{kind}_ms']:.1f}" for kind in kinds)
        lines.append(f"| {row['steps']:,.0f} | {row['left']:.1%} | {times} |")
    means, machine = {kind: rows[f"{kind}_ms"].mean() for kind in kinds}, about["machine"]
    said = f"Over the whole stage, a masked step takes {means['masked']:.1f} ms"
    said += f", {means['masked'] / means['unmasked']:.2f} times an unmasked one."
    if "plain" in means:
        plain, masked = (means[kind] * rows["steps"].max() / 1e3 for kind in ("plain", "masked"))
        said += f" The stage takes {masked:.0f} s, and would take {plain:.0f} s with plain steps, "
        said += f"{plain / masked:.1f} times as long."
    return Markdown("\n".join([*lines, "", f"{said} {machine['hardware']}, {machine['threads']} threads."]))


def _measured(name: str) -> dict[str, Any]:
    return json.loads((results_folder() / name).read_text(encoding="utf8"))


def _setting(value: object) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else f"{value}"
    )
