"""Runs that are stopped, killed, damaged or made twice at once: what comes out is what an undisturbed run gives."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import psutil
import pytest
import torch
from jupyter_client import KernelManager
from torch import nn

from modules_lib import MaskedModel, train_masks, train_weights
from modules_lib.models.paper_networks import FNN
from modules_lib.training.checkpoints import Checkpoint
from modules_lib.training.progress import Progress
from reproduction.experiments import preset
from reproduction.experiments.addmul import AddMul
from reproduction.runs import store as runs
from reproduction.runs.make import make
from tests.conftest import ROOT, run_module
from tests.reproduction.kill_runs import KINDS
from tools.browser import PATIENCE

KILLS = 8  # `python -m tests.reproduction.kill_runs 30` does it more often
TINY = AddMul(hidden=(16,), batch=16, weight_steps=6, mask_steps=4, start=0.02)
X = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))


def squares(outputs, _):
    return outputs.square().mean()


class Stopper(Progress):
    """Asks the run to stop when it has been told of progress this often."""

    def __init__(self, folder, after, seconds=1e9):
        super().__init__(self.count, lambda name: Checkpoint(folder, name, {"run": "test"}), seconds)
        self.after, self.told = after, 0

    def count(self, name, steps):
        self.told += steps > 0
        self.stopping = self.told == self.after


def dropout_network():
    return nn.Sequential(nn.Linear(5, 9), nn.Dropout(0.5), nn.ReLU(), nn.Linear(9, 2))


def trained(progress):
    """Weights of a network with dropout, after eight steps."""
    torch.manual_seed(0)
    model = dropout_network()
    loop = progress.loop("weights", lambda step, loss: [{"step": step, "value": loss}])
    train_weights(model, lambda step: (X * (step + 1), None), squares, steps=8, lr=0.1, cooldown=0.6, loop=loop)
    return [*model.parameters()], loop.rows


def masked(progress, **options):
    """Mask logits of the same network without dropout, after eight steps."""
    torch.manual_seed(0)
    masks = MaskedModel(FNN(5, [9], 2), seed=3, **options)
    loop = progress.loop("masks", lambda step, loss: [{"step": step, "value": loss}])
    train_masks(masks, lambda step: (X * (step + 1), None), squares, steps=8, alpha=1e-2, lr=0.1, loop=loop)
    return [masks.logits], loop.rows


@pytest.mark.parametrize("made", range(1, 8))
@pytest.mark.parametrize("training", [trained, masked, lambda progress: masked(progress, fuse=True)])
def test_a_loop_that_is_stopped_anywhere_ends_as_if_it_was_not(tmp_path, training, made):
    tensors, rows = training(Progress())
    with pytest.raises(KeyboardInterrupt):
        training(Stopper(tmp_path, made))
    progress = Stopper(tmp_path, -1)
    again, its_rows = training(progress)
    assert progress.told == 1 + 8 - made  # once of what was made before; only the other steps are made
    assert all(torch.equal(a, b) for a, b in zip(again, tensors, strict=True)) and its_rows == rows


@pytest.mark.parametrize("damage", ["truncated", "emptied", "flipped", "another run's"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, damage):
    tensors, rows = masked(Progress())
    with pytest.raises(KeyboardInterrupt):
        masked(Stopper(tmp_path, 5, seconds=0.0))
    last, previous = Checkpoint(tmp_path, "masks", {}).files
    content = last.read_bytes()
    if damage == "another run's":
        previous.write_bytes(content)
        other = Checkpoint(tmp_path / "other", "masks", {"run": "other"})
        other.save({"steps": 8}, {})
        last.write_bytes(other.files[0].read_bytes())
    else:
        flipped = content[:-5] + bytes([content[-5] ^ 4]) + content[-4:]
        last.write_bytes({"truncated": content[:-9], "emptied": b"", "flipped": flipped}[damage])
    with pytest.warns(UserWarning, match=r"masks\.checkpoint is not used \(it (is damaged|belongs to another run)\)"):
        again, its_rows = masked(Stopper(tmp_path, -1))
    assert torch.equal(again[0], tensors[0]) and its_rows == rows


def test_without_any_good_checkpoint_a_loop_starts_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        masked(Stopper(tmp_path, 5, seconds=0.0))
    for path in tmp_path.iterdir():
        path.write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="is not used"):
        again, _ = masked(Stopper(tmp_path, -1))
    assert torch.equal(again[0], masked(Progress())[0][0])


def test_checkpoints_are_saved_as_often_as_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_CHECKPOINT", "0")
    with pytest.raises(KeyboardInterrupt):
        masked(Stopper(tmp_path, 3, Progress().seconds))
    assert all(path.exists() for path in Checkpoint(tmp_path, "masks", {}).files)
    for bad in ("soon", "-1", "nan"):
        monkeypatch.setenv("MODULES_CHECKPOINT", bad)
        with pytest.raises(ValueError, match="MODULES_CHECKPOINT is .*; it must be a number of seconds"):
            Progress()


def test_killed_at_many_moments_runs_end_with_the_same_files(tmp_path):
    """`kill -9`: each process goes on where the one before it was killed, having lost one step at most."""
    counts = {}
    for kills in (KILLS, 0):
        result = run_module("tests.reproduction.kill_runs", str(kills), MODULES_RUNS=str(tmp_path / str(kills)))
        assert result.returncode == 0, result.stderr
        counts[kills] = json.loads(result.stdout)
    assert counts[KILLS]["kills"] == KILLS and counts[0]["made"] == counts[0]["wanted"]
    assert counts[KILLS]["wanted"] <= counts[KILLS]["made"] <= counts[KILLS]["wanted"] + KILLS
    killed, undisturbed = (runs.stored(tmp_path / str(kills)) for kills in (KILLS, 0))
    assert [run.experiment for run in killed] == sorted(KINDS.values())
    for a, b in zip(killed, undisturbed, strict=True):
        masks = sorted(path.name for path in (a.folder / "masks").iterdir())
        names = ["metrics.jsonl", "weights.safetensors", *(f"masks/{name}" for name in masks)]
        assert all((a.folder / name).read_bytes() == (b.folder / name).read_bytes() for name in names)
        assert len(masks) >= 3 and len({(a.folder / "masks" / name).read_bytes() for name in masks}) > 1
        assert not list(a.folder.parent.glob("*.partial"))


def start(*arguments, **variables):
    command = [sys.executable, "-m", "reproduction", *arguments]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | variables, start_new_session=True, preexec_fn=heed_ctrl_c, **output
    )


def heed_ctrl_c():
    """As in a terminal, also where the tests themselves run in the background, with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_two_processes_make_a_run_once(tmp_path):
    arguments = ("run", "addmul-fnn", "--scale", "smoke")
    both = [start(*arguments, MODULES_RUNS=str(tmp_path)) for _ in range(2)]
    outputs = [process.communicate(timeout=PATIENCE) for process in both]
    assert all(process.returncode == 0 for process in both), outputs
    [run] = runs.stored(tmp_path)
    assert all(str(run.folder) in stdout for stdout, _ in outputs) and not run.damage()


def start_training(folder, seconds):
    """A laptop run in a process group of its own, some steps after its beginning."""
    process = start("run", "addmul-fnn", MODULES_RUNS=str(folder), MODULES_CHECKPOINT=seconds)
    wait_for(lambda: psutil.Process(process.pid).children(recursive=True), "a worker")
    if seconds == "0":
        wait_for(lambda: list(folder.glob("*/*/seed-0.partial/weights.previous")), "two checkpoints")
    else:
        wait_for(lambda: b"weights" in os.read(process.stdout.fileno(), 4096), "progress")
    return process


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.05)


def test_a_worker_whose_parent_is_killed_saves_a_checkpoint_and_ends(tmp_path):
    process = start_training(tmp_path, "1000")
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    wait_for(lambda: not any(worker.is_running() for worker in workers), "the workers to end")
    process.communicate()
    assert list(tmp_path.glob("*/*/seed-0.partial/weights.checkpoint"))


def test_sigterm_to_the_whole_group_leaves_a_checkpoint(tmp_path):
    process = start_training(tmp_path, "1000")
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0 and "goes on" in errors and "Traceback" not in errors, errors
    assert list(tmp_path.glob("*/*/seed-0.partial/weights.checkpoint"))


def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    script = tmp_path / "script.py"
    lines = [
        "from reproduction.runs.execute import execute",
        "from tests.reproduction.test_resume import TINY",
        "execute(TINY, 1)",
    ]
    script.write_text("\n".join(lines))
    result = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode != 0 and 'if __name__ == "__main__"' in result.stderr


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path, wish):
    process = start_training(tmp_path, "0")
    process.send_signal(wish)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0 and "goes on" in errors and "Traceback" not in errors
    [last] = tmp_path.glob("*/*/seed-0.partial/weights.checkpoint")
    name = "/".join(last.parts[-4:-1]).removesuffix(".partial")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record, _ = Checkpoint(last.parent, "weights", {"run": name}).load()
    assert 0 < record["steps"] < preset("addmul-fnn").weight_steps


def reply(client, sent):
    """What a kernel answers to a request."""
    while (message := client.get_shell_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != sent:
        pass
    return message["content"]


def test_interrupting_a_kernel_leaves_a_checkpoint_and_a_kernel_that_goes_on(tmp_path):
    """As Stop does in a notebook: the cell ends, and no process trains on."""
    manager = KernelManager()
    manager.start_kernel(cwd=ROOT, env=os.environ | {"MODULES_RUNS": str(tmp_path), "MODULES_CHECKPOINT": "1000"})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        imports = "from reproduction.experiments import preset; from reproduction.notebook.own_runs import own_runs"
        sent = client.execute(f"{imports}; own_runs({{'fnn': preset('addmul-fnn')}})")
        while "weights" not in str(client.get_iopub_msg(timeout=PATIENCE)["content"].get("data")):  # the bar's postfix
            pass
        manager.interrupt_kernel()
        assert reply(client, sent)["ename"] == "KeyboardInterrupt"
        [last] = tmp_path.glob("*/*/seed-0.partial/weights.checkpoint")
        sent = client.execute("import multiprocessing; assert not multiprocessing.active_children()")
        assert reply(client, sent)["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.parametrize(("made", "what"), [(0, "weights.checkpoint"), (6, "masks-full.checkpoint"), (18, "seed-0")])
def test_a_full_disk_is_said_and_leaves_the_store_valid(tmp_path, monkeypatch, made, what):
    """The run is interrupted after so many steps and goes on where no file may have more than 2000 bytes."""
    monkeypatch.setenv("MODULES_RUNS", str(tmp_path))
    if made:
        progress = Stopper(tmp_path, made)
        with pytest.raises(KeyboardInterrupt):
            make(TINY, 0, progress)
    script = (
        "import resource, signal\n"
        "from reproduction.runs.make import make\n"
        "from modules_lib.training.progress import Progress\n"
        "from tests.reproduction.test_resume import TINY\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "make(TINY, 0, Progress())\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    [sentence] = [line for line in result.stderr.splitlines() if line.startswith("RuntimeError")]
    assert f"{what} cannot be written" in sentence and "make room or give access there" in sentence
    assert not list(tmp_path.rglob("*.writing")) + list(tmp_path.rglob(".seed-0-*"))
    assert runs.stored(tmp_path) == []
    progress = Stopper(tmp_path, -1)
    assert not make(TINY, 0, progress).damage()
    assert progress.told == 18 - made + {0: 0, 6: 1, 18: 4}[made]  # once for each loop that had begun
