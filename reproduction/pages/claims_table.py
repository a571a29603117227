"""The table of all claims: the paper's report, our measurement, its chapter, and the command to repeat it."""

from __future__ import annotations

import html

from modules_lib.analysis.theme import count
from reproduction.claims import VERDICTS, Verdict
from reproduction.claims.paper import PASSAGES
from reproduction.notebook.tables import LEFT, statements_list
from reproduction.pages.chapters import chapters
from reproduction.pages.commands import verdict_commands

# Heading -> how a page sorts the column, if it can.
COLUMNS = {
    "#": "number",
    "claim": "text",
    "the paper reports": "",
    "measured here": "number",
    "verdict": "number",
    "chapter": "number",
    "to repeat": "",
}
AT_A_GLANCE = 4  # numbers that are shown before a reader asks for all


class ClaimsTable:
    """Every claim's verdicts in one row; pages sort and filter the rows where scripts run.

    Args:
        first: the verdicts that are always shown.
        others: of other scales, each shown where something was run.
    """

    def __init__(self, first: list[Verdict], *others: list[Verdict]):
        self.rows = [
            [verdict, *(v for v in more if v.statements)] for verdict, *more in zip(first, *others, strict=True)
        ]
        self.chapters = {chapter.name: (i, chapter.title) for i, chapter in enumerate(chapters())}

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": self.text(), "text/html": self.html()}

    def text(self) -> str:
        lines = []
        for verdicts in self.rows:
            claim = verdicts[0].claim
            lines.append(f"{claim.id:>2}  {claim.claim} ({claim.paper}); {PASSAGES[claim.id].reports}")
            for verdict in verdicts:
                lines.append(f"      {verdict.verdict}: {verdict.holding}")
                lines += [f"        $ {command}" for command in verdict_commands(verdict)]
        return "\n".join(lines)

    def html(self) -> str:
        head = "".join(
            f'<th {LEFT} scope="col"{f" data-sort={kind}" if kind else ""}>{title}</th>'
            for title, kind in COLUMNS.items()
        )
        body = "".join(map(self._row, self.rows))
        return f'<table class="verdicts claims"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'

    def _row(self, verdicts: list[Verdict]) -> str:
        claim, passage = verdicts[0].claim, PASSAGES[verdicts[0].claim.id]
        place, chapter = self._chapter(passage.section)
        cells = [
            (claim.id, str(claim.id)),
            (claim.claim, f"{html.escape(claim.claim)} <small>({html.escape(claim.paper)})</small>"),
            ("", html.escape(passage.reports)),
            (_share_holding(verdicts[0]), "".join(map(_measured, verdicts))),
            (VERDICTS.index(verdicts[0].verdict), "".join(map(_badge, verdicts))),
            (place, chapter),
            ("", _commands([command for verdict in verdicts for command in verdict_commands(verdict)])),
        ]
        row = "".join(
            f'<td {LEFT} data-label="{title}"{f" data-value={_quoted(value)}" if COLUMNS[title] else ""}>{cell}</td>'
            for title, (value, cell) in zip(COLUMNS, cells, strict=True)
        )
        said = "|".join(verdict.verdict for verdict in verdicts)
        return f'<tr class="claim" id="claim-{claim.id}" data-verdicts="{said}">{row}</tr>'

    def _chapter(self, section: str) -> tuple[int, str]:
        """A chapter's place in the book, and a link to its section; links are to notebooks, as everywhere."""
        name, _, heading = section.partition("#")
        if name not in self.chapters:
            return len(self.chapters), "still to come"
        place, title = self.chapters[name]
        address = f"{name}.ipynb#{heading}" if heading else f"{name}.ipynb"
        return place, f'<a href="{html.escape(address)}">{html.escape(title)}</a>'


def _share_holding(verdict: Verdict) -> str:
    return f"{sum(s.holds for s in verdict.statements) / max(1, len(verdict.statements)):.3f}"


def _measured(verdict: Verdict) -> str:
    """A verdict in short, and all its statements for a reader who opens the list."""
    if not verdict.statements:
        return verdict.holding
    shown = "".join(f"<span>{s.mark} {s.measured}</span>" for s in verdict.statements[:AT_A_GLANCE])
    left = len(verdict.statements) - AT_A_GLANCE
    shown += f"<span>and {left} more</span>" if left > 0 else ""
    glance = f'<span class="glance">{shown}</span>'
    return f"<details><summary>{verdict.holding}{glance}</summary>{statements_list(verdict)}</details>"


def _badge(verdict: Verdict) -> str:
    scale = f"<small>{verdict.scale} scale</small>" if verdict.statements else ""
    return f'<div><span class="verdict-{verdict.verdict.replace(" ", "-")}">{verdict.verdict}</span> {scale}</div>'


def _commands(commands: list[str]) -> str:
    if not commands:
        return "–"
    code = "\n".join(map(html.escape, commands))
    return f"<details><summary>{count(len(commands), 'command')}</summary><pre>{code}</pre></details>"


def _quoted(value: object) -> str:
    return f'"{html.escape(str(value))}"'
