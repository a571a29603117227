"""Time a step of mask training against the plain one and an ordinary one: ``make bench``, ``make bench JSON=1``.

Plain, fast and unmasked steps of a model take turns, so that what else happens on the machine slows all of them;
figures are medians. Each model has a process of its own. The floor is what this machine cannot go below: the bytes that
a step must move over the bandwidth of a copy, plus its operations over the rate of a product, both measured here.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain import CellLSTM, PlainMaskedModel, plain_step
from modules_lib.data import arithmetic
from modules_lib.device import device
from modules_lib.masked import MaskedModel
from modules_lib.models import CNN, FNN, RepeatLSTM
from modules_lib.provenance import provenance_of_machine
from modules_lib.training import mask_steps

BATCH, SAMPLES, ALPHA = 128, 4, 1e-4 / 128
RESULT = Path(__file__).resolve().parent / "latest.json"


@dataclass(frozen=True)
class Case:
    """A model to time: how to make it, how to make the plain one, and the products of one pass over a batch."""

    name: str
    model: Callable[[], nn.Module]
    image: bool = False
    plain: Callable[[], nn.Module] | None = None


CASES = [
    Case("FNN 4 x 2000", lambda: FNN(42, [2000] * 4, 20)),
    Case("FNN 4 x 800", lambda: FNN(42, [800] * 4, 20)),
    Case("FNN 400-400-200", lambda: FNN(42, [400, 400, 200], 20)),
    Case("LSTM 2 x 256, 3 steps", lambda: RepeatLSTM(42, 256, 20), plain=lambda: CellLSTM(42, 256, 20)),
    Case("Table 1 CNN", CNN, image=True),
]


def batch_of(case: Case) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]:
    if case.image:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(BATCH, 3, 32, 32, generator=generator)
        labels = torch.randint(0, 10, (BATCH,), generator=generator)
        return images.to(device()), labels.to(device()), F.cross_entropy
    data = arithmetic.Arithmetic.of("add", "mul", device=device())
    return *data.batch(BATCH, "bench"), arithmetic.loss


def stepper(kind: str, case: Case, precision: str) -> Callable[[], object]:
    """A function that makes one step of this kind: "plain", "fast" or "unmasked"."""
    torch.manual_seed(0)
    inputs, targets, loss = batch_of(case)
    model = (case.plain or case.model)() if kind == "plain" else case.model()
    model = model.to(device())
    if kind == "plain":
        plain = PlainMaskedModel(model, SAMPLES)
        optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)
        return lambda: plain_step(plain, optimizer, loss, inputs, targets, ALPHA)
    if kind == "fast":
        masked = MaskedModel(model, SAMPLES, fuse=True, precision=precision)
        steps = mask_steps(masked, lambda step: (inputs, targets), loss, steps=10**9, alpha=ALPHA)
        return lambda: next(steps)
    return unmasked(model.eval(), precision, inputs, targets, loss)


def unmasked(model: nn.Module, precision: str, inputs: Tensor, targets: Tensor, loss: Callable) -> Callable[[], object]:
    """An ordinary training step: autocast for bfloat16, fused Adam."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device().type, torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = model(inputs)
        loss(outputs.float(), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def timed(function: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    function()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began)


def measure(case: Case, precision: str, rounds: int, seconds: float) -> dict[str, float]:
    """Median milliseconds of each kind of step, taking turns."""
    kinds = {kind: stepper(kind, case, precision) for kind in ("plain", "fast", "unmasked")}
    for step in kinds.values():
        step()
        step()
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    began = time.perf_counter()
    while len(times["plain"]) < rounds and (time.perf_counter() - began < seconds or len(times["plain"]) < 3):
        for kind, step in kinds.items():
            times[kind] += [timed(step) for _ in range(1 if kind == "plain" else 3)]
    return {f"{kind}_ms": statistics.median(values) for kind, values in times.items()}


def peak(case: Case, precision: str) -> float:
    """Megabytes that a process of a few fast steps takes at most; call it in a process of its own."""
    step = stepper("fast", case, precision)
    for _ in range(5):
        step()
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def machine_rates(precision: str) -> tuple[float, float]:
    """Bytes a second of a copy, and operations a second of a product, as measured here."""
    block = torch.zeros(2**26, device=device())
    other = torch.empty_like(block)
    copy = min(timed(lambda: other.copy_(block)) for _ in range(7)) / 1e3
    square = torch.randn(2048, 2048, device=device(), dtype=getattr(torch, precision))
    product = min(timed(lambda: square @ square) for _ in range(7)) / 1e3
    return 2 * block.numel() * 4 / copy, 2 * 2048**3 / product


def floor(case: Case, precision: str) -> float:
    """Milliseconds that bytes and operations of a fast step take at least.

    Bytes a weight, with c bytes a number in the products: sampling reads logit and weight and writes K masked weights;
    the products read those twice and write K gradients; the update reads these, logit, weight and both moments, and
    writes logit and moments. Operations: three products a pass.
    """
    masked = MaskedModel(case.model(), SAMPLES)
    width = 2 if precision == "bfloat16" else 4
    bytes_each = (4 + width) + SAMPLES * width * (1 + 2 + 1 + 1) + (4 + width + 8) + 12
    bandwidth, rate = machine_rates(precision)
    return 1e3 * (masked.logits.numel() * bytes_each / bandwidth + operations(case) / rate)


def operations(case: Case) -> float:
    """Operations of one training step over the whole batch, as PyTorch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    inputs, targets, loss = batch_of(case)
    model = (case.plain or case.model)().to(device())
    with FlopCounterMode(display=False) as counter:
        loss(model(inputs), targets).backward()
    return counter.get_total_flops()


def bench(case_number: int, precision: str, rounds: int, seconds: float) -> dict[str, object]:
    case = CASES[case_number]
    row: dict[str, object] = {"model": case.name, "precision": precision}
    times = measure(case, precision, rounds, seconds)
    row |= {"plain_ms": times["plain_ms"], "fast_ms": times["fast_ms"], "ratio": times["plain_ms"] / times["fast_ms"]}
    return row | {"unmasked_ms": times["unmasked_ms"], "floor_ms": floor(case, precision)}


def alone(function: Callable, *arguments: object) -> object:
    """Call it in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_of(case_number: int, precision: str) -> float:
    return peak(CASES[case_number], precision)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--rounds", type=int, default=25, help="turns of each model (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="at most this long a model (%(default)s)")
    parser.add_argument("--only", default="", help="models whose name contains this")
    args = parser.parse_args()
    rows = []
    if not args.json:
        print(
            f"{'model':<24}{'precision':<11}{'plain':>9}{'fast':>9}{'ratio':>7}{'unmasked':>10}{'x':>6}{'floor':>9}{'x':>6}{'peak':>9}"
        )
    for number, case in enumerate(CASES):
        for precision in ("float32", "bfloat16"):
            if args.only not in case.name:
                continue
            row = dict(alone(bench, number, precision, args.rounds, args.seconds))  # type: ignore[call-overload]
            row["peak_mb"] = alone(peak_of, number, precision)
            rows.append({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
            print(json.dumps(rows[-1]) if args.json else line(rows[-1]), flush=True)
    RESULT.write_text(json.dumps({"machine": provenance_of_machine(), "rows": rows}, indent=1) + "\n")
    if not args.json:
        print(f"\nmilliseconds a step, medians; peak in MB; written to {RESULT}")


def line(row: dict) -> str:
    return (
        f"{row['model']:<24}{row['precision']:<11}{row['plain_ms']:>9.2f}{row['fast_ms']:>9.2f}{row['ratio']:>6.1f}x"
        f"{row['unmasked_ms']:>10.2f}{row['fast_ms'] / row['unmasked_ms']:>6.2f}{row['floor_ms']:>9.2f}"
        f"{row['fast_ms'] / row['floor_ms']:>6.2f}{row['peak_mb']:>9.0f}"
    )


if __name__ == "__main__":
    main()
