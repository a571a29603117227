"""A chapter's own runs, beside the published results: made, loaded, or, where one is missing, told why in a sentence.

The environment variable ``MODULES_TRAIN`` says which missing runs are made: "missing" (the default)
makes them, "untried" only those that did not fail when they were last tried, "never" none.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from IPython.display import display

from modules_lib.support.checks import check_choice
from reproduction.claims import verdicts
from reproduction.experiments import scale_of
from reproduction.notebook.tables import VerdictTable
from reproduction.protocol.config import Config
from reproduction.runs import store as runs
from reproduction.runs.execute import FailedRunsError, chosen_seeds, execute_each
from reproduction.runs.published import table
from reproduction.runs.store import Run

TRAIN = ("missing", "untried", "never")
NO_RUN = "No run of your own is shown, since nothing was trained for this page: `make book` trains one."


def own_runs(
    configs: Mapping[str, Config], seeds: int | Iterable[int] = 1
) -> tuple[dict[str, list[Run]], dict[str, pd.DataFrame]]:
    """Make the runs of a chapter, or load them; show a sentence for what is missing.

    Args:
        configs: name -> the config of its runs.
        seeds: that many, counted from 0, or the seeds themselves.

    Returns:
        name -> its runs, in the order of the seeds, an empty list where all are missing; and name -> their measurements
        (:func:`~reproduction.runs.published.table`), without the names that have no run.

    Raises:
        ValueError: MODULES_TRAIN or the seeds are not allowed, or runs cannot be stored.
    """
    wanted = check_choice("value of MODULES_TRAIN", os.environ.get("MODULES_TRAIN") or "missing", TRAIN)
    numbers = chosen_seeds(seeds)
    jobs = [(config, seed) for config in configs.values() for seed in numbers]
    reasons = {job: runs.failure(*job) for job in jobs} if wanted == "untried" else {}
    to_make = [] if wanted == "never" else [job for job in jobs if not reasons.get(job)]
    try:
        execute_each(to_make)
    except FailedRunsError as error:
        reasons |= error.reasons
    found = {name: [run for seed in numbers if (run := runs.find(config, seed))] for name, config in configs.items()}
    failed = FailedRunsError({job: reason for job, reason in reasons.items() if reason})
    if failed.reasons:
        for sentence in failed.sentences():
            notice(sentence, missing=True)
    elif not all(found.values()):
        notice(NO_RUN)
    return found, {name: table(made, configs[name].experiment) for name, made in found.items() if made}


def notice(sentence: str, missing: bool = False) -> None:
    """Show a sentence in the place of a run, or of what is drawn from it.

    Args:
        sentence: what is missing and what to do.
        missing: something has failed; the book then ends with this sentence and makes the chapter again next time.
    """
    bundle, metadata = notice_output(sentence, missing)
    display(bundle, raw=True, metadata=metadata)


def notice_output(sentence: str, missing: bool = False) -> tuple[dict[str, str], dict[str, Any]]:
    """Make the MIME types and the metadata of the output that :func:`notice` shows."""
    text = html.escape(sentence)
    for i in range(sentence.count("`") // 2 * 2):
        text = text.replace("`", ("<code>", "</code>")[i % 2], 1)
    page = f'<div class="admonition note"><p class="admonition-title">Missing here</p><p>{text}</p></div>'
    return {"text/plain": sentence, "text/html": page}, {"missing": sentence} if missing else {}


def own_verdicts(run: dict[str, pd.DataFrame], config: Config, *claims: int) -> VerdictTable | None:
    """Judge claims, by number, from a chapter's own runs.

    Args:
        run: experiment -> results; where there are none, None is returned.
        config: of the runs, whose scale is named.
        claims: their numbers.
    """
    return VerdictTable(verdicts(scale_of(config), *claims, results=run), details=True) if run else None
