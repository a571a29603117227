"""The commands that make published runs again, as one types them."""

from __future__ import annotations

from collections.abc import Sequence

from reproduction.claims import Verdict
from reproduction.experiments import nearest_scale, published_preset, read_config
from reproduction.figures.names import Results
from reproduction.protocol.config import Config
from reproduction.runs.published import results_folder
from reproduction.runs.store import Run, runs_folder, stored


def run_command(config: Config, seeds: Sequence[int]) -> str:
    """Write the command that makes the runs of exactly this config with these seeds."""
    scale, changes = nearest_scale(config)
    words = ["python -m reproduction run", config.experiment]
    if scale != "laptop":  # which is the default
        words.append(f"--scale {scale}")
    words.append(_seeds(sorted(seeds)))
    words += [f"--{name.replace('_', '-')} {_value(value)}" for name, value in changes.items()]
    return " ".join(words)


def verdict_commands(verdict: Verdict) -> list[str]:
    """List the commands that make the runs from which a verdict on published results was computed."""
    return [run_command(published_preset(name, verdict.scale), seeds) for name, seeds in verdict.runs.items()]


def all_verdict_commands(verdicts: Sequence[Verdict]) -> list[str]:
    """List the commands that make the runs of several verdicts, each once."""
    return list(dict.fromkeys(command for verdict in verdicts for command in verdict_commands(verdict)))


def commands_of(*results: Results) -> list[str]:
    """List the commands that make the runs that these measurements are of, each once.

    Args:
        results: published measurements, or those of a chapter's own runs, by name.
    """
    made: dict[str, list[int]] = {}
    for frame in (frame for named in results for frame in named.values()):
        for row in frame[["experiment", "config", "seed"]].drop_duplicates().itertuples(index=False):
            made.setdefault(f"{row.experiment}/{row.config}", []).append(int(row.seed))
    return [run_command(read_config(_run(place).config()), sorted(set(seeds))) for place, seeds in made.items()]


def _run(place: str) -> Run:
    """A run of this ``EXPERIMENT/HASH``, published or one's own: all have the same config."""
    return next(iter(stored(results_folder(), place) or stored(runs_folder(), place)))


def _seeds(seeds: list[int]) -> str:
    counted = seeds == list(range(len(seeds)))
    return f"--seeds {len(seeds)}" if counted else f"--seed {' '.join(map(str, seeds))}"


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
