"""SCAN in a transformer: the network, what each stage trains with, and what is measured."""

import pandas as pd
import pytest
import torch

from modules_lib.datasets import scan
from modules_lib.datasets.scan import SPLITS, Scan, commands
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.training.loops import train_weights
from modules_lib.training.progress import Progress
from reproduction.claims import scan as claims
from reproduction.experiments import preset
from reproduction.experiments.transformer.network import Transformer
from reproduction.experiments.transformer.on_scan import HARDER, alone, heads_of
from reproduction.runs.measures import heads_kept, outcome


@pytest.fixture(scope="module")
def config():
    return preset("scan-transformer", "smoke", weight_steps=2, mask_steps=3, head_steps=4, head_lr=1.0, beta=1e-4)


@pytest.fixture(scope="module")
def made(config):
    """A hardly trained network, its masks, and the table of measurements, for which it answers every 40th command."""
    whole, part = Transformer.right, slice(None, None, 40)

    def right(model, words, actions):
        found = torch.zeros(len(words), dtype=torch.bool)
        found[part] = whole(model, words[part], actions[part])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transformer, "right", right)
        model, _ = config.train(0, Progress())
        masks, rows = {}, []
        for stage in config.stages:
            masks[stage], found = config.find_masks(model, 0, stage, Progress())
            rows += found
        rows += config.measure(model, masks)
    return model, masks, pd.DataFrame([{"seed": 0, **row} for row in rows])


def test_answers_depend_on_no_other_command_and_on_no_later_action(config):
    torch.manual_seed(0)
    model, data = config.model().eval(), Scan.of(commands()[3::900])
    together = model(data.commands, data.actions)
    for i in range(len(data.commands)):
        torch.testing.assert_close(model(data.commands[i : i + 1], data.actions[i : i + 1]), together[i : i + 1])
    other = torch.where((data.actions >= 0) & (torch.arange(49) >= 5), 0, data.actions)
    torch.testing.assert_close(model(data.commands, other)[:, :5], together[:, :5])
    assert not torch.allclose(model(data.commands, other)[:, 6:], together[:, 6:])


def test_right_answers_are_those_that_are_written(config):
    data = Scan.of(["jump", "walk", "look twice", "run left", "turn right", "walk thrice"])
    torch.manual_seed(0)
    batch = (data.commands, data.actions)
    model = train_weights(config.model(), lambda _: (batch, data.actions), scan.loss, steps=60, lr=1e-2)
    asked = Scan.of(["jump", "walk", "look twice", "run left", "turn right", "walk thrice", *commands()[::1000]])
    right = model.right(asked.commands, asked.actions)
    assert torch.equal(right.cpu(), scan.answered(model, asked)) and 3 <= right.sum() < len(right)


def test_stages_train_with_the_commands_of_their_split(config):
    for stage in (heads_of("length"), alone("length")):
        (words, actions), targets = config.data(stage).batch(8, "x")
        assert torch.equal(words, config.data("length").batch(8, "x")[0][0]) and torch.equal(actions, targets)
        lengths = (actions >= 0).sum(1)
        assert lengths.max() <= 23 and torch.equal(lengths, lengths.sort().values)
    assert config.stages[:5] == ("full", *SPLITS) == config.drawn


def test_every_network_is_tested_on_every_split(made):
    _, masks, table = made
    stages = {"unmasked", *masks}
    tested = table[table["metric"] == "correct"]
    assert {(row.stage, row.task) for row in tested.itertuples()} == {(s, t) for s in stages for t in SPLITS}
    assert not tested.duplicated(["stage", "task"]).any()


def test_masks_of_heads_keep_whole_heads_which_are_counted(config, made):
    model, masks, table = made
    mask = masks[heads_of("length")]
    kept = heads_kept(table, heads_of("length")).loc[0]
    assert 0 < kept.sum() < config.heads * 3 * config.blocks and len(kept) == 3 * config.blocks
    for name, layer in config.layers().items():
        if name.endswith("out_proj.weight"):
            assert mask[name].float().mean() == kept[layer.removesuffix(" out")] / config.heads
    assert not any("linear" in name or "output" in name for name in mask)
    assert set(masks["length"]) == set(config.layers())
    data = Scan.of(commands()[::800])
    with torch.no_grad():
        assert not torch.equal(subnetwork(model, mask)(data.commands, data.actions), model(data.commands, data.actions))


def test_networks_of_a_split_alone_have_all_weights_and_other_ones(made):
    _, masks, _ = made
    assert all(masks[alone(split)].kept() == 1 for split in HARDER)


def test_the_claims_are_of_the_transformers_own_results(made):
    table = made[2].copy()
    own = (table["metric"] == "correct") & (table["stage"] == alone("length")) & (table["task"] == "length")
    table.loc[own, "value"] = 0.25
    results = {"scan-transformer": table}
    margins = [s.margins[0] for s in claims.masks_know_more_than_their_split(results)]
    assert margins[HARDER.index("length")] == outcome(table, "length", "length")[0] - 0.25
    assert len(claims.splits_of_a_transformer_lose_much(results)) == 4
    assert len(claims.jump_loses_a_transformers_output_weights(results)) == 2


def test_the_paper_scale_has_the_released_sizes():
    config = preset("scan-transformer", "paper")
    assert (config.state, config.heads, config.blocks, config.feedforward) == (100, 4, 3, 200)
    assert (config.batch, config.weight_steps, config.mask_steps) == (256, 25_000, 25_000)
    assert (config.beta, config.weight_lr, config.mask_lr, config.clip) == (6e-4, 1e-3, 1e-2, 5.0)
    with pytest.raises(ValueError, match="state is 30; it must be even, and divisible by the 4 heads"):
        preset("scan-transformer", "smoke", state=30)
