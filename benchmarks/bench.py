"""Time a step of mask training against the plain one and an ordinary one: ``make bench``, ``make bench JSON=1``.

Plain, fast and unmasked steps of a model take turns, each kind in a process of its own, so that what else happens on
the machine slows all of them; figures are medians. The floor is what this machine cannot go below: the bytes that
a step must move over the bandwidth of a copy, plus its operations over the rate of a product, both measured here. In
the rows with K = 1 the plain step is that of a hard-concrete mask, with which others learn one mask a batch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.cases import BATCH, CASES, Case, batch_of, given
from benchmarks.floor import floor
from benchmarks.ordinary import ordinary_step, timed
from benchmarks.plain import HardConcreteModel, PlainMaskedModel, hard_concrete_step, plain_step
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.support.device import device
from modules_lib.support.precision import product_type
from modules_lib.training.loops import mask_steps
from reproduction.runs.provenance import provenance_of_machine
from reproduction.runs.published import results_folder

PRECISIONS = ("float32", "bfloat16")
KINDS = ("plain", "fast", "unmasked")
ALPHA = 1e-4 / BATCH
TITLES = ("model", "precision", "plain", "fast", "ratio", "unmasked", "x", "floor", "x", "peak")
RESULT = Path(__file__).resolve().parent / "latest.json"


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
        help="write results/bench.json, which the book shows; with --only or --precisions, its rows alone",
    )
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="all by default")
    parser.add_argument("--only", default="", help="models whose name contains this")
    args = parser.parse_args()
    target, machine = results_folder() / "bench.json" if args.publish else RESULT, provenance_of_machine()
    part = args.only or args.precisions != PRECISIONS
    stay = published_on(machine, target) if args.publish and part else []
    rows = []
    if not args.json:
        print("".join(f"{title:>9}" if i > 1 else f"{title:<24}" for i, title in enumerate(TITLES)))
    for number, case in enumerate(CASES):
        for precision in args.precisions:
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
