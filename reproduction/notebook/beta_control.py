"""A control for changing beta in a running chapter."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import ipywidgets as widgets
import pandas as pd
import torch
from tqdm.notebook import tqdm

from modules_lib.masking.masks import Masks
from modules_lib.training.progress import Progress
from reproduction.experiments.addmul import AddMul
from reproduction.figures import addmul as figures
from reproduction.figures import captions
from reproduction.figures.names import Results
from reproduction.notebook.display import bundles
from reproduction.runs.published import COLUMNS
from reproduction.runs.store import Run


class BetaControl(widgets.VBox):
    """Retrain the masks of a finished add/mul run at another beta, and redraw its figures beside the published ones.

    The trained weights are the run's own; only the stages addition and multiplication are made again, with fewer,
    larger steps. Adam moves an unneeded logit by the learning rate each step; steps times rate is kept, so logits
    go as far as in the run. Nothing is stored. Training goes on beside the kernel's other work, which is why Stop
    ends it and interrupting the kernel does not.

    Args:
        config: the config of the run.
        run: the finished run whose weights are used.
        published: published results by network.
        mask_steps: steps of each stage.
    """

    def __init__(self, config: AddMul, run: Run, published: Results, mask_steps: int = 1000):
        self.config, self.run, self.published = config, run, published
        self.model = run.load_weights(config.model())
        self.results: pd.DataFrame | None = None
        labels = {"description_width": "initial"}
        exponent = math.log10(config.beta) if config.beta else -6.0
        self.beta = widgets.FloatLogSlider(
            value=config.beta or 1e-6,
            min=min(-6.0, math.floor(exponent)),
            max=max(-2.0, math.ceil(exponent)),
            step=0.1,
            description="beta",
            readout_format=".1e",
            style=labels,
        )
        self.steps = widgets.IntText(value=min(mask_steps, config.mask_steps), description="steps", style=labels)
        self.button = widgets.Button(description="Retrain the masks", button_style="primary", layout={"width": "auto"})
        self.stop_button = widgets.Button(description="Stop", disabled=True)
        self.bar, self.said, self.figures = widgets.VBox(), widgets.Label(), widgets.Output()
        self.button.on_click(lambda _: self.retrain())
        self.stop_button.on_click(lambda _: self.stop())
        self.progress = Progress()
        self.training: threading.Thread | None = None
        parts = [self.beta, self.steps, self.button, self.stop_button]
        row = widgets.HBox(parts, layout={"flex_flow": "row wrap"})  # phones
        super().__init__([row, self.bar, self.said, self.figures])

    def retrain(self) -> None:
        """Begin to train both masks at the chosen beta; then show what they share and how the network answers."""
        if self.training and self.training.is_alive():
            return
        self.button.disabled, self.stop_button.disabled = True, False
        self.said.value = ""
        self.progress = Progress()
        self.training = threading.Thread(target=self._retrain, daemon=True)
        self.training.start()

    def stop(self) -> None:
        """End the training after the step that is being made; what was shown before stays."""
        self.progress.stopping = True

    def wait(self) -> None:
        """Return when the training is done or has stopped."""
        if self.training:
            self.training.join()

    def _retrain(self) -> None:
        before = torch.get_num_threads()
        try:
            config = self._chosen()
            began = time.perf_counter()
            self.results = self._retrained(config)
            self.said.value = (
                f"beta = {config.beta:.1e}, {config.mask_steps} steps at rate {config.mask_lr:.2g} (the run: "
                f"{self.config.mask_steps} at {self.config.mask_lr:.2g}): {time.perf_counter() - began:.0f} s"
            )
            self._show()
        except KeyboardInterrupt:
            self.said.value = "Stopped; figures are those of the last finished training."
        except (ValueError, RuntimeError) as error:
            self.said.value = str(error)
        finally:
            torch.set_num_threads(before)
            self.button.disabled, self.stop_button.disabled = False, True

    def _chosen(self) -> AddMul:
        config = replace(self.config, beta=self.beta.value, mask_steps=self.steps.value)
        return replace(config, mask_lr=self.config.mask_lr * self.config.mask_steps / config.mask_steps)

    def _retrained(self, config: AddMul) -> pd.DataFrame:
        torch.set_num_threads(1)  # as every run is made
        stages = ("add", "mul")
        masks: dict[str, Masks] = {}
        with tqdm(total=len(stages) * config.mask_steps, unit="step", display=False) as bar:
            self.bar.children = [bar.container]

            def tick(loop: str, steps: int) -> None:
                bar.set_description(loop, refresh=False)
                bar.update(len(masks) * config.mask_steps + steps - bar.n)

            self.progress.tick = tick
            for stage in stages:
                masks[stage], _ = config.find_masks(self.model, self.run.seed, stage, self.progress)
        rows = [{"seed": self.run.seed, **row} for row in config.measure(self.model, masks)]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _show(self) -> None:
        network, results = self.config.network, self.results
        published = {network: self.published[network]} if network in self.published else {}
        run = {network: results}
        sharing = figures.sharing_per_layer(published, run)
        performed = figures.performed(network, published, run, stages=("add", "mul"))
        shown = [
            *bundles(sharing, "retrained-sharing", "What the retrained masks share", captions.means(published, run)),
            *bundles(performed, "retrained-performed", "What they do", captions.numbers(published, run)),
        ]
        # Set as outputs: what a thread displays would appear below whichever cell runs meanwhile.
        self.figures.outputs = tuple({"output_type": "display_data", "data": data, "metadata": {}} for data in shown)
