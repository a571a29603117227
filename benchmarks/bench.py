"""Time a step of mask training against the plain one and an ordinary one: ``make bench``, ``make bench JSON=1``.

Plain, fast and unmasked steps of a model take turns, each kind in a process of its own, so that what else happens on
the machine slows all of them; figures are medians. The floor is what this machine cannot go below: the bytes that
a step must move over the bandwidth of a copy, plus its operations over the rate of a product, both measured here. In
the rows with K = 1 the plain step is that of a hard-concrete mask, with which others learn one mask a batch.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ordinary import ordinary_step, timed
from benchmarks.plain import (
    CellEncoderDecoder,
    CellLSTM,
    HardConcreteModel,
    PlainMaskedModel,
    hard_concrete_step,
    plain_step,
)
from modules_lib.datasets import arithmetic
from modules_lib.datasets.scan import ACTIONS, END, LONGEST_COMMAND, WORDS, Scan, commands
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.models.paper_networks import CNN, FNN, RepeatLSTM
from modules_lib.support.device import device
from modules_lib.support.precision import product_type
from modules_lib.training.loops import mask_steps
from reproduction.runs.provenance import provenance_of_machine
from reproduction.runs.published import results_folder

KINDS = ("plain", "fast", "unmasked")
BATCH, ALPHA = 128, 1e-4 / 128
TITLES = ("model", "precision", "plain", "fast", "ratio", "unmasked", "x", "floor", "x", "peak")
RESULT = Path(__file__).resolve().parent / "latest.json"


@dataclass(frozen=True)
class Case:
    """A model to time: how to make it, what it sees, and how to make the plain one where that differs.

    Attributes:
        data: "numbers", "images" or "commands"; of commands, a step with teacher forcing and one without make two.
        samples: K; with one mask sample the plain step is the hard-concrete one.
    """

    name: str
    model: Callable[[], nn.Module]
    data: str = "numbers"
    plain: Callable[[], nn.Module] | None = None
    samples: int = 4

    @property
    def steps(self) -> int:
        return 2 if self.data == "commands" else 1


CASES = [
    Case("FNN 4 x 2000", lambda: FNN(42, [2000] * 4, 20)),
    Case("FNN 4 x 800", lambda: FNN(42, [800] * 4, 20)),
    Case("FNN 400-400-200", lambda: FNN(42, [400, 400, 200], 20)),
    Case("LSTM 2 x 256, 3 steps", lambda: RepeatLSTM(42, 256, 20), plain=lambda: CellLSTM(42, 256, 20)),
    Case("Table 1 CNN", CNN, data="images"),
    Case(
        "SCAN encoder-decoder",
        lambda: EncoderDecoder(len(WORDS), len(ACTIONS) + 1, END),
        data="commands",
        plain=lambda: CellEncoderDecoder(len(WORDS), len(ACTIONS) + 1, END),
    ),
    Case("FNN 4 x 2000, K = 1", lambda: FNN(42, [2000] * 4, 20), samples=1),
    Case("FNN 4 x 800, K = 1", lambda: FNN(42, [800] * 4, 20), samples=1),
]


def batch_of(case: Case) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]:
    """Inputs, targets and loss. Commands are int64 [256, words + answer], of real lengths; see :func:`pieces`."""
    if case.data == "images":
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(BATCH, 3, 32, 32, generator=generator)
        labels = torch.randint(0, 10, (BATCH,), generator=generator)
        return images.to(device()), labels.to(device()), F.cross_entropy
    if case.data == "commands":
        (words, answers, _), _ = Scan.of(commands(), device()).batch(2 * BATCH, "bench")
        return torch.cat([words, answers], 1), answers, sequence_loss
    data = arithmetic.Arithmetic.of("add", "mul", device=device())
    return *data.batch(BATCH, "bench"), arithmetic.loss


def sequence_loss(scores: Tensor, answers: Tensor) -> Tensor:
    """Cross-entropy summed over time; scores [batch, T, tokens], or of the answers' tokens only."""
    there = answers >= 0
    scores = scores[there] if scores.dim() == 3 else scores
    return F.cross_entropy(scores, answers[there], reduction="sum") / len(answers)


def given(case: Case, inputs: Tensor, step: int) -> Any:
    """What the library's model is given in a step; every second time without teacher forcing."""
    if case.data != "commands":
        return inputs
    return inputs[:, :LONGEST_COMMAND], inputs[:, LONGEST_COMMAND:], step % 2 == 0


def stepper(kind: str, case: Case, precision: str) -> Callable[[], object]:
    """A function that makes one step of this kind: "plain", "fast" or "unmasked"; or two, of commands."""
    torch.manual_seed(0)
    inputs, targets, loss = batch_of(case)
    model = (case.plain or case.model)() if kind == "plain" else case.model()
    model = model.to(device())
    if kind == "plain" and case.samples == 1:
        peer = HardConcreteModel(model)
        optimizer = torch.optim.Adam(peer.parameters(), lr=1e-2)
        return lambda: hard_concrete_step(peer, optimizer, loss, inputs, targets, ALPHA)
    if kind == "plain":
        return plain_steps(case, model, inputs, targets, loss)
    if kind == "fast":
        masked = MaskedModel(model, case.samples, fuse=True, precision=precision)
        steps = mask_steps(masked, lambda step: (given(case, inputs, step), targets), loss, steps=10**9, alpha=ALPHA)
        return lambda: [next(steps) for _ in range(case.steps)]
    return unmasked(model.eval(), case, precision, inputs, targets, loss)


def plain_steps(case: Case, model: nn.Module, inputs: Tensor, targets: Tensor, loss: Callable) -> Callable[[], object]:
    plain = PlainMaskedModel(model, case.samples)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)

    def steps() -> None:
        for step in range(case.steps):
            model.teach = step % 2 == 0  # type: ignore[assignment]  # of an encoder-decoder, no parameter
            plain_step(plain, optimizer, loss, inputs, targets, ALPHA)

    return steps


def unmasked(
    model: nn.Module, case: Case, precision: str, inputs: Tensor, targets: Tensor, loss: Callable
) -> Callable[[], object]:
    step = iter(range(10**9))
    one = ordinary_step(model, product_type(precision), lambda: (given(case, inputs, next(step)), targets), loss)
    return lambda: [one() for _ in range(case.steps)]


def serve(kind: str, number: int, precision: str, turns: Connection) -> None:
    """A process that makes a step whenever it is its turn and answers with milliseconds and its peak in megabytes."""
    step = stepper(kind, CASES[number], precision)
    step()
    step()
    while turns.recv():
        milliseconds = timed(step) / CASES[number].steps
        turns.send((milliseconds, peak_memory()))


def peak_memory() -> float:
    """The most that this process has held, in megabytes: of the GPU's memory, or of the machine's."""
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # the more portable ru_maxrss would count the parent's too
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(number: int, precision: str, rounds: int, seconds: float) -> dict[str, float]:
    """Median milliseconds of each kind of step, taking turns, and the peak memory of the fast one's process."""
    context = multiprocessing.get_context("spawn")
    turns = {}
    for kind in KINDS:
        turns[kind], other = context.Pipe()
        context.Process(target=serve, args=(kind, number, precision, other), daemon=True).start()
        other.close()  # so that a process that fails ends the bench instead of letting it wait
        turns[kind].send(True)
        turns[kind].recv()
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    began, used = time.perf_counter(), 0.0
    while len(times["plain"]) < rounds and (time.perf_counter() - began < seconds or len(times["plain"]) < 3):
        for kind, worker in turns.items():
            for _ in range(1 if kind == "plain" else 3):
                worker.send(True)
                milliseconds, peak = worker.recv()
                times[kind].append(milliseconds)
                used = peak if kind == "fast" else used
    for worker in turns.values():
        worker.send(False)
    return {f"{kind}_ms": statistics.median(values) for kind, values in times.items()} | {"peak_mb": used}


@functools.cache
def machine_rates(precision: str) -> tuple[float, float]:
    """Bytes a second of a copy, and operations a second of a product, as measured here."""
    block = torch.zeros(2**26, device=device())
    other = torch.empty_like(block)
    copy = min(timed(lambda: other.copy_(block)) for _ in range(15)) / 1e3
    square = torch.randn(2048, 2048, device=device(), dtype=getattr(torch, precision))
    product = min(timed(lambda: square @ square) for _ in range(15)) / 1e3
    return 2 * block.numel() * 4 / copy, 2 * 2048**3 / product


def floor(case: Case, precision: str) -> float:
    """Milliseconds that bytes and operations of a fast step take at least.

    A weight and its logit are read in the forward and in the backward pass, the gradient is written; the update reads
    gradient, logit and both moments and writes the last three. Masked weights and their K gradients need not leave the
    cache, and drawing the masks is not counted. Operations: three products a pass.
    """
    masked = MaskedModel(case.model(), case.samples)
    width = 2 if precision == "bfloat16" else 4
    bytes_each = 2 * (4 + width) + 4 + 4 * 4 + 3 * 4
    bandwidth, rate = machine_rates(precision)
    return 1e3 * (masked.logits.numel() * bytes_each / bandwidth + operations(case) / rate)


def operations(case: Case) -> float:
    """Operations of one training step over the whole batch, as PyTorch counts them; of commands, without padding."""
    inputs, targets, loss = batch_of(case)
    if case.data != "commands":
        return counted(case, inputs, targets, loss)
    first = torch.zeros(1, 1, dtype=torch.long, device=device())
    both = counted(case, first.expand(1, 2), first, loss, longest=(1, 1))
    word = counted(case, first.expand(1, 3), first, loss, longest=(2, 1)) - both
    words, tokens = (int((part >= 0).sum()) for part in (inputs[:, :LONGEST_COMMAND], targets))
    return word * words + (both - word) * tokens


def counted(case: Case, inputs: Tensor, targets: Tensor, loss: Callable, **settings: Any) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    model = (case.plain or case.model)().to(device())
    for name, value in settings.items():
        setattr(model, name, value)
    with FlopCounterMode(display=False) as counter:
        loss(model(inputs), targets).backward()
    return counter.get_total_flops()


def bench(number: int, precision: str, rounds: int, seconds: float) -> dict[str, object]:
    times = measure(number, precision, rounds, seconds)
    row: dict[str, object] = {"model": CASES[number].name, "precision": precision}
    row |= {"plain_ms": times["plain_ms"], "fast_ms": times["fast_ms"], "ratio": times["plain_ms"] / times["fast_ms"]}
    row |= {"unmasked_ms": times["unmasked_ms"]}
    row |= {"floor_ms": floor(CASES[number], precision), "peak_mb": times["peak_mb"]}
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--rounds", type=int, default=25, help="turns of each model (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="at most this long a model (%(default)s)")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write results/bench.json, which the book shows; with --only, its rows alone",
    )
    parser.add_argument("--only", default="", help="models whose name contains this")
    args = parser.parse_args()
    target, machine = results_folder() / "bench.json" if args.publish else RESULT, provenance_of_machine()
    stay = published_on(machine, target) if args.publish and args.only else []
    rows = []
    if not args.json:
        print("".join(f"{title:>9}" if i > 1 else f"{title:<24}" for i, title in enumerate(TITLES)))
    for number, case in enumerate(CASES):
        for precision in ("float32", "bfloat16"):
            if args.only not in case.name:
                continue
            rows.append(bench(number, precision, args.rounds, args.seconds))
            print(json.dumps(rows[-1]) if args.json else line(rows[-1]), flush=True)
    rows = list({(row["model"], row["precision"]): row for row in [*stay, *rows]}.values())  # new ones in their place
    target.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    if not args.json:
        print(f"\nmilliseconds a step, medians; peak in MB; written to {target}")


def published_on(machine: dict, target: Path) -> list[dict]:
    """The published rows, if they are of this machine: others cannot stand beside new ones."""
    published = json.loads(target.read_text())
    if published["machine"] != machine:
        raise SystemExit(f"{target} was measured on {published['machine']}: publish all rows here, without --only.")
    return published["rows"]


def line(row: dict) -> str:
    """A row of the table; the columns are those of TITLES."""
    fast, unmasked, floor = row["fast_ms"], row["unmasked_ms"], row["floor_ms"]
    numbers = (row["plain_ms"], fast, row["ratio"], unmasked, fast / unmasked, floor, fast / floor, row["peak_mb"])
    return f"{row['model']:<24}{row['precision']:<24}" + "".join(
        f"{number:>9.{digits}f}" for number, digits in zip(numbers, (2, 2, 1, 2, 2, 2, 2, 0), strict=True)
    )


if __name__ == "__main__":
    main()
