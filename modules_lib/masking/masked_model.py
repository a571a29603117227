"""MaskedModel: any torch module with frozen weights, and a trainable mask logit for each chosen weight."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from modules_lib.masking.batched_linear import BatchedLinear, CannotBatchError, Draw, masked_weights
from modules_lib.masking.dead_weights import WORTH, WORTH_COMPILING, Grid, grids_at, positions_of
from modules_lib.masking.masks import Masks
from modules_lib.masking.sample_weights import flatten, mask_weights, unflatten
from modules_lib.masking.samplers import Sampler, sampler_of
from modules_lib.models.packing import recurrence_with_gradient
from modules_lib.support.checks import check_count, check_initialized, check_one_type
from modules_lib.support.memory import keep_freed_memory
from modules_lib.support.precision import product_type
from modules_lib.support.rng import mask_keys
from modules_lib.support.trees import agree, batch_size, join, map_tensors, random_like, slices, to_float32

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
    its parameters are neither changed nor trained. While masks are trained, weights that are dead for good may leave
    :attr:`logits` and :attr:`weights` (:mod:`modules_lib.masking.dead_weights`); :meth:`masks` and
    :meth:`probabilities` always have all.

    A model may run K sets of weights itself, in a method ``forward_samples(weights, *inputs, **named)``. ``weights``
    are all its parameters and buffers by name: [K, ...] where they are masked, else [1, ...]. Inputs and outputs are
    those of ``forward`` for the whole batch; the first B / K rows go under the first set, and so on. At the first batch
    its outputs, not its gradients, are compared with those of the slices. Its dead weights stay in training.
    ``modules_lib.models.encoder_decoder.EncoderDecoder`` is an example.

    Args:
        model: any torch module.
        samples: K, mask samples a batch; batch sizes must be divisible by it.
        where: which parameters to mask, by name; by default all but biases and ``nn.Embedding``; gains of norms, and
            embeddings that are plain parameters, are masked.
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
            "straight-through", or a class of your own (:mod:`modules_lib.masking.samplers`).

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
        check_initialized(model)
        where = where or weights_only(model)
        chosen = {name: parameter for name, parameter in model.named_parameters() if where(name)}
        if not chosen:
            raise ValueError(
                "No parameter is selected for masking; `where` must be true for at least one of "
                f"{', '.join(name for name, _ in model.named_parameters()) or '(the model has none)'}."
            )
        check_one_type(chosen)
        # Not registered as a submodule: parameters() must give the logits alone.
        self.__dict__["model"] = model.eval()
        self.samples, self.seed, self.stage, self.step = samples, seed, stage, 0
        self.sampler = sampler_of(sampler)
        self.shapes = {name: parameter.shape for name, parameter in chosen.items()}
        self.sizes = [parameter.numel() for parameter in chosen.values()]
        self.register_buffer("weights", self._cast(self._all_weights()))  # [N]
        # float32 whatever the model's type: in bfloat16 a step of 1e-2 would be lost on a logit above 4.
        self.logits = nn.Parameter(torch.full_like(self.weights, start, dtype=torch.float32))  # [N]
        self.fuse = samples * self.logits.numel() >= WORTH_FUSING if fuse is None else fuse
        self.batched, self.may_change = batched, batched is None
        self.frozen_get_gradients = False
        self.forward_samples: Callable[..., Any] | None = getattr(model, "forward_samples", None)
        self.living: Tensor | None = None  # int32 [M], positions of the weights that take part; None for all
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
        draw = Draw(self.logits, self.weights, keys, self.samples, self.fuse, self.sampler, self.grids, self.living)
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
        with recurrence_with_gradient(self.model):
            outputs = [
                functional_call(self.model, frozen | dict(zip(self.shapes, sample, strict=True)), inputs, named)
                for sample, (inputs, named) in zip(samples, parts, strict=True)
            ]
        return join(outputs)

    def _at_once(self, draw: Draw, arguments: Any) -> Any:
        if self.forward_samples is not None and draw.grids is None:
            return self._by_model(self.forward_samples, draw, arguments)
        linear = BatchedLinear(draw, list(self.shapes.values()), batch=batch_size(arguments))
        with recurrence_with_gradient(self.model), linear as placeholders:
            weights = dict(zip(self.shapes, placeholders, strict=True))
            return functional_call(self.model, self._frozen() | weights, *arguments)

    def _by_model(self, forward_samples: Callable[..., Any], draw: Draw, arguments: Any) -> Any:
        """One pass of a model that runs K sets of weights itself."""
        masked = masked_weights(draw, list(self.shapes.values()))
        shared = {name: value.unsqueeze(0) for name, value in self._frozen().items()}
        inputs, named = arguments
        with recurrence_with_gradient(self.model):
            return forward_samples(shared | dict(zip(self.shapes, masked, strict=True)), *inputs, **named)

    @torch.no_grad()
    def _runs_batched(self, arguments: Any) -> bool:
        """Whether one pass over a whole batch gives what the slices give.

        Tried in the model's own precision on random rows, with masks that keep every other weight. What differs must
        be far less than what the masks change.
        """
        generator = torch.Generator(device=self.logits.device).manual_seed(0)
        weights = self._all_weights()
        arguments = random_like(arguments, generator, low=weights.dtype)
        even = torch.zeros_like(self.logits)
        compute, self.compute = self.compute, None
        try:
            keys = [mask_keys("try", i, samples=self.samples, device=even.device) for i in range(2)]
            draws = [Draw(even, weights, key, self.samples, self.fuse) for key in keys]
            at_once = self._at_once(draws[0], arguments)
            if agree(at_once, *(self._by_slices(draw, slices(arguments, self.samples)) for draw in draws)):
                return True
            reason = "its outputs are not those of the slices"
        except Exception as error:  # whatever it is, slice by slice it works, or fails with the model's own message
            reason = f"{type(error).__name__}: {error}"
        finally:
            self.compute = compute
        if self.forward_samples is not None:
            name = type(self.model).__name__
            warnings.warn(f"{name}.forward_samples is not used ({reason}); it runs slice by slice.", stacklevel=2)
        return False

    def frozen_parameters(self) -> dict[str, Tensor]:
        """The wrapped model's parameters that are not masked, by name; without gradients unless these are wanted."""
        others: dict[str, Tensor] = {n: p for n, p in self.model.named_parameters() if n not in self.shapes}
        return others if self.frozen_get_gradients else {name: p.detach() for name, p in others.items()}

    def _frozen(self) -> dict[str, Tensor]:
        """What is not masked: other parameters, and buffers, in the type of the products."""
        frozen = {name: self._cast(p) for name, p in self.frozen_parameters().items()}
        return frozen | {name: self._cast(buffer) for name, buffer in self.model.named_buffers()}

    def _cast(self, tensor: Tensor) -> Tensor:
        """float32 -> the type of the products; everything else stays as it is."""
        return tensor.to(self.compute) if self.compute is not None and tensor.dtype == torch.float32 else tensor

    def _named(self, flat: Tensor, left_out: Tensor | None = None) -> dict[str, Tensor]:
        """[N] -> named tensors in the model's shapes; of dead weights that were left out, these values or zero."""
        if self.living is not None:
            left_out = flat.new_zeros(sum(self.sizes)) if left_out is None else left_out
            flat = left_out.index_copy(0, self.living.long(), flat)
        pieces = flat.split(self.sizes)
        return {name: unflatten(piece, shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MaskedModel:
        """What ``to`` and ``cuda`` call: the wrapped model goes along."""
        self.model._apply(fn, recurse)
        super()._apply(fn, recurse)
        if self.living is not None:
            self._place(self.living.to(self.logits.device))
        return self

    @torch.no_grad()
    def write_weights(self) -> None:
        """Put the weights, where they were trained along with the logits, into the wrapped model.

        Those that have left training stay there as they were before it.
        """
        if not self.weights.requires_grad:
            return
        parameters, before = dict(self.model.named_parameters()), self._all_weights()
        for name, weights in self._named(self.weights.detach().to(before.dtype), before).items():
            parameters[name].copy_(weights)

    @torch.no_grad()
    def drop_dead(self, falling: Tensor, steps: int) -> Tensor | None:
        """Leave rows and columns of dead weights out of training (:mod:`modules_lib.masking.dead_weights`).

        Only where linear layers run in one pass; a model that runs K sets of weights itself keeps all.

        Args:
            falling: bool, for each of the logits, whether it goes further down.
            steps: how many are left; for few of them, compiling anew would take longer than it saves.

        Returns:
            int64 [M], which of the logits so far remain; None if all do.
        """
        if not self.batched or self.forward_samples is not None:
            return None
        dead = (self.logits.detach() <= self.sampler.DEAD) & falling
        grids = self.grids or [Grid.all(shape, dead.device) for shape in self.shapes.values()]
        pieces = dead.split([grid.size for grid in grids])
        positions = positions_of([grid.living(piece) for grid, piece in zip(grids, pieces, strict=True)]).int()
        saved = (len(dead) - len(positions)) * self.samples * steps
        if len(positions) > WORTH * len(dead) or (self.fuse and self.living is None and saved < WORTH_COMPILING):
            return None
        which = positions.long() if self.living is None else torch.searchsorted(self.living, positions)
        self._take(positions, self.logits.detach()[which], self.weights.detach()[which])
        return which

    @torch.no_grad()
    def take_part(self, living: Tensor | None, logits: Tensor) -> None:
        """Go on with the weights at these positions, int32 [M] (None: all), and these logits [M]."""
        weights = self._cast(self._all_weights())
        if living is not None:
            living = living.to(weights.device)
            weights = weights[living.long()]
        self._take(living, logits.to(weights.device).clone(), weights)

    def _take(self, living: Tensor | None, logits: Tensor, weights: Tensor) -> None:
        self.logits, self.weights = nn.Parameter(logits), weights.requires_grad_(self.weights.requires_grad)
        self._place(living)

    def _place(self, living: Tensor | None) -> None:
        self.living = living
        self.grids = None if living is None else grids_at(living.long(), list(self.shapes.values()))

    def _all_weights(self) -> Tensor:
        """[N], of the wrapped model, in its own type."""
        return torch.cat([flatten(p.detach()) for name, p in self.model.named_parameters() if name in self.shapes])

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
        """The probability of each weight to be kept, by parameter name; zero where it has left training."""
        return self._named(torch.sigmoid(self.logits.detach()))
