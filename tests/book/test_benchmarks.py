"""The plain step: that it is the same method as the library's, and that the bench runs."""

import json
import sys

import pytest
import torch
from torch import nn

from benchmarks import stage
from benchmarks.plain import (
    CellEncoderDecoder,
    CellLSTM,
    HardConcreteModel,
    PlainMaskedModel,
    hard_concrete_step,
    plain_step,
)
from modules_lib import MaskedModel, train_masks
from modules_lib.datasets import arithmetic
from modules_lib.datasets.scan import END, Scan
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.models.paper_networks import CNN, FNN
from modules_lib.training.progress import Progress
from reproduction.experiments import preset
from reproduction.runs.make import make
from tests.conftest import run_module


def trained_network():
    torch.manual_seed(0)
    data = arithmetic.Arithmetic.of("add")
    model = FNN(42, [32, 32], 20)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(400):
        optimizer.zero_grad()
        x, y = data.batch(256, "weights", step)
        arithmetic.loss(model(x), y).backward()
        optimizer.step()
    return model, data


def test_plain_and_fast_keep_the_same_proportions():
    """Three noise seeds each: the means agree within four standard errors and one per cent of the weights."""
    model, data = trained_network()
    plain_kept, fast_kept = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        plain = PlainMaskedModel(model)
        optimizer = torch.optim.Adam(plain.parameters(), lr=3e-2)
        for step in range(200):
            plain_step(plain, optimizer, arithmetic.loss, *data.batch(64, seed, step), alpha=1e-5)
        fast = MaskedModel(model, seed=seed)
        train_masks(fast, lambda step, s=seed: data.batch(64, s, step), arithmetic.loss, steps=200, alpha=1e-5, lr=3e-2)
        plain_kept.append(plain.masks().kept())
        fast_kept.append(fast.masks().kept())
    a, b = torch.tensor(plain_kept), torch.tensor(fast_kept)
    assert 0.05 < float(a.mean()) < 0.95
    assert abs(float(a.mean() - b.mean())) < 4 * float((a.var() / 3 + b.var() / 3).sqrt()) + 0.01


def test_precisions_agree():
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 5))
    x = torch.randn(16, 30)
    outputs = {p: MaskedModel(model, 4, seed=1, precision=p)(x) for p in ("float32", "bfloat16", "auto")}
    assert all(out.dtype == torch.float32 for out in outputs.values())
    # bfloat16 has 8 significant bits; the masks are the same, so only products differ.
    torch.testing.assert_close(outputs["bfloat16"], outputs["float32"], rtol=0.03, atol=0.03)
    assert not torch.equal(outputs["bfloat16"], outputs["float32"])
    with pytest.raises(ValueError, match="Unknown precision 'float16'; it must be one of float32, bfloat16, auto"):
        MaskedModel(model, precision="float16")


def test_the_hard_concrete_peer_finds_what_a_subtask_needs():
    model, _ = trained_network()
    torch.manual_seed(0)
    data = arithmetic.Arithmetic.of("add")
    peer = HardConcreteModel(model)
    optimizer = torch.optim.Adam(peer.parameters(), lr=3e-2)
    kept = [peer.kept().item()]
    for step in range(200):
        loss = hard_concrete_step(peer, optimizer, arithmetic.loss, *data.batch(64, 0, step), alpha=1e-2)
    kept.append(peer.kept().item())
    assert kept[1] < 0.8 * kept[0] and loss < 2.0  # knowing nothing costs 2 log 10 = 4.6


def test_plain_models_have_the_masked_weights_of_the_fast_ones():
    cells = CellLSTM(42, 8, 20)
    assert cells(torch.zeros(3, 42)).shape == (3, 20)
    weights = sum(p.numel() for name, p in cells.named_parameters() if "bias" not in name)
    assert weights == 4 * 8 * (42 + 8 + 8 + 8) + 8 * 20
    assert CNN()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("teach", [True, False])
def test_the_plain_encoder_decoder_is_the_fast_one_cell_by_cell(teach):
    torch.manual_seed(0)
    fast = EncoderDecoder(13, 7, END, embedding=5, state=8).eval()
    plain = CellEncoderDecoder(13, 7, END, embedding=5, state=8).eval()
    plain.teach = teach
    own = dict(fast.named_parameters())
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            kind, *rest = name.split(".")
            if kind in ("encoder", "decoder"):
                part, layer, what = rest
                name = f"{kind}.{what}_{'ih' if part == 'inner' else 'hh'}_l{layer}"
            parameter.copy_(own[name])
    (words, answers, _), _ = Scan.of(["jump", "walk around right twice and run", "look left", "turn left"]).batch(12, 0)
    scores = plain(torch.cat([words, answers], 1))
    torch.testing.assert_close(scores[answers >= 0], fast(words, answers, teach)[answers >= 0])


def test_bench_prints_one_object_a_line():
    few = ("--only", "400-400-200", "--precisions", "float32", "--rounds", "3", "--seconds", "1")
    result = run_module("benchmarks.bench", "--json", *few)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    keys = {"model", "precision", "plain_ms", "fast_ms", "ratio", "unmasked_ms", "floor_ms", "peak_mb"}
    assert [row["precision"] for row in rows] == ["float32"] and all(set(row) == keys for row in rows)
    assert all(row["fast_ms"] > 0 and row["peak_mb"] > 100 for row in rows)


def test_a_stage_is_timed_beside_unmasked_and_plain_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MODULES_RESULTS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["stage", "--scale", "smoke", "--publish"])
    config = preset("addmul-fnn", "smoke")
    stage.main()
    assert "its network is trained first" in capsys.readouterr().out
    make(config, 0, Progress())
    stage.main()
    said = capsys.readouterr().out
    assert "is trained first" not in said
    rows = json.loads((tmp_path / "stage-addmul-fnn-smoke.json").read_text())["rows"]
    assert [row["steps"] for row in rows] == [config.mask_steps * part // 20 for part in range(1, 21)]
    assert all(row["left"] == 1 for row in rows)
    ratio = sum(row["masked_ms"] for row in rows) / sum(row["unmasked_ms"] for row in rows)
    assert f"a masked step is {ratio:.2f} times an unmasked one" in said
    ratio = sum(row["plain_ms"] for row in rows) / sum(row["masked_ms"] for row in rows)
    assert f"ratio {ratio:.1f}" in said
