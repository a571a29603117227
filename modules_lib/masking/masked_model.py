"""MaskedModel: any torch module with frozen weights, and a trainable mask logit for each chosen weight, or group."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from modules_lib.masking.batched_linear import BatchedLinear, CannotBatchError, Draw, masked_weights
from modules_lib.masking.calls import blocks_run_once, difference, undisturbed, wrong_gradients
from modules_lib.masking.groups import Unit, expanded, groups_of, masked_by, unit_of
from modules_lib.masking.mask_logits import MaskLogits
from modules_lib.masking.sample_weights import mask_weights
from modules_lib.masking.samplers import Sampler, sampler_of, worth_compiling
from modules_lib.masking.selection import Where, check_model, chosen, effective
from modules_lib.masking.slicing import Arguments, Slicing, cloned
from modules_lib.models.packing import recurrence_with_gradient
from modules_lib.support.checks import check_choice, check_count
from modules_lib.support.memory import keep_freed_memory
from modules_lib.support.precision import product_type
from modules_lib.support.rng import mask_keys
from modules_lib.support.trees import map_tensors, random_like, to_float32

# A gradient that rounding turned beside a kink (1 in 300 of Table 1's CNN) is right at the next draw of masks.
DRAWS = 3


class MaskedModel(MaskLogits):
    """A frozen model under K sampled masks (section 2): each of K slices of a batch sees its own subnetwork.

    The wrapped model is used as it is, through :func:`torch.func.functional_call`; it is set to evaluation mode and
    its parameters are neither changed nor trained. One with parametrised, normed or pruned weights is copied, and the
    weights as they act are masked (:func:`modules_lib.masking.selection.effective`). While masks are trained, weights
    that are dead for good may leave :attr:`logits` and :attr:`weights` (:mod:`modules_lib.masking.dead_weights`);
    :meth:`masks` and :meth:`probabilities` always have all.

    A model may run K sets of weights itself, in a method ``forward_samples(weights, *inputs, **named)``. ``weights``
    are all its parameters and buffers by name: [K, ...] where they are masked, else [1, ...]. Inputs and outputs are
    those of ``forward`` for the whole batch; the first B / K rows go under the first set, and so on. At the first batch
    its outputs and gradients are compared with those of the slices. Its dead weights stay in training.
    ``modules_lib.models.encoder_decoder.EncoderDecoder`` is an example.

    Args:
        model: any torch module.
        samples: K, mask samples a batch; batch sizes must be divisible by it.
        where: which parameters to mask, by name; by default all but biases and ``nn.Embedding``; gains of norms, and
            embeddings that are plain parameters, are masked.
        shared: arguments, by name or place, that are not cut with the batch: attention masks, positions, a graph.
        batch_dims: the dimension of the batch in the arguments, one for all or by name or place. That of the outputs is
            found with the first batch, whose slices are also compared with the whole.
        unit: the weights of a logit: one "weight", each "row" (output unit), "column" (input unit), "channel" (output
            channel) or "head", or groups of your own (:mod:`modules_lib.masking.groups`).
        heads: of an attention layer, for the unit "head".
        penalty: of alpha on each "group", or on each "weight", so that a large group costs more.
        start: every logit's first value; 2.0 keeps a weight with probability 0.88.
        seed, stage: name the stream of mask noise; the same two give the same masks.
        precision: "float32", "bfloat16", or "auto": bfloat16 where the hardware has it natively. In bfloat16 the model
            runs as after ``model.bfloat16()``, on inputs in that type; logits, their gradients and the outputs stay in
            float32. Take "float32" where inputs or buffers hold numbers that must not be rounded to three digits, such
            as positions. A model in another type than float32 keeps it.
        fuse: compile the sampler, which takes a few seconds and makes large ones ten times faster; None decides by
            size, and takes what is compiled for the CPU already. The masks are the same. The process then keeps the
            memory that is freed, for the next step.
        batched: run all samples in one pass, which is right for networks of linear layers over the rows of a batch;
            None tries at the first batch whether it is. Otherwise the model runs K times, slice by slice.
        sampler: how mask samples follow from logits: "gumbel-sigmoid" (the paper's), "hard-concrete",
            "straight-through", or a class of your own (:mod:`modules_lib.masking.samplers`).

    Raises:
        ValueError: samples is not a whole number of at least 1, no parameter is selected, those selected are not all
            of one type, or the model cannot be called with other weights.
    """

    @torch.inference_mode(False)
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
        shared: Collection[str | int] = (),
        batch_dims: int | Mapping[str | int, int] = 0,
        unit: str | Unit = "weight",
        heads: int | None = None,
        penalty: str = "group",
    ):
        check_count("samples", samples)
        check_choice("penalty", penalty, ("group", "weight"))
        check_model(model)
        model = effective(model).eval()
        grouped = unit_of(unit, heads)
        selected = chosen(model, where, masked_by(grouped) if grouped else None)
        groups = groups_of(grouped, {name: p.shape for name, p in selected.items()}) if grouped else None
        super().__init__(model, selected, groups, start, product_type(precision))
        self.samples, self.seed, self.stage, self.step, self.penalty = samples, seed, stage, 0, penalty
        self.sampler = sampler_of(sampler)
        if fuse is None:
            fuse = worth_compiling(self.sampler, [self.logits], samples)
        self.fuse = fuse
        self.batched, self.may_change = False if groups else batched, batched is None
        self.slicing = Slicing(model, samples, shared, batch_dims)
        self.modules_of_model = list(model.modules())
        self.tried = self.contiguous = self.frozen_get_gradients = False
        self.given: list[Tensor] = []  # the keys of the next calls, where they have been taken already
        if self.fuse:
            keep_freed_memory()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the model on a batch, each slice under a mask of its own, drawn from the noise of the next step.

        Args:
            inputs, named: the model's arguments: tensors [batch, ...], or tuples, lists and dicts of them; slice k of
                each goes under mask k. Arguments without tensors are given to every slice as they are.

        Raises:
            ValueError: the batch is not divisible by K.
        """
        arguments = (inputs, named)
        self.slicing.check(arguments)
        if not self.tried:
            self._try(arguments)
        if self.slicing.changes_inputs:
            arguments = cloned(arguments)
        keys = self.given.pop(0) if self.given else self.next_keys()
        draw = Draw(self.logits, self.weights, keys, self.samples, self.fuse, self.sampler, self.grids, self.living)
        with self._as_found():
            try:
                run = self._at_once if self.batched else self._by_slices
                outputs = run(draw, arguments)
            except CannotBatchError:  # another batch takes another way through the model than the one that was tried
                if not self.may_change:
                    raise
                self.batched = False
                outputs = self._by_slices(draw, arguments)
        return outputs if self.compute is None else map_tensors(to_float32, outputs)

    def next_keys(self) -> Tensor:
        """Take the keys of the next step's masks: int32 [(K + 1) // 2, 2]."""
        self.step += 1
        return mask_keys(self.seed, self.stage, self.step - 1, samples=self.samples, device=self.logits.device)

    @contextlib.contextmanager
    def _as_found(self) -> Iterator[None]:
        """A context in which calls leave nothing behind on the model."""
        with undisturbed(self.modules_of_model), blocks_run_once(), recurrence_with_gradient(self.model):
            yield

    def _by_slices(self, draw: Draw, arguments: Arguments) -> Any:
        parts = zip(self._samples(draw), self.slicing.cut(arguments), strict=True)
        return self.slicing.join([self._called(weights, part) for weights, part in parts])

    def _samples(self, draw: Draw) -> list[list[Tensor]]:
        """For each of K samples, the masked weights by parameter."""
        shapes = list(self.shapes.values())
        if self.groups:
            how = draw.samples, [draw.logits.shape], draw.fuse, draw.sampler
            kept = mask_weights(draw.logits, torch.ones_like(draw.logits), draw.keys, *how)
            flat = [draw.weights * expanded(self.groups, one).to(draw.weights.dtype) for [one] in kept]
            return [list(self._split(one).values()) for one in flat]
        grids = draw.grids
        sizes = [torch.Size([grid.size]) for grid in grids] if grids else shapes
        samples = mask_weights(
            draw.logits, draw.weights, draw.keys, draw.samples, sizes, draw.fuse, draw.sampler, draw.positions
        )
        return [[grid.whole(p) for grid, p in zip(grids, one, strict=True)] for one in samples] if grids else samples

    def _called(self, weights: Sequence[Tensor], part: Arguments) -> Any:
        """The model's outputs with these weights put in, for a slice."""
        if self.contiguous:
            weights = [weight.contiguous() for weight in weights]
        inputs, named = map_tensors(self._cast, part)
        return functional_call(self.model, self._frozen() | dict(zip(self.shapes, weights, strict=True)), inputs, named)

    def _at_once(self, draw: Draw, arguments: Arguments) -> Any:
        arguments = map_tensors(self._cast, arguments)
        if self.forward_samples is not None and draw.grids is None:
            masked = masked_weights(draw, list(self.shapes.values()))
            shared = {name: value.unsqueeze(0) for name, value in self._frozen().items()}
            inputs, named = arguments
            return self.forward_samples(shared | dict(zip(self.shapes, masked, strict=True)), *inputs, **named)
        linear = BatchedLinear(draw, list(self.shapes.values()), batch=self.slicing.batch(arguments))
        with linear as placeholders:
            weights = dict(zip(self.shapes, placeholders, strict=True))
            return functional_call(self.model, self._frozen() | weights, *arguments)

    def _try(self, arguments: Arguments) -> None:
        """Find out with the first batch how to run the model, and refuse what slices would get wrong.

        In the model's own precision, so that rounding is far smaller than the changes that masks make.
        """
        compute, self.compute = self.compute, None
        devices = [self.logits.device] if self.logits.is_cuda else []
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices), self._as_found():
            try:
                arguments = map_tensors(torch.clone, arguments)
                self.slicing.learn(self.model, arguments)
                self._try_slices(self.slicing.cut(cloned(arguments))[0])
                if self.batched is None:
                    self.batched = self._runs_batched(arguments)
            finally:
                self.compute = compute
        self.tried = True

    def _try_slices(self, part: Arguments) -> None:
        """Find out whether kernels may lie channels last, and refuse wrong gradients of the weights put in."""
        weights = self._split(self._all_weights())
        call = lambda put: self._called(list(put.values()), cloned(part))  # noqa: E731
        for _ in range(DRAWS):
            even = {name: weight * (torch.rand_like(weight) < 0.5) for name, weight in weights.items()}
            try:
                wrong = wrong_gradients(self.model, even, call, cloned(part))
            except RuntimeError:
                self.contiguous = True
                wrong = wrong_gradients(self.model, even, call, cloned(part))
            if not wrong:
                return
        raise ValueError(
            f"The gradient of {wrong} is not right when the weight is put in for a call, as where blocks run again "
            "in the backward pass; switch such checkpointing off in the model while masks are trained."
        )

    def _runs_batched(self, arguments: Arguments) -> bool:
        """Whether one pass over a batch gives what its slices give, on random rows, with half of the weights kept."""
        generator = torch.Generator(device=self.logits.device).manual_seed(0)
        weights = self._all_weights()
        arguments = random_like(arguments, generator, low=weights.dtype)
        even = torch.zeros_like(self.logits, requires_grad=True)
        keys = [mask_keys("try", i, samples=self.samples, device=even.device) for i in range(2)]
        draws = [Draw(even, weights, key, self.samples, self.fuse) for key in keys]
        try:
            reason = difference(
                lambda i: self._at_once(draws[i], cloned(arguments)),
                lambda i: self._by_slices(draws[i], cloned(arguments)),
                even,
                weights.dtype,
            )
        except Exception as error:  # whatever it is, slice by slice it works, or fails with the model's own message
            reason = f"{type(error).__name__}: {error}"
        if reason and self.forward_samples is not None:
            name = type(self.model).__name__
            warnings.warn(f"{name}.forward_samples is not used ({reason}); it runs slice by slice.", stacklevel=2)
        return not reason

    def frozen_parameters(self) -> dict[str, Tensor]:
        """List the model's parameters that are not masked, by name; without gradients unless these are wanted."""
        others: dict[str, Tensor] = {n: p for n, p in self.model.named_parameters() if n not in self.shapes}
        return others if self.frozen_get_gradients else {name: p.detach() for name, p in others.items()}

    def _frozen(self) -> dict[str, Tensor]:
        """The parameters that are not masked, and all buffers, in the type of the products."""
        frozen = {name: self._cast(p) for name, p in self.frozen_parameters().items()}
        return frozen | {name: self._cast(buffer) for name, buffer in self.model.named_buffers()}
