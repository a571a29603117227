"""Addition and multiplication in networks of other sizes (section 2, Figure 9): does sharing depend on capacity?

The second largest network of the comparison is that of :mod:`reproduction.experiments.sweep`, whose training is the
same, or of :mod:`reproduction.experiments.addmul`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from modules_lib.support.checks import check_choice
from reproduction.experiments.addmul import AddMul
from reproduction.protocol.config import Config

# size -> hidden units at laptop scale, and at the paper's, where all but "tiny" are the paper's own.
SIZES = {
    "tiny": ((50, 50, 25), (100, 100, 50)),
    "small": ((100, 100, 50), (400, 400, 200)),
    "medium": ((200, 200, 100), (800, 800, 800, 800)),
    "huge": ((600, 600, 300), (4000, 4000, 4000, 4000)),
}
SHORTER = {"weight_lr": 2e-3, "mask_steps": 2000, "mask_lr": 3e-2}  # at laptop scale: there are many networks


@dataclass(frozen=True, kw_only=True)
class Capacity(AddMul):
    """The config of an FNN of another size on the addition/multiplication task.

    Attributes:
        size: its name: "tiny", "small", "medium" or "huge".
    """

    NETWORKS: ClassVar[tuple[str, ...]] = ("fnn",)

    size: str = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("size", self.size, SIZES)

    @classmethod
    def presets(cls, size: str) -> dict[str, Config]:
        return resized(cls, size, SIZES[size], laptop=SHORTER)

    @property
    def drawn(self) -> tuple[str, ...]:
        return ()

    @property
    def experiment(self) -> str:
        return f"capacity-{self.size}"


def resized(
    kind: type[AddMul], size: str, hidden: tuple[tuple[int, ...], tuple[int, ...]], **changes: dict[str, Any]
) -> dict[str, Config]:
    """Make the configs of the add/mul FNN with other hidden layers (at laptop and paper scale) and changes by scale."""
    laptop, paper = hidden
    layers = {"smoke": tuple(n // 5 for n in laptop[:2]), "laptop": laptop, "paper": paper}
    return {
        scale: kind(**config.fields() | changes.get(scale, {}) | {"size": size, "hidden": layers[scale]})
        for scale, config in AddMul.presets("fnn").items()
    }
