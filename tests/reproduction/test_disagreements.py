"""The reproducibility page on what contradicts the paper, and on the hours that the published runs took."""

from reproduction.claims import CLAIMS, verdicts
from reproduction.pages.disagreements import REASONS, disagreements, failing
from reproduction.pages.provenance_tables import computing_time, published
from reproduction.runs.tables import settings


def test_every_disagreement_of_several_seeds_has_its_reasons_and_none_is_stale():
    found = {v.claim.id for scale in ("paper", "laptop") for v in verdicts(scale) if failing(v)}
    assert found == set(REASONS)
    text = disagreements().data
    for number in found:
        assert f"**{number}. {CLAIMS[number - 1].claim}**" in text and REASONS[number] in text
    [first] = failing(verdicts("laptop", min(found))[0])[:1]
    assert f"- {first.text}: {first.measured} at laptop scale (n = {len(first.values)})" in text


def test_hours_are_summed_by_experiment_processor_and_scale():
    rows = [line.split(" | ") for line in computing_time().data.splitlines()[2:-1]]
    runs = [run for runs in published() for run in runs if run.experiment == "reuse"]
    hours = sum(run.provenance()["seconds"] for run in runs if "laptop" in settings(run.config())) / 3600
    [own] = [row for row in rows if row[0] == "| `reuse`"]
    assert own[1] == runs[0].provenance()["hardware"] and own[2] == f"{hours:.1f}" and own[3] == "0.0 |"
