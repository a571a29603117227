"""The answer at a glance: what the figure of all claims and its numbers say is what the verdicts say."""

import numpy as np
import pandas as pd
import pytest

from reproduction.claims import CLAIMS, Verdict
from reproduction.claims.statement import HOLDS, Statement
from reproduction.notebook.views import LAPTOP, PAPER
from reproduction.pages.answer import IN_FULL, IN_PART, NOT_MET, answer_table, found, judged, kind
from reproduction.pages.claims_figure import EDGE, LOOKS, at_a_glance, caption


@pytest.fixture(scope="module")
def published():
    """The verdicts on published results, by view."""
    return judged()


def made(*margins, verdict="single run", unit="points", number=0):
    """A verdict on statements with these margins by seed."""
    statements = [
        Statement("value above 0", pd.Series(one, dtype=float), pd.Series(one, dtype=float), unit) for one in margins
    ]
    seeds = list(range(len(margins[0])))
    return Verdict(CLAIMS[number], verdict, "laptop", statements, {"addmul-fnn": seeds})


def large(figure):
    """Row -> (x, reach, name, symbol) of its large mark."""
    traces = [trace for trace in figure.data if trace.name in LOOKS]
    return {
        row: (x, reach, trace.name, symbol)
        for trace in traces
        for row, x, reach, symbol in zip(trace.y, trace.x, trace.error_x.array, trace.marker.symbol, strict=True)
    }


@pytest.mark.parametrize("view", [PAPER, LAPTOP])
def test_a_row_is_the_claims_least_certain_statement(published, view):
    listed = published[view]
    marks = large(at_a_glance(listed))
    assert set(marks) == {f"claim-{one.claim.id}" for one in listed if one.statements}
    for verdict in (one for one in listed if one.statements):
        x, reach, name, symbol = marks[f"claim-{verdict.claim.id}"]
        assert name == kind(verdict)
        assert x - reach == pytest.approx(100 * min(one.least for one in verdict.statements))
        if verdict.verdict == "reproduced":
            assert x - reach > 0
        if verdict.verdict in ("partly", "undecided", "not reproduced"):
            assert x - reach <= 0
        assert ("open" in symbol) == (verdict.verdict == "single run") == (reach == 0)


def test_rows_are_sorted_and_those_without_results_come_last(published):
    figure = at_a_glance(published[PAPER])
    marks, rows = large(figure), list(figure.layout.yaxis.categoryarray)
    drawn = [marks[row][0] for row in rows if row in marks]
    assert drawn == sorted(drawn, reverse=True) and set(rows[: len(drawn)]) == set(marks)
    labels = {note.y: note.text for note in figure.layout.annotations}
    assert [row for row in rows if "not run" in labels[row]] == rows[len(drawn) :]


def test_every_statement_is_a_mark_with_its_words_and_numbers(published):
    listed = published[LAPTOP]
    details = {tuple(row) for trace in at_a_glance(listed).data for row in trace.customdata}
    assert len(details) == sum(len(verdict.statements) for verdict in listed)
    for verdict in listed:
        for one in verdict.statements:
            [row] = [row for row in details if row[1].replace("<br>", " ") == one.text and row[2] == one.interval]
            assert row[3] == f"{len(one.margins)} runs"


def test_verdicts_differ_in_colour_and_shape():
    solid = [look for word, look in LOOKS.items() if "one run" not in word]
    assert len({colour for colour, _ in solid}) == len({symbol for _, symbol in solid}) == len(solid)
    assert all(LOOKS[kind][1].endswith("-open") for kind in (IN_FULL, IN_PART, NOT_MET))


def test_what_is_beyond_the_edge_or_not_available_points_there():
    far, gone = made([3.0, 3.1], verdict="reproduced"), made([np.nan, 0.1], verdict="not reproduced", number=1)
    marks = large(at_a_glance([far, gone]))
    assert marks["claim-1"][0] == EDGE and marks["claim-1"][3] == "triangle-right"
    assert marks["claim-2"][0] == -EDGE and marks["claim-2"][3] == "triangle-left" and np.isfinite(marks["claim-2"][1])
    assert gone.weakest.interval == "not available"


def test_a_single_run_is_told_by_what_it_meets():
    full, part, none = made([0.1], [0.2]), made([0.1], [-0.2]), made([-0.1], [-0.2])
    assert [kind(one) for one in (full, part, none)] == [IN_FULL, IN_PART, NOT_MET]
    assert found([full, part, part]) == f"1 of 3 claims {IN_FULL}, 2 {IN_PART} (1 run, 1 a claim)."


def test_an_interval_is_written_with_its_unit():
    [one] = made([2.0, 2.1, 2.2], unit="x").statements
    assert one.interval == "2.10x (1.93 to 2.27)" and one.outcome == HOLDS
    assert made([0.5]).weakest.interval == "50.0 points"
    assert made([0.0, 0.0001, 0.0002]).weakest.interval == "0.0 points (0.0 to 0.0)"


def test_the_answer_counts_every_claim_and_run_once(published):
    table = answer_table(published).splitlines()
    assert table[0] == f"| {len(CLAIMS)} claims | paper sizes | laptop sizes |"
    rows = {cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in table[2:])}
    runs = rows.pop("runs")
    for column, listed in enumerate(published.values()):
        assert sum(int(cells[column]) for cells in rows.values()) == len(CLAIMS)
        used = {(name, seed) for one in listed for name, seeds in one.runs.items() for seed in seeds}
        assert runs[column].startswith(f"{len(used)} runs, ")
    assert {"reproduced", "partly", "not reproduced"} <= set(rows)


def test_the_caption_says_the_result_and_how_it_is_read(published):
    laptop, paper = caption(published[LAPTOP]), caption(published[PAPER])
    assert laptop.startswith(found(published[LAPTOP])) and "one-sided 95% bounds" in laptop
    assert "single runs" in paper and "single runs" not in laptop
