"""MaskedModel: any torch module with frozen weights, and a trainable mask logit for each chosen weight."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from modules_lib.batched import BatchedLinear, CannotBatchError, Draw
from modules_lib.checks import check_count
from modules_lib.living import WORTH, Grid, grids_at, positions_of
from modules_lib.masks import Masks
from modules_lib.memory import keep_freed_memory
from modules_lib.noise import mask_keys
from modules_lib.precision import product_type
from modules_lib.samplers import Sampler, sampler_of
from modules_lib.sampling import flatten, mask_weights, unflatten
from modules_lib.trees import agree, batch_size, join, map_tensors, random_like, slices, to_float32

# Mask samples a step: below this a step without compiling takes under ten milliseconds.
WORTH_FUSING = 400_000

Where = Callable[[str], bool]


def weights_only(model: nn.Module) -> Where:
    """The paper's choice of what to mask: every parameter but biases and embeddings."""
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for parameter in module.parameters(recurse=False)
    }
    # By identity: a tied embedding may go by the name of the other layer.
    left_out = {name for name, parameter in model.named_parameters() if id(parameter) in embeddings}
    return lambda name: name not in left_out and "bias" not in name.rpartition(".")[2]


class MaskedModel(nn.Module):
    """A frozen model under K sampled masks (section 2): each of K slices of a batch sees its own subnetwork.

    The wrapped model is used as it is, through :func:`torch.func.functional_call`; it is set to evaluation mode and
    its parameters are neither changed nor trained.

    Args:
        model: any torch module.
        samples: K, mask samples a batch; batch sizes must be divisible by it.
        where: which parameters to mask, by name; by default all but biases and embeddings.
        start: every logit's first value; 2.0 keeps a weight with probability 0.88.
        seed, stage: name the stream of mask noise; the same two give the same masks.
        precision: "float32", "bfloat16", or "auto": bfloat16 where the hardware has it natively. In bfloat16 the model
            runs as after ``model.bfloat16()``, on inputs in that type; logits, their gradients and the outputs stay in
            float32. Take "float32" where inputs or buffers hold numbers that must not be rounded to three digits, such
            as positions. A model in another type than float32 keeps it.
        fuse: compile the sampler, which takes a few seconds and makes large ones ten times faster; None decides by
            size. The masks are the same. The process then keeps the memory that is freed, for the next step.
        batched: run all samples in one pass, which is right for networks of linear layers over the rows of a batch;
            None tries at the first batch whether it is. Otherwise the model runs K times, slice by slice.
        sampler: how mask samples follow from logits: "gumbel-sigmoid" (the paper's), "hard-concrete",
            "straight-through", or a class of your own (:mod:`modules_lib.samplers`).

    Raises:
        ValueError: samples is not a whole number of at least 1, no parameter is selected, those selected are not all
            of one type, or the model's parameters have no values yet.
    """

    weights: Tensor
    model: nn.Module
    compute: torch.dtype | None

    def __init__(
        self,
        model: nn.Module,
        samples: int = 4,
        where: Where | None = None,
        start: float = 2.0,
        seed: int = 0,
        stage: str = "",
        precision: str = "float32",
        fuse: bool | None = None,
        batched: bool | None = None,
        sampler: str | type[Sampler] = "gumbel-sigmoid",
    ):
        super().__init__()
        check_count("samples", samples)
        self.compute = product_type(precision)
        _check_initialized(model)
        where = where or weights_only(model)
        chosen = {name: parameter for name, parameter in model.named_parameters() if where(name)}
        if not chosen:
            raise ValueError(
                "No parameter is selected for masking; `where` must be true for at least one of "
                f"{', '.join(name for name, _ in model.named_parameters()) or '(the model has none)'}."
            )
        _check_one_type(chosen)
        # Not registered as a submodule: parameters() must give the logits alone.
        self.__dict__["model"] = model.eval()
        self.samples, self.seed, self.stage, self.step = samples, seed, stage, 0
        self.sampler = sampler_of(sampler)
        self.shapes = {name: parameter.shape for name, parameter in chosen.items()}
        self.sizes = [parameter.numel() for parameter in chosen.values()]
        flat = torch.cat([flatten(p.detach()) for p in chosen.values()])
        self.register_buffer("weights", self._cast(flat))  # [N]
        # float32 whatever the model's type: in bfloat16 a step of 1e-2 would be lost on a logit above 4.
        self.logits = nn.Parameter(torch.full_like(self.weights, start, dtype=torch.float32))  # [N]
        self.fuse = samples * self.logits.numel() >= WORTH_FUSING if fuse is None else fuse
        self.batched, self.may_change = batched, batched is None
        self.left: Tensor | None = None  # int32 [M], the positions of the weights that take part; None for all
        self.grids: list[Grid] | None = None
        if self.fuse:
            keep_freed_memory()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The model's outputs, batch first. Every call draws K new masks from the noise of the next step.

        Args:
            inputs, named: the model's arguments: tensors [batch, ...], or tuples, lists and dicts of them; slice k of
                each goes under mask k. What holds no tensor is given to every slice as it is.

        Raises:
            ValueError: the batch is not divisible by K.
        """
        arguments = map_tensors(self._cast, (inputs, named))
        batch_size(arguments)
        parts = slices(arguments, self.samples)
        if self.batched is None:
            self.batched = self._runs_batched(arguments)
        keys = mask_keys(self.seed, self.stage, self.step, samples=self.samples, device=self.logits.device)
        self.step += 1
        draw = Draw(self.logits, self.weights, keys, self.samples, self.fuse, self.sampler, self.grids, self.left)
        try:
            outputs = self._at_once(draw, arguments) if self.batched else self._by_slices(draw, parts)
        except CannotBatchError:  # another batch takes another way through the model than the one that was tried
            if not self.may_change:
                raise
            self.batched = False
            outputs = self._by_slices(draw, parts)
        return outputs if self.compute is None else map_tensors(to_float32, outputs)

    def _by_slices(self, draw: Draw, parts: list[Any]) -> Any:
        grids = draw.grids
        shapes = [torch.Size([grid.size]) for grid in grids] if grids else list(self.shapes.values())
        how = draw.samples, shapes, draw.fuse, draw.sampler, draw.positions
        samples = mask_weights(draw.logits, draw.weights, draw.keys, *how)
        if grids:
            samples = [[grid.whole(part) for grid, part in zip(grids, sample, strict=True)] for sample in samples]
        frozen = self._frozen()
        with _recurrence_with_gradient(self.model):
            outputs = [
                functional_call(self.model, frozen | dict(zip(self.shapes, sample, strict=True)), inputs, named)
                for sample, (inputs, named) in zip(samples, parts, strict=True)
            ]
        return join(outputs)

    def _at_once(self, draw: Draw, arguments: Any) -> Any:
        linear = BatchedLinear(draw, list(self.shapes.values()), batch=batch_size(arguments))
        with _recurrence_with_gradient(self.model), linear as placeholders:
            weights = dict(zip(self.shapes, placeholders, strict=True))
            return functional_call(self.model, self._frozen() | weights, *arguments)

    @torch.no_grad()
    def _runs_batched(self, arguments: Any) -> bool:
        """Whether one pass over a whole batch gives what the slices give.

        Tried in the model's own precision on random rows, with masks that keep every other weight. What differs must
        be far less than what the masks change.
        """
        generator = torch.Generator(device=self.logits.device).manual_seed(0)
        weights = torch.cat([flatten(p.detach()) for name, p in self.model.named_parameters() if name in self.shapes])
        arguments = random_like(arguments, generator, low=weights.dtype)
        even = torch.zeros_like(self.logits)
        compute, self.compute = self.compute, None
        try:
            keys = [mask_keys("try", i, samples=self.samples, device=even.device) for i in range(2)]
            draws = [Draw(even, weights, key, self.samples, self.fuse) for key in keys]
            at_once = self._at_once(draws[0], arguments)
            return agree(at_once, *(self._by_slices(draw, slices(arguments, self.samples)) for draw in draws))
        except Exception:  # whatever it is, slice by slice it works, or fails with the model's own message
            return False
        finally:
            self.compute = compute

    def _frozen(self) -> dict[str, Tensor]:
        """What is not masked: other parameters, and buffers, in the type of the products."""
        frozen = {name: self._cast(p.detach()) for name, p in self.model.named_parameters() if name not in self.shapes}
        return frozen | {name: self._cast(buffer) for name, buffer in self.model.named_buffers()}

    def _cast(self, tensor: Tensor) -> Tensor:
        """float32 -> the type of the products; everything else stays as it is."""
        return tensor.to(self.compute) if self.compute is not None and tensor.dtype == torch.float32 else tensor

    def _named(self, flat: Tensor) -> dict[str, Tensor]:
        """[N] -> named tensors in the model's shapes; of dead weights that were left out, zero."""
        if self.left is not None:
            flat = flat.new_zeros(sum(self.sizes)).index_copy(0, self.left.long(), flat)
        pieces = flat.split(self.sizes)
        return {name: unflatten(piece, shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MaskedModel:
        """What ``to`` and ``cuda`` call: the wrapped model goes along."""
        self.model._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def write_weights(self) -> None:
        """Put the weights, where they were trained along with the logits, into the wrapped model."""
        parameters = dict(self.model.named_parameters())
        for name, weights in self._named(self.weights).items():
            parameters[name].copy_(weights)

    @torch.no_grad()
    def leave_out_dead(self) -> Tensor | None:
        """Leave rows and columns of dead weights out of training (:mod:`modules_lib.living`), where layers allow it.

        Returns:
            int64 [M], which of the logits so far are left; None if all are.
        """
        if not self.batched or self.weights.requires_grad or any(len(shape) != 2 for shape in self.shapes.values()):
            return None
        grids = self.grids or [Grid.all(shape, self.logits.device) for shape in self.shapes.values()]
        pieces = self.logits.detach().split([grid.size for grid in grids])
        living = [grid.living(piece, self.sampler.DEAD) for grid, piece in zip(grids, pieces, strict=True)]
        if sum(grid.size for grid in living) > WORTH * len(self.logits):
            return None
        return self.keep_only(positions_of(living).int())

    @torch.no_grad()
    def keep_only(self, left: Tensor) -> Tensor:
        """Go on with the weights at these positions, int32 [M]; returns which of the logits so far they are."""
        which = left.long() if self.left is None else torch.searchsorted(self.left, left)
        self.left, self.grids = left, grids_at(left.long(), list(self.shapes.values()))
        self.logits, self.weights = nn.Parameter(self.logits.detach()[which]), self.weights[which]
        return which

    def penalty(self, alpha: float) -> Tensor:
        """r = alpha * (sum of all mask logits), to be added to the task's mean loss."""
        return alpha * self.logits.sum()

    def masks(self) -> Masks:
        """The masks so far: a weight is kept where its probability exceeds one half.

        Raises:
            ValueError: a logit is not a number, so that nothing is known of its weight.
        """
        if self.logits.isnan().any():
            raise ValueError(
                "Some mask logits are not numbers, since a loss or its gradient was not finite; find the batch whose "
                "loss is not, and train the masks again."
            )
        return Masks(self._named(self.logits.detach() > 0))

    def probabilities(self) -> dict[str, Tensor]:
        """The probability of each weight to be kept, by parameter name."""
        return self._named(torch.sigmoid(self.logits.detach()))


def _check_one_type(parameters: dict[str, nn.Parameter]) -> None:
    names = {str(parameter.dtype).removeprefix("torch."): name for name, parameter in parameters.items()}
    if len(names) > 1:
        raise ValueError(
            f"The parameters to mask are of several types ({', '.join(f'{n} in {t}' for t, n in names.items())}); "
            "convert the model to one, for example with model.float(), or leave some out with `where`."
        )


def _check_initialized(model: nn.Module) -> None:
    for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
        if nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"{name} has no values yet, since the model has lazily initialised modules; run it once on a batch "
                "and train it first."
            )


@contextlib.contextmanager
def _recurrence_with_gradient(model: nn.Module) -> Iterator[None]:
    """cuDNN has a gradient for recurrent layers in training mode only; without dropout that computes the same."""
    layers = [(module, module.dropout) for module in model.modules() if isinstance(module, nn.RNNBase)]
    try:
        for layer, _ in layers:
            layer.training, layer.dropout = True, 0.0
        yield
    finally:
        for layer, dropout in layers:
            layer.training, layer.dropout = False, dropout
