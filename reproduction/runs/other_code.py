"""Published numbers beside those of another program, such as the paper's own code, that a reader gives in a file."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from reproduction.runs.measures import number

PLACE = ["stage", "layer", "task", "metric"]  # what a number is of
MEASURED = ("kept", "sharing", "correct", "add", "mul", "none")
LEVEL = 0.05


def quantities(results: pd.DataFrame) -> pd.DataFrame:
    """Collect the proportions that another program can give, too: PLACE, seed and value.

    Kept weights become proportions of those of the layer; curves and histograms are left out.
    """
    plain = results[["step", "bin", "length", "predicted"]].isna().all(axis=1)
    chosen = results[plain & results["metric"].isin(MEASURED)].astype({"stage": str, "metric": str})
    chosen = chosen[[*PLACE, "seed", "value"]].astype(dict.fromkeys(PLACE, "str")).fillna({"layer": "", "task": ""})
    kept = chosen["metric"] == "kept"
    sizes = chosen[kept & (chosen["stage"] == "unmasked")].groupby("layer")["value"].first()
    chosen.loc[kept, "value"] /= chosen.loc[kept, "layer"].map(sizes)
    return chosen[~(kept & (chosen["stage"] == "unmasked"))]


def read(path: Path) -> pd.DataFrame:
    """Read a reader's file: CSV with the columns of PLACE and value, and seed where there is more than one run.

    Raises:
        ValueError: a column is missing, a value is none or not a proportion.
    """
    given = pd.read_csv(path, dtype={name: str for name in PLACE}, keep_default_na=False, na_values={"value": [""]})
    if missing := [name for name in (*PLACE, "value") if name not in given]:
        raise ValueError(f"{path} has no column {missing[0]!r}; `compare NAME` alone prints the columns.")
    given = given.dropna(subset="value")
    values = pd.to_numeric(given["value"], errors="coerce")
    if len(wrong := given[~values.between(0, 1)]):
        raise ValueError(f"{path} has the value {wrong['value'].iloc[0]}; each must be a proportion, from 0 to 1.")
    return given.assign(value=values, seed=given.get("seed", 0))


def beside(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Set both programs' numbers side by side: PLACE, ours and theirs with their deviations, and a p value.

    p is that of Welch's t test of equal means; of one number of theirs, that it is from the distribution of ours. It is
    missing where there is one of ours.

    Args:
        ours, theirs: as from :func:`quantities` and :func:`read`.

    Raises:
        ValueError: they have no number in common.
    """
    rows = []
    for place, there in theirs.groupby(PLACE, sort=False):
        here = ours[(ours[PLACE] == list(place)).all(axis=1)]
        if len(here):
            texts = {"ours": number(here["value"]), "theirs": number(there["value"])}
            rows.append({**dict(zip(PLACE, place, strict=True)), **texts, "p": _p(here["value"], there["value"])})
    if not rows:
        raise ValueError("No number given is of a stage, layer, task and metric that is measured here.")
    return pd.DataFrame(rows)


def _p(ours: pd.Series, theirs: pd.Series) -> float:
    from scipy import stats  # takes a second, which no other command should wait for

    n, m = len(ours), len(theirs)
    if n < 2:
        return math.nan
    if m > 1 and ours.std() + theirs.std() > 0:
        return float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
    distance, error = abs(ours.mean() - theirs.mean()), ours.std() * math.sqrt(1 / n + 1 / m)
    return float(2 * stats.t.sf(distance / error, n - 1)) if error else float(distance == 0)


def report(table: pd.DataFrame) -> str:
    """Write the comparison as text, with the number of differences at the 5% level and of those by chance."""
    judged = table["p"].notna()
    differ = int((table["p"] < LEVEL).sum())
    end = f"{differ} of {judged.sum()} differ at the 5% level; by chance alone about {LEVEL * judged.sum():.0f} would."
    shown = table.assign(p=[f"{p:.2g}" if not math.isnan(p) else "one run" for p in table["p"]])
    return f"{shown.to_string(index=False)}\n\n{end}"


def template(ours: pd.DataFrame) -> str:
    """Write the rows that a reader can fill in, as CSV."""
    rows = ours[PLACE].drop_duplicates().assign(seed=0, value="")
    return rows.to_csv(index=False)
