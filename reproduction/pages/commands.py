"""The commands that make published runs again, as one types them."""

from __future__ import annotations

from collections.abc import Sequence

from reproduction.claims import Verdict
from reproduction.experiments import nearest_scale, published_preset
from reproduction.protocol.config import Config


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


def _seeds(seeds: list[int]) -> str:
    counted = seeds == list(range(len(seeds)))
    return f"--seeds {len(seeds)}" if counted else f"--seed {' '.join(map(str, seeds))}"


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
