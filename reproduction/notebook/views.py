"""Views of a figure: of results at the paper's sizes, at laptop sizes, and of the reader's own run.

A page has all views of a figure, buttons to choose, and needs no kernel for it. A notebook shows one: that of the run
where there is one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from IPython.display import display

from reproduction.experiments import published_preset, read_config
from reproduction.figures import captions
from reproduction.figures.names import Results
from reproduction.notebook.commands import commands_of, run_command
from reproduction.notebook.display import bundles
from reproduction.notebook.tables import published_results
from reproduction.protocol.config import Config
from reproduction.runs.published import runs_of
from reproduction.runs.store import Run

SEEDS = 3  # that every result of the paper's sizes must have for them to be shown first
PAPER, LAPTOP, RUN = "paper sizes", "laptop sizes", "your run"
# What a view adds to a figure's name and to its title.
ADDED = {PAPER: ("-paper", ", at the paper's sizes and steps"), LAPTOP: ("", ""), RUN: ("-run", ", with your own run")}


@dataclass(frozen=True)
class Views:
    """The results that the figures of a chapter can show.

    Attributes:
        results: view -> published results, and those of the run, each by name, in the order of the buttons. The view of
            the run has the published results of the run's scale beside it; the others have no run.
    """

    results: Mapping[str, tuple[Results, Results]]

    @classmethod
    def of(cls, experiments: Mapping[str, str], scale: str, run: Results) -> Views:
        """Collect a chapter's views; those without results are left out.

        Args:
            experiments: name in figures -> experiment.
            scale: of the run.
            run: name in figures -> its measurements, as far as they are there.
        """
        views: dict[str, tuple[Results, Results]] = {
            PAPER: (published_results(experiments, "paper"), {}),
            LAPTOP: (published_results(experiments, "laptop"), {}),
        }
        own = {name: run[name] for name in experiments if name in run}
        if own:
            views[RUN] = (published_results(experiments, scale), own)
        return cls({view: results for view, results in views.items() if any(results)})

    def only(self, *names: str) -> Views:
        """Take the results of these names alone, for a figure that shows no others."""

        def chosen(results: Results) -> Results:
            return {name: results[name] for name in names if name in results}

        views = {view: (chosen(published), chosen(run)) for view, (published, run) in self.results.items()}
        return Views({view: results for view, results in views.items() if any(results)})

    @property
    def first(self) -> str:
        """The view that a page opens with: the paper's sizes if they have enough seeds, else laptop sizes."""
        paper, _ = self.results.get(PAPER, ({}, {}))
        enough = bool(paper) and min(frame["seed"].nunique() for frame in paper.values()) >= SEEDS
        return PAPER if enough else next((view for view in (LAPTOP, RUN) if view in self.results), PAPER)

    def show(
        self,
        draw: Callable[[Results, Results], go.Figure],
        name: str,
        title: str,
        caption: str,
        said: Callable[[Results, Results], str] = captions.means,
    ) -> None:
        """Show a figure of every view.

        Args:
            draw: published results, and those of the run -> the figure.
            name, title, caption: as of :func:`~reproduction.notebook.display.show`.
            said: the same results -> how the caption ends, on seeds and their spread.

        Raises:
            ValueError: the name cannot stand in an address.
        """
        figures = {
            view: (draw(*results), f"{caption} {said(*results)}", commands_of(*results))
            for view, results in self.results.items()
        }
        show_views(figures, name, title, self.first)


def show_views(
    figures: Mapping[str, tuple[go.Figure, str, Sequence[str]]], name: str, title: str, first: str = LAPTOP
) -> None:
    """Show a figure of every view; where there is none, nothing.

    Args:
        figures: view -> its figure, its caption, and the commands that make its runs, in the order of the buttons.
        name, title: as of :func:`~reproduction.notebook.display.show`.
        first: the view that a page opens with, if it is there.

    Raises:
        ValueError: the name cannot stand in an address.
    """
    drawn = {
        view: bundles(figure, name + ADDED[view][0], title + ADDED[view][1], caption, commands)
        for view, (figure, caption, commands) in figures.items()
    }
    if len(drawn) < 2:
        for bundle in itertools.chain(*drawn.values()):
            display(bundle, raw=True)
        return
    first = first if first in drawn else next(iter(drawn))
    in_notebook = RUN if RUN in drawn else first
    parts = "".join(_part(view, figure["text/html"], view == first) for view, (figure, _) in drawn.items())
    texts = "".join(_part(view, text["text/html"], view == in_notebook) for view, (_, text) in drawn.items())
    figure, text = drawn[in_notebook]
    display(figure | {"text/html": f'<div class="views">{_buttons(list(drawn), first)}{parts}</div>'}, raw=True)
    display(text | {"text/html": texts}, raw=True)


def show_maps(
    config: Config, made: Sequence[Run], draw: Callable[[Run], go.Figure], name: str, title: str, caption: str
) -> None:
    """Show a figure of the masks of one run in every view that has such a run.

    Args:
        config, made: as of :func:`runs_with_masks`.
        draw: run -> the figure of its masks.
        name, title: as of :func:`~reproduction.notebook.display.show`.
        caption: the same; its end names the run's seed.

    Raises:
        ValueError: the name cannot stand in an address.
    """
    figures = {
        view: (
            draw(run),
            f"{caption} Masks of seed {run.seed}.",
            [run_command(read_config(run.config()), [run.seed])],
        )
        for view, run in runs_with_masks(config, made).items()
    }
    show_views(figures, name, title)


def runs_with_masks(config: Config, made: Sequence[Run]) -> dict[str, Run]:
    """Find a run of each view whose masks can be drawn: published ones, and the first that was made.

    Args:
        config: of the runs made; the published ones are its experiment's.
        made: a chapter's own runs, none if there are none.
    """
    found = {}
    for view, scale in ((PAPER, "paper"), (LAPTOP, "laptop")):
        published = published_preset(config.experiment, scale)
        for run in runs_of(published)[:1]:
            if all((run.folder / f"masks/{stage}.safetensors").exists() for stage in published.drawn):
                found[view] = run
    return found | ({RUN: made[0]} if made else {})


def _buttons(views: Sequence[str], first: str) -> str:
    """Buttons that choose a view, for pages; a script of the page moves them."""
    pressed = {view: "true" if view == first else "false" for view in views}
    buttons = [
        f'<button type="button" data-shows="{view}" aria-pressed="{state}">{view}</button>'
        for view, state in pressed.items()
    ]
    return f'<div class="view-buttons" role="group" aria-label="results shown">{"".join(buttons)}</div>'


def _part(view: str, html: str, shown: bool) -> str:
    """What belongs to one view of a figure."""
    return f'<div data-view="{view}"{"" if shown else " hidden"}>{html}</div>'
