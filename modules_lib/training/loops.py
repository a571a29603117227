"""The two training loops: weights first, then, with the weights frozen, masks (section 2)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modules_lib.masking.masked_model import MaskedModel
from modules_lib.support.checks import check_choice, check_count, check_number
from modules_lib.support.precision import product_type
from modules_lib.support.trees import map_tensors, to_float32
from modules_lib.training.clipping import CLIPPED
from modules_lib.training.cuda_graphs import CAPTURING, GraphedSteps
from modules_lib.training.mask_adam import MaskAdam
from modules_lib.training.progress import Loop, Training, random_state, set_random_state

# step -> (inputs, targets), a pure function of the step; a tuple or list of inputs is given to the model as several
# arguments, a dict as named ones
Batch = Callable[[int], tuple[Any, Any]]
Loss = Callable[[Any, Any], Tensor]  # (outputs, targets) -> mean loss, a scalar


def train_weights(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    steps: int,
    lr: float = 1e-3,
    clip: float = 1.0,
    cooldown: float = 0.0,
    precision: str = "float32",
    loop: Loop | None = None,
) -> nn.Module:
    """Train a model's weights with Adam on the whole task, and return the model in evaluation mode.

    Args:
        cooldown: the last proportion of the steps, over which the rate falls to zero in a straight line.
        precision: of the products: "float32", "bfloat16" (by autocast; weights and their update stay in float32), or
            "auto" for what the machine does best.
    """
    check_count("steps", steps)
    _check_rates(lr, clip)
    model.train()
    training = _WeightTraining(model, lr, clip, steps, cooldown)
    for _ in run_steps(_mixed(model, precision), training, batch, loss, steps, loop):
        pass
    return model.eval()


def _mixed(model: nn.Module, precision: str) -> Callable[..., Any]:
    """The model with its products in a precision; outputs are float32."""
    compute = product_type(precision)
    if compute is None:
        return model
    kind = next(model.parameters()).device.type

    def forward(*inputs: Any, **named: Any) -> Any:
        with torch.autocast(kind, compute):
            return map_tensors(to_float32, model(*inputs, **named))

    return forward


def _check_rates(lr: float, clip: float) -> None:
    check_number("lr", lr, "1e-2", above=True)
    check_number("clip", clip, "1.0 (the largest norm of a gradient)", above=True)


class _WeightTraining:
    """All that a step of weight training depends on, as tensors."""

    def __init__(self, model: nn.Module, lr: float, clip: float, steps: int, cooldown: float):
        self.model, self.lr, self.clip = model, lr, clip
        self.taken, self.steps, self.cooldown = 0, steps, cooldown
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Update the weights from their gradients, which are then dropped."""
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.param_groups[0]["lr"] = cooled(self.lr, self.taken, self.steps, self.cooldown)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.taken += 1

    def state(self) -> dict[str, Tensor]:
        weights = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        return weights | _adam_state(self.optimizer) | random_state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict({k.removeprefix("model/"): v for k, v in state.items() if k.startswith("model/")})
        self.taken = next(int(value) for name, value in state.items() if re.fullmatch(r"adam/\d+/step", name))
        _load_adam_state(self.optimizer, state)
        set_random_state(state)


def cooled(rate: float, taken: int, steps: int, cooldown: float) -> float:
    """Lower a rate in a straight line to zero over the last proportion of the steps, after which it stays there."""
    left = max(0.0, 1 - taken / steps)
    return rate * left / cooldown if left < cooldown else rate


def _adam_state(optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Its moments and numbers of steps, by name."""
    moments = optimizer.state_dict()["state"]
    return {f"adam/{i}/{name}": value for i, values in moments.items() for name, value in values.items()}


def _load_adam_state(optimizer: torch.optim.Adam, state: dict[str, Tensor]) -> None:
    """Take in what :func:`_adam_state` gave."""
    adam: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith("adam/"):
            _, index, name = key.split("/")
            adam.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": adam, "param_groups": optimizer.state_dict()["param_groups"]})


def train_masks(
    masked: MaskedModel,
    batch: Batch,
    loss: Loss,
    *,
    steps: int,
    alpha: float,
    lr: float = 1e-2,
    clip: float = 1.0,
    clipped: str = "logits",
    graphs: bool = True,
    loop: Loop | None = None,
) -> MaskedModel:
    """Train the mask logits on one subtask, one stage of the method; the weights stay frozen.

    Minimises loss + alpha * (sum of logits). The gradient's norm is clipped with the penalty included.

    Args:
        clip: the largest norm of a gradient.
        clipped: the gradient with this norm: of the "logits" alone, or of "everything", frozen weights included,
            whose gradients add up over steps as in the paper's code (``modules_lib.training.clipping``).
        graphs: on a GPU, replay steps as CUDA graphs where that is possible (:mod:`modules_lib.training.cuda_graphs`).

    Raises:
        ValueError: alpha is not a number of at least 0, lr or clip not one above 0, clipped is neither of the
            two, a batch is not divisible by the mask samples, or a loss is not finite.
    """
    how: dict[str, Any] = {"steps": steps, "alpha": alpha, "lr": lr, "clip": clip, "clipped": clipped}
    for _ in mask_steps(masked, batch, loss, **how, graphs=graphs, loop=loop):
        pass
    return masked


def mask_steps(
    masked: MaskedModel,
    batch: Batch,
    loss: Loss,
    *,
    steps: int,
    alpha: float,
    lr: float = 1e-2,
    clip: float = 1.0,
    clipped: str = "logits",
    passes: int = 1,
    graphs: bool = True,
    loop: Loop | None = None,
) -> Iterator[Tensor]:
    """Train masks as :func:`train_masks` does, but one step at a time, and yield the loss of each.

    Args:
        passes: of each batch through the model, each with other masks: K for a model with one mask sample, whose rows
            must not be cut into slices.
    """
    check_count("passes", passes)
    check_number("alpha", alpha, "1e-6")
    check_count("steps", steps)
    _check_rates(lr, clip)
    with torch.inference_mode(False):
        adam = CLIPPED[check_choice("clipped", clipped, CLIPPED)](masked, lr, alpha, clip, steps)
    yield from run_steps(masked, adam, batch, loss, steps, loop, passes, graphs)


def _called(model: Callable[..., Any], inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def run_steps(
    model: Callable[..., Any],
    training: Training,
    batch: Batch,
    loss: Loss,
    steps: int,
    loop: Loop | None,
    passes: int = 1,
    graphs: bool = True,
) -> Iterator[Tensor]:
    """Train from the last checkpoint on, with the mean loss over passes of a batch, and yield the loss of each step."""
    loop = loop or Loop()
    begun, backward = loop.begin(training), functools.partial(_backward, model, loss, passes)
    graphed = None
    if graphs and isinstance(model, MaskedModel) and isinstance(training, MaskAdam):
        graphed = GraphedSteps(model, training, backward, passes) if model.logits.device.type in CAPTURING else None
    for step in range(begun, steps):
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has switched off
            inputs, targets = batch(step)
            if graphed is not None:
                total = graphed.step(inputs, targets)
            else:
                total = backward(inputs, targets)
                training.step()
        loop.after(step + 1, steps, total, training)
        yield total


def _backward(model: Callable[..., Any], loss: Loss, passes: int, inputs: Any, targets: Any) -> Tensor:
    """The mean loss over passes of a batch, after its gradients have come to the parameters."""
    losses = []
    for _ in range(passes):
        data_loss = _scalar(loss(_called(model, inputs), targets)) / passes
        data_loss.backward()
        losses.append(data_loss.detach())
    return torch.stack(losses).sum() if passes > 1 else losses[0]


def _scalar(loss: Any) -> Tensor:
    """The loss, if it is one number that depends on the model.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise ValueError(f"The loss is {what}; it must be one number, a tensor: the mean over the batch.")
    if not loss.requires_grad:
        raise ValueError(
            "The loss does not depend on the weights that are trained or masked; the model or the loss may detach its "
            "outputs, or no such weight may be used."
        )
    return loss.reshape(())
