"""Figures in chapters: with a name to link to, a caption, and one output that serves notebooks and pages alike."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import display
from plotly.io.base_renderers import MimetypeRenderer

from reproduction.notebook.citation import figure_bibtex


def setup() -> None:
    """Make plotly figures show in this notebook and in the rendered book."""
    pio.renderers["book"] = _BookRenderer()
    pio.renderers.default = "book"


def show(figure: go.Figure, name: str, title: str, caption: str, commands: Sequence[str] = ()) -> None:
    """Show a figure of a chapter.

    Args:
        name: how links and downloaded files call it, in lower case; unique in its chapter.
        title: its subject, in a few words; also read out to those who cannot see it.
        caption: where to look, and the meaning of its error bars.
        commands: that make the runs whose numbers it shows; none if it shows no stored runs.

    Raises:
        ValueError: the name cannot stand in an address.
    """
    for bundle in bundles(figure, name, title, caption, commands):
        display(bundle, raw=True)


def bundles(
    figure: go.Figure, name: str, title: str, caption: str, commands: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Make the bundles of MIME types that :func:`show` shows: the figure, and its caption."""
    return _figure(figure, name, title), _caption(name, title, caption, commands)


class Live:
    """A figure that is drawn anew in its place while a cell runs. Arguments as of :func:`show`."""

    def __init__(self, name: str, title: str, caption: str) -> None:
        self.name, self.title, self.caption = name, title, caption
        self._shown: str | None = None

    def show(self, figure: go.Figure) -> None:
        """Show the figure, in place of the one before."""
        bundle = _figure(figure, self.name, self.title)
        if self._shown:
            display(bundle, raw=True, display_id=self._shown, update=True)
        else:
            self._shown = display(bundle, raw=True, display_id=True).display_id
            display(_caption(self.name, self.title, self.caption), raw=True)


def _figure(figure: go.Figure, name: str, title: str) -> dict[str, Any]:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"The figure's name is {name!r}; use lower-case words with hyphens, such as 'kept-by-layer'.")
    bundle = _bundle(figure.to_dict(), f"plot-{name}")
    label = html.escape(title)
    described = f'role="figure" aria-label="{label}" aria-describedby="fig-{name}-caption"'
    page = f'<div class="book-figure" id="fig-{name}" {described}>{bundle["text/html"]}</div>'
    return bundle | {"text/html": page}


def _caption(name: str, title: str, caption: str, commands: Sequence[str] = ()) -> dict[str, str]:
    """The caption, an output of its own, since JupyterLab shows none of the page's HTML around a figure.

    The link, the button and what opens to cite the figure are for pages, whose style sheet shows them.
    """
    link = f'<a hidden class="figure-link" href="#fig-{name}" aria-label="Link to this figure">#</a>'
    button = f'<button hidden type="button" class="figure-data" data-figure="fig-{name}">Download data</button>'
    said = f"<strong>{html.escape(title)}.</strong> {html.escape(caption)}"
    parts = f"<span>{said}</span> {link} {button} {_citing(name, title, commands)}"
    page = f'<div class="figure-caption" id="fig-{name}-caption">{parts}</div>'
    return {"text/plain": f"{title}. {caption}", "text/html": page}


def _citing(name: str, title: str, commands: Sequence[str]) -> str:
    """What a reader needs to cite a figure: its link, a citation, its data, and the commands that make its numbers.

    A chapter does not know the page that it will be on: the page puts its name and address into the empty spans.
    """
    address = f'<span class="page-address"></span>#fig-{name}'
    key = f'modules_book_<span class="page-name"></span>_{name}'
    entry = html.escape(figure_bibtex(title, "KEY", "ADDRESS")).replace("KEY", key).replace("ADDRESS", address)
    rows = {
        "Link": _copied(f'<a class="figure-address" href="#fig-{name}">{address}</a>'),
        "Citation": _copied(entry),
        "Data": f'<button type="button" class="figure-data" data-figure="fig-{name}">Download what is drawn</button>',
    }
    if commands:
        rows["To make its runs again"] = _copied("\n".join(map(html.escape, commands)))
    inside = "".join(f"<dt>{row}</dt><dd>{said}</dd>" for row, said in rows.items())
    return f'<details hidden class="figure-cite"><summary>Cite this figure</summary><dl>{inside}</dl></details>'


def _copied(text: str) -> str:
    """Text beside which a page has a button that copies it."""
    return f'<div class="highlight"><pre>{text}</pre></div>'


def _bundle(figure: dict[str, Any], id: str) -> dict[str, Any]:
    """Plotly's own mime type for notebooks, and for pages a div that the page's one copy of plotly.js draws into.

    Plotly's own HTML renderers add a script from elsewhere, several megabytes a chapter, or a random id, and want
    plotly.js before the text can be read.
    """
    content = pio.to_json(figure, validate=False, engine="json")
    height = figure.get("layout", {}).get("height", 450)  # plotly's default; text below is not to move
    place = f'<div id="{id}" class="plotly-graph-div" style="height: {height}px; width: 100%"></div>'
    script = _DRAW % (json.dumps(id), content.replace("</", "<\\/"))
    return {"application/vnd.plotly.v1+json": json.loads(content), "text/html": f"{place}<script>{script}</script>"}


# Draws at once where plotly.js is loaded, else plotly-draw.js does it later; scripts wait for the event.
_DRAW = """{
const draw = async () => {
  const config = { responsive: true, displaylogo: false };
  const drawn = await Plotly.newPlot(%s, { ...%s, config });
  drawn.dispatchEvent(new Event("figure-drawn", { bubbles: true }));
};
window.Plotly ? draw() : (window.undrawnFigures ??= []).push(draw);
}"""


class _BookRenderer(MimetypeRenderer):
    """A figure that a cell ends with, without name or caption."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, Any]:
        content = pio.to_json(fig_dict, validate=False, engine="json")
        name = hashlib.sha256(content.encode()).hexdigest()[:12]
        self.seen[name] = self.seen.get(name, -1) + 1  # the same figure twice on a page has two ids
        return _bundle(fig_dict, f"plot-{name}-{self.seen[name]}")
