"""The table of all claims: a line each, which opens to statements, the paper's report and commands to repeat."""

from __future__ import annotations

import html

from reproduction.claims import VERDICTS, Claim, Verdict
from reproduction.claims.paper import PASSAGES
from reproduction.notebook.commands import verdict_commands
from reproduction.notebook.tables import LEFT, badge, statements_list
from reproduction.pages.answer import Judged
from reproduction.pages.chapters import chapters


class ClaimsTable:
    """A row a claim, with a column a scale; pages sort and filter the rows where scripts run.

    Args:
        judged: the verdicts on the same claims at each scale, by the heading of its column.
    """

    def __init__(self, judged: Judged):
        self.headings = list(judged)
        self.rows = [dict(zip(judged, verdicts, strict=True)) for verdicts in zip(*judged.values(), strict=True)]
        self.titles = {chapter.name: chapter.title for chapter in chapters()}

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": self.text(), "text/html": self.html()}

    def text(self) -> str:
        lines = []
        for row in self.rows:
            claim = next(iter(row.values())).claim
            lines.append(f"{claim.id:>2}  {claim.claim} ({claim.paper}); {PASSAGES[claim.id].reports}")
            for heading, verdict in row.items():
                lines.append(f"      {heading}: {verdict.verdict}; {verdict.holding}")
                lines += [f"        $ {command}" for command in verdict_commands(verdict)]
        return "\n".join(lines)

    def html(self) -> str:
        kinds = {"#": "number", "claim": "text", **dict.fromkeys(self.headings, "number")}
        head = "".join(f'<th {LEFT} scope="col" data-sort={kind}>{title}</th>' for title, kind in kinds.items())
        body = "".join(map(self._row, self.rows))
        return f'<table class="verdicts claims"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'

    def _row(self, row: dict[str, Verdict]) -> str:
        claim = next(iter(row.values())).claim
        short, more = html.escape(PASSAGES[claim.id].short), self._more(claim, row)
        cells = [
            (str(claim.id), "", str(claim.id)),
            (short, "", f"<details><summary>{short}</summary>{more}</details>"),
            *((_order(verdict), f' data-label="{heading}"', _in_short(verdict)) for heading, verdict in row.items()),
        ]
        said = "|".join(dict.fromkeys(verdict.verdict for verdict in row.values()))
        inside = "".join(f'<td {LEFT} data-value="{value}"{label}>{cell}</td>' for value, label, cell in cells)
        return f'<tr class="claim" id="claim-{claim.id}" data-verdicts="{said}">{inside}</tr>'

    def _more(self, claim: Claim, row: dict[str, Verdict]) -> str:
        """What a row opens to: the claim, the paper's report, and at each scale statements and commands."""
        passage = PASSAGES[claim.id]
        parts = [
            f"<p>{html.escape(claim.claim)} <small>({html.escape(claim.paper)})</small></p>",
            f"<p>The paper reports: {html.escape(passage.reports)}. Here: {self._chapter(passage.section)}.</p>",
        ]
        for heading, verdict in row.items():
            parts.append(f"<p><strong>{heading}</strong>: {verdict.verdict}; {verdict.holding}</p>")
            if verdict.statements:
                commands = "\n".join(map(html.escape, verdict_commands(verdict)))
                parts.append(f"{statements_list(verdict)}<pre>{commands}</pre>")
        return "".join(parts)

    def _chapter(self, section: str) -> str:
        """A link to a chapter's section; links are to notebooks, as everywhere."""
        name, _, heading = section.partition("#")
        address = f"{name}.ipynb#{heading}" if heading else f"{name}.ipynb"
        return f'<a href="{html.escape(address)}">{html.escape(self.titles[name])}</a>'


def _order(verdict: Verdict) -> str:
    """The place of a verdict among all, those with fewer statements that hold later."""
    holding = sum(statement.holds for statement in verdict.statements) / max(1, len(verdict.statements))
    return f"{VERDICTS.index(verdict.verdict) - holding / 2:.3f}"


def _in_short(verdict: Verdict) -> str:
    """The verdict, and the least certain statement's sign and number with its bounds."""
    if not verdict.statements:
        return badge(verdict)
    said, number = html.escape(verdict.weakest.text), f"{verdict.weakest.mark} {verdict.weakest.interval}"
    return f'{badge(verdict)} <span class="key" title="{said}">{number}</span>'
