"""The paper's statements that five or more seeds contradict: measurements, causes ruled out, causes left."""

from __future__ import annotations

from IPython.display import Markdown

from reproduction.claims import Verdict, verdicts
from reproduction.claims.statement import FAILS, Statement

ENOUGH_TO_DISAGREE = 5  # seeds, from which on a failing statement is a disagreement and not a hint

# Claim -> what was ruled out as a cause, and what is left. No numbers: those come from results.
REASONS = {
    2: "Ruled out for the FNN: all choices of the table above, each varied alone in the paper's smallest "
    "network. Multiplication keeps more weights under each, and first weights move the ratio most. Left: the "
    "networks' size and the length of training, which were not varied alone.",
    3: "Not ruled out but found to matter: first weights. With the released code's, the mask of multiplication "
    "gives the product less often than with Xavier's (table above), and laptop runs already have Xavier's. "
    "Left: the networks' size and the length of training.",
    6: "A common adder is an unlikely reason, since the LSTM's pairs share little. Left: an LSTM of half the paper's "
    "units, two instead of three steps a pair, and shorter training of weights and masks.",
    9: "Ruled out: that all tokens lose alike; JUMP loses a larger part than any other. Left at laptop scale: "
    "size, batch and the length of training. The one run at the paper's sizes removes a smaller "
    "part still, so these are hardly the whole cause. The part is of those weights of JUMP that any split needs; "
    "the paper does not say which weights its figure counts.",
    12: "Ruled out: an error of the sampler that would show everywhere; the two-addition FNN is on the paper's "
    "side. Left: the number of mask steps, of which laptop scale has a small part. [Masks were still "
    "shrinking](alpha.ipynb) when their training ended.",
    13: "Ruled out: a difference between network sizes; both behave alike, so beta does transfer. Left: the short "
    "mask training of laptop scale, in which a small beta has not removed what it would. Figure 7 has no runs "
    "at the paper's sizes yet.",
    14: "Nothing was ruled out. Left: laptop sizes, which lie closer together than the paper's; in the run "
    "at the paper's sizes the order is the paper's.",
    20: "Ruled out: multiplication alone as the cause; two additions lose, too. Left: probabilities that are not "
    "yet at 0 or 1, as under claim 12. Longer training of masks might move them there.",
    21: "Not ruled out: some reuse in this network. The [positive control](reuse.ipynb) is of FNNs. Left: short "
    "training of masks in an LSTM of half the paper's units, and chance, which rises with the weights that "
    "masks keep.",
}


def failing(verdict: Verdict) -> list[Statement]:
    """Select a verdict's statements that at least five seeds contradict."""
    return [s for s in verdict.statements if s.outcome == FAILS and len(s.values) >= ENOUGH_TO_DISAGREE]


def disagreements(scales: tuple[str, ...] = ("paper", "laptop")) -> Markdown:
    """Write a paragraph for every claim with such a statement: at the first scale that has one, beside the others."""
    paragraphs = []
    for of_claim in zip(*(verdicts(scale) for scale in scales), strict=True):
        verdict = next((v for v in of_claim if failing(v)), None)
        if verdict is None:
            continue
        others = [(other, s) for other in of_claim if other is not verdict for s in other.statements]
        lines = [f"**{verdict.claim.id}. {verdict.claim.claim}** ({verdict.claim.paper})", ""]
        for statement in failing(verdict):
            beside = [_measured(other, s) for other, s in others if s.text == statement.text]
            lines.append(f"- {statement.text}: {'; '.join([_measured(verdict, statement), *beside])}")
        paragraphs.append("\n".join([*lines, "", REASONS[verdict.claim.id]]))
    return Markdown("\n\n".join(paragraphs))


def _measured(verdict: Verdict, statement: Statement) -> str:
    return f"{statement.measured} at {verdict.scale} scale (n = {len(statement.values)})"
