"""Making runs: those that are stored are loaded, the others are trained, several at once, with progress.

A run that fails is left out, and all others are made.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence

from modules_lib.support.checks import check_count
from reproduction.protocol.config import Config
from reproduction.runs import store as runs
from reproduction.runs.pool import Job, Training
from reproduction.runs.store import Run
from reproduction.runs.worker import gpus


class FailedRunsError(RuntimeError):
    """Some runs could not be made; all others were.

    Attributes:
        reasons: (config, seed) of each run that is missing -> why.
    """

    def __init__(self, reasons: dict[tuple[Config, int], str]):
        self.reasons = reasons
        super().__init__("\n".join(self.sentences()))

    def sentences(self) -> list[str]:
        """Say which runs failed and why, in one sentence for all that failed for the same reason."""
        names: dict[str, list[str]] = {}
        for (config, seed), reason in self.reasons.items():
            names.setdefault(reason, []).append(f"{config.experiment} seed {seed}")
        return [f"{', '.join(failed)} failed: {reason}" for reason, failed in names.items()]


def execute(
    configs: Config | Sequence[Config], seeds: int | Iterable[int] = 1, at_once: int | None = None
) -> list[Run]:
    """Make or load the runs of every config and seed: trained where they are not in the store yet or damaged there.

    Weights come first, then each stage's masks, beside one another where there are cores. Every part is made by one
    thread, so that its result does not depend on what else is running. Where there are GPUs, a part has one of them.

    Args:
        configs: one config or several.
        seeds: that many, counted from 0, or the seeds themselves.
        at_once: how many parts; by default one a core, or one a GPU; more share a GPU, if its memory is enough.

    Returns:
        The finished runs: all configs of the first seed, then those of the next.

    Raises:
        ValueError: at_once or seeds is not a whole number of at least 1 or, as seeds themselves, of at least 0; or runs
            cannot be stored.
        FailedRunsError: runs failed, after all others were made; checkpoints are kept.
    """
    configs = [configs] if isinstance(configs, Config) else list(configs)
    return execute_each([(config, seed) for seed in chosen_seeds(seeds) for config in configs], at_once)


def execute_each(jobs: Sequence[tuple[Config, int]], at_once: int | None = None) -> list[Run]:
    """Make or load one run for each pair of a config and a seed, as :func:`execute` does."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "The processes that train import your script anew, and it would start them again: put what it does under "
            '`if __name__ == "__main__":`.'
        )
    for job in jobs:
        if runs.find(*job):
            runs.set_aside_if_damaged(*job)
    missing = [Job(*job) for job in jobs if runs.find(*job) is None]
    if missing:
        runs.check_writable()
        Training(missing, _default_at_once() if at_once is None else check_count("at_once", at_once)).to_the_end()
    reasons = {(job.config, job.seed): job.failed for job in missing if job.failed}
    if reasons:
        raise FailedRunsError(reasons)
    return [Run(runs.folder_of(config, seed)) for config, seed in jobs]


def chosen_seeds(seeds: int | Iterable[int]) -> list[int]:
    """List seeds: that many, counted from 0, or those that are given.

    Raises:
        ValueError: it is not a whole number of at least 1 or, as seeds themselves, of at least 0.
    """
    if isinstance(seeds, Iterable) and not isinstance(seeds, str):
        chosen = [check_count("a seed", seed, least=0) for seed in seeds]
        if not chosen:
            raise ValueError("seeds is empty; name at least one seed, or say how many.")
        return chosen
    return list(range(check_count("seeds", seeds)))


def _default_at_once() -> int:
    """One a GPU, or one a core that this process may use."""
    if there := gpus():
        return len(there)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
