"""Images that a network takes for something else when weights are removed, and a control that removes weights."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import ipywidgets as widgets
from PIL import Image
from torch import Tensor, nn

from modules_lib.analysis.maskmap import png_address
from modules_lib.datasets.images import CLASSES, Images
from modules_lib.masking.masks import Masks
from modules_lib.masking.subnetworks import subnetwork
from reproduction.experiments.cifar import confusion, predictions
from reproduction.figures import cifar as figures
from reproduction.notebook.display import show

SIZE = 64  # CSS pixels along each side
TILE = "display: inline-block; margin: 0 0.5em 0.6em 0; text-align: center; font-size: 0.8em; line-height: 1.3"
PICTURE = f"width: {SIZE}px; height: {SIZE}px; image-rendering: pixelated; display: block; margin: 0 auto 0.2em"


class Gallery:
    """For each class, images that were recognised with its weights and are not without; needs no kernel.

    Args:
        data: the images.
        before: the class that each was taken for, int64 [M].
        after: removed class -> the class that each is taken for without its weights, int64 [M].
        most: images of each class.
    """

    def __init__(self, data: Images, before: Tensor, after: Mapping[str, Tensor], most: int = 12):
        self.data, self.before, self.after, self.most = data, before, after, most

    def lost(self, name: str) -> list[int]:
        """List, by index, the images of a class that are recognised with its weights, but not without them."""
        label = CLASSES.index(name)
        lost = (self.data.labels == label) & (self.before == label) & (self.after[name] != label)
        return lost.nonzero().flatten().tolist()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        parts, lines = [], []
        for i, name in enumerate(self.after):
            lost = self.lost(name)
            shown = "".join(self._tile(name, index) for index in lost[: self.most])
            said = f"{len(lost):,} of {int((self.data.labels == CLASSES.index(name)).sum()):,} images are lost"
            summary = f"<summary><b>without {html.escape(name)}</b> <small>({said})</small></summary>"
            parts.append(f"<details{' open' if i == 0 else ''}>{summary}<div>{shown}</div></details>")
            lines.append(f"without {name}: {said}")
        return {"text/plain": "\n".join(lines), "text/html": "".join(parts)}

    def _tile(self, name: str, index: int) -> str:
        taken = CLASSES[int(self.after[name][index])]
        pixels = self.data.images[index].cpu().permute(1, 2, 0).contiguous()  # [height, width, 3]
        source = png_address(Image.fromarray(pixels.numpy()), optimize=True)
        alternative = f"image {index}, {name}, taken for {taken}"
        return f'<span style="{TILE}"><img src="{source}" alt="{alternative}" style="{PICTURE}">→ {taken}</span>'


class RemoveControl(widgets.VBox):
    """A control that removes the weights that serve chosen classes alone, all at once and without training.

    Args:
        model: the trained network.
        masks: of a run: "full", and one for each class that can be removed.
        data: the images to test with.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Masks], data: Images):
        self.model, self.masks, self.data = model, masks, data
        names = [name for name in masks if name in CLASSES]
        self.chosen = widgets.SelectMultiple(options=names, value=names[:2], description="remove", rows=len(names))
        self.button = widgets.Button(description="Show", button_style="primary")
        self.output = widgets.Output()
        self.button.on_click(lambda _: self.show())
        super().__init__([widgets.HBox([self.chosen, self.button]), self.output])

    def show(self) -> None:
        """Draw how the confusions change, and count the weights that are gone."""
        self.output.clear_output(wait=True)
        with self.output:
            if not self.chosen.value:
                print("Choose at least one class (several with Ctrl or Shift).")
                return
            full, rest = self.masks["full"], without(self.masks, self.chosen.value)
            gone = full.count() - rest.count()
            print(f"{gone:,} of the reference's {full.count():,} weights are removed ({gone / full.count():.1%}).")
            before, after = (
                confusion(self.data.labels, predictions(subnetwork(self.model, kept), self.data))
                for kept in (full, rest)
            )
            names = " and ".join(self.chosen.value)
            title = f"How confusions change without the weights of {names}, in points"
            show(
                figures.compared(before, after), "without-chosen", title, "Blue: more often; red: less often. One seed."
            )


def without(masks: Mapping[str, Masks], names: Sequence[str]) -> Masks:
    """Take from the reference's mask the weights that serve any of these classes alone.

    A weight serves a class alone if "full" keeps it and the class's mask, learned without the class, does not.
    """
    rest = masks["full"]
    for name in names:
        rest = rest & masks[name]
    return rest
