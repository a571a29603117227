"""A control for changing beta in a running chapter."""

from __future__ import annotations

import html
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

import ipywidgets as widgets
import pandas as pd
import torch
from tqdm.notebook import tqdm

from modules_lib.training.progress import Progress
from reproduction.figures.names import Results
from reproduction.notebook.display import bundles
from reproduction.notebook.retraining import Retraining
from reproduction.protocol.config import Config
from reproduction.runs.published import table
from reproduction.runs.store import Run

NO_RUN = (
    "This control trains masks for the weights of a finished run, and here is none. Run the cell that makes the run, "
    "and then this one."
)
LABELS = {"description_width": "initial"}


class BetaControl(widgets.VBox):
    """Retrain the masks of a finished run at another beta, and redraw the chapter's figures beside the published ones.

    The trained weights are the run's own, and fewer, larger steps are taken than in the run. Nothing is stored.
    Training goes on beside the kernel's other work, which is why Stop ends it and interrupting the kernel does not.
    A control takes the place of an earlier one of the same chapter.

    Args:
        retraining: what is trained again, and what is shown.
        configs: of the chapter's runs, by name.
        made: the runs, by name of the config; the first of each is used. Where there is none, a sentence says so.
        published: published results, by name of the config.

    Attributes:
        tried: the rows of the list below it: for each value of the option the run, then what was retrained.
    """

    _shown: ClassVar[dict[Retraining, BetaControl]] = {}

    def __init__(
        self,
        retraining: Retraining,
        configs: Mapping[str, Config],
        made: Mapping[str, Sequence[Run]],
        published: Results,
    ):
        if earlier := self._shown.pop(retraining, None):
            earlier.close()
        self._shown[retraining] = self
        self.retraining, self.configs, self.published = retraining, configs, published
        self.runs = {name: runs[0] for name, runs in made.items() if runs}
        self.tried: list[dict[str, str]] = []
        self.progress = Progress()
        self.training: threading.Thread | None = None
        self.said = widgets.HTML("" if self.runs else NO_RUN)
        super().__init__(self._parts() if self.runs else [self.said])

    def _parts(self) -> list[widgets.Widget]:
        known = self.retraining.names.items()
        values = [(name, value) for value, name in known if value in self.runs or value not in self.configs]
        self.option = widgets.Dropdown(options=values, description=self.retraining.option, style=LABELS)
        exponents = [math.log10(config.beta) for config in self.configs.values() if config.beta]
        ends = {"min": math.floor(min([-6.0, *exponents])), "max": math.ceil(max([-2.0, *exponents]))}
        self.beta = widgets.FloatLogSlider(
            value=1e-4, **ends, step=0.1, description="beta", readout_format=".1e", style=LABELS
        )
        self.steps = widgets.IntText(description="steps", style=LABELS, layout={"width": "10em"})
        self.button = widgets.Button(description="Retrain the masks", button_style="primary", layout={"width": "auto"})
        self.stop_button = widgets.Button(description="Stop", disabled=True, layout={"width": "auto"})
        self.bar, self.figures, self.list = widgets.VBox(), widgets.Output(), widgets.HTML()
        self.option.observe(lambda change: self._begin_anew(change.old), "value")
        self.button.on_click(lambda _: self.retrain())
        self.stop_button.on_click(lambda _: self.stop())
        self._begin_anew()
        row = [self.option, self.beta, self.steps, self.button, self.stop_button]
        return [
            widgets.HBox(row, layout={"flex_flow": "row wrap"}),  # phones
            self.bar,
            self.said,
            self.list,
            self.figures,
        ]

    def _begin_anew(self, before: str | None = None) -> None:
        """Take beta and the number of steps from the config of the chosen value, unless it was that before."""
        if before is None or self._name(before) != self._name(self.option.value):
            config = self.configs[self._name(self.option.value)]
            self.beta.value = config.beta or self.beta.min
            self.steps.value = min(self.retraining.steps, self.retraining.steps_of(config))

    def _name(self, value: str) -> str:
        """The config that a value of the option belongs to."""
        return value if value in self.configs else next(iter(self.configs))

    def retrain(self) -> None:
        """Begin to train the masks at the chosen beta; figures and the list then follow."""
        if self.training and self.training.is_alive():
            return
        self.button.disabled, self.stop_button.disabled = True, False
        self.said.value = ""
        self.progress = Progress()
        self.training = threading.Thread(target=self._retrain, args=[self.option.value], daemon=True)
        self.training.start()

    def stop(self) -> None:
        """End the training after the step that is being made; what was shown before stays."""
        self.progress.stopping = True

    def wait(self) -> None:
        """Return when the training is done or has stopped."""
        if self.training:
            self.training.join()

    def close(self) -> None:
        """Stop a training, and take the control away from wherever it is shown."""
        self.stop()
        for part in self.children:
            _close(part)
        super().close()

    def _retrain(self, value: str) -> None:
        before = torch.get_num_threads()
        try:
            own, began = self.configs[self._name(value)], time.perf_counter()
            config = self.retraining.config(own, value, self.beta.value, self.steps.value)
            results = self._results(config, value)
            took = f"{time.perf_counter() - began:.0f} s"
            self._show(value, results)
            self._remember(value, config, results, took)
        except KeyboardInterrupt:
            self.said.value = "Stopped; figures are those of the last finished training."
        except (ValueError, RuntimeError) as error:
            self.said.value = html.escape(str(error), quote=False)
        finally:
            torch.set_num_threads(before)
            self.button.disabled, self.stop_button.disabled = False, True

    def _results(self, config: Config, value: str) -> pd.DataFrame:
        torch.set_num_threads(1)  # as every run is made
        made: dict[str, int] = {}
        in_all = len(self.retraining.stages(config, value)) * self.retraining.steps_of(config)
        with tqdm(total=in_all, unit="step", display=False) as bar:
            self.bar.children = [bar.container]

            def tick(loop: str, steps: int) -> None:
                made[loop] = steps
                bar.set_description("measuring" if sum(made.values()) == in_all else loop, refresh=False)
                bar.update(sum(made.values()) - bar.n)

            self.progress.tick = tick
            return self.retraining.results(self.runs[self._name(value)], config, value, self.progress)

    def _remember(self, value: str, config: Config, results: pd.DataFrame, took: str) -> None:
        """Say what was done, and add it to the list, below the run whose weights were used."""
        of, own = self.retraining, self.configs[self._name(value)]
        run = table([self.runs[self._name(value)]])
        known = of.names[value] in [row[of.option] for row in self.tried]
        if not known and set(of.stages(config, value)) <= set(run["stage"]):
            self.tried.append(self._row(value, own, run, "the run"))
        self.tried.append(self._row(value, config, results, took))
        self.said.value = f"beta = {config.beta:.1e}, {of.length(config)} (the run: {of.length(own)}): {took}"
        rows = pd.DataFrame(self.tried).to_html(index=False, border=0)
        self.list.value = f'<div style="overflow-x: auto">{rows}</div>'

    def _row(self, value: str, config: Config, results: pd.DataFrame, took: str) -> dict[str, str]:
        chosen = {self.retraining.option: self.retraining.names[value], "beta": f"{config.beta:.1e}"}
        steps = f"{self.retraining.steps_of(config):,}"
        return {**chosen, "steps": steps, **self.retraining.numbers(results, value), "time": took}

    def _show(self, value: str, results: pd.DataFrame) -> None:
        name = self._name(value)
        published = {name: self.published[name]} if name in self.published else {}
        run = {name: results}
        shown = [
            bundle
            for one in self.retraining.figures
            for bundle in bundles(
                one.draw(value, published, run), f"retrained-{one.name}", one.title, one.said(published, run)
            )
        ]
        # Set as outputs: what a thread displays would appear below whichever cell runs meanwhile.
        self.figures.outputs = tuple({"output_type": "display_data", "data": data, "metadata": {}} for data in shown)


def _close(part: widgets.Widget) -> None:
    """Close a widget and all that it has: one that is left open is kept for good, with all that it refers to."""
    for child in getattr(part, "children", ()):
        _close(child)
    part.close()
