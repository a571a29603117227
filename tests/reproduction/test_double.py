"""Double addition: what each network is shown, when its answers are read, and that nothing else counts."""

import pytest
import torch
from torch import nn

from modules_lib.datasets.double_addition import PAIRS, DoubleAddition
from modules_lib.training.progress import Progress
from reproduction.experiments import preset

EXPERIMENTS = ("double-fnn", "double-lstm", "double-lstm-apart")
# stage -> for each presentation, the pairs whose digits are shown
SHOWN = {
    "double-fnn": {"full": [{0}, {1}], "pair-1": [{0}], "pair-2": [{1}]},
    "double-lstm": {"full": [{0, 1}], "pair-1": [{0}], "pair-2": [{1}]},
    "double-lstm-apart": {"full": [{0}, {1}], "pair-1": [{0}], "pair-2": [set(), {1}]},
}


def numbers(inputs):
    """[M, 40] one-hot digits of two numbers -> the numbers, each [M]."""
    d = inputs.unflatten(-1, (4, 10)).argmax(-1)
    return d[:, 0] * 10 + d[:, 1], d[:, 2] * 10 + d[:, 3]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("stage", ["full", *PAIRS])
def test_a_stage_shows_its_pairs_and_asks_for_their_sums(experiment, stage):
    data = preset(experiment, "smoke").data(stage)
    inputs, sums = data.batch(50, 0, stage, 3)
    each = inputs.unflatten(-1, (2, 40))  # [50, P, pair, 40]
    shown = SHOWN[experiment][stage]
    assert each.shape[1] == len(shown)
    for i, pairs in enumerate(shown):
        for pair in (0, 1):
            assert torch.all(each[:, i, pair].sum(-1) == (4 if pair in pairs else 0))
    asked = sorted(set.union(*shown))
    assert sums.shape == (50, len(asked), 2)
    for place, pair in enumerate(asked):
        [i] = [i for i, pairs in enumerate(shown) if pair in pairs]
        a, b = numbers(each[:, i, pair])
        assert torch.equal(sums[:, place, 0] * 10 + sums[:, place, 1], (a + b) % 100)
    assert torch.equal(inputs, data.batch(50, 0, stage, 3)[0]) and not torch.equal(
        inputs, data.batch(50, 0, stage, 4)[0]
    )


def answers(experiment, stage, seed=0):
    """A smoke-scale LSTM, its inputs and what its experiment reads as answers."""
    torch.manual_seed(seed)
    config = preset(experiment, "smoke")
    model, data = config.model().eval(), config.data(stage)
    inputs, _ = data.batch(5, seed)
    return config, model, inputs, data.answers(model(inputs))


def by_hand(model, sequence):
    """[steps, M, 80] -> the outputs of every step as [steps, M, pair, 2, 10], one step at a time."""
    state, outputs = None, []
    for x in sequence:
        out, state = model.lstm(x.unsqueeze(0), state)
        outputs.append(model.output(out[0]).unflatten(-1, (2, 2, 10)))
    return torch.stack(outputs)


def test_both_pairs_together_are_shown_for_six_steps_and_read_after_the_last():
    config, model, inputs, read = answers("double-lstm", "full")
    assert config.repeats == 3
    steps = by_hand(model, inputs[:, 0].expand(6, -1, -1))
    torch.testing.assert_close(read, steps[5])
    assert (read - steps[4]).abs().max() > 1e-3 and (read - steps[2]).abs().max() > 1e-3


def test_pairs_apart_are_shown_for_three_steps_each_and_read_at_the_third_and_sixth():
    _, model, inputs, read = answers("double-lstm-apart", "full")
    first, second = inputs[:, 0], inputs[:, 1]
    steps = by_hand(model, torch.stack([first, first, first, second, second, second]))
    torch.testing.assert_close(read[:, 0], steps[2, :, 0])
    torch.testing.assert_close(read[:, 1], steps[5, :, 1])
    for wrong in (0, 1, 3, 4):
        assert (read[:, 0] - steps[wrong, :, 0]).abs().max() > 1e-3
        assert (read[:, 1] - steps[wrong, :, 1]).abs().max() > 1e-3
    reset = by_hand(model, torch.stack([second, second, second]))
    assert (read[:, 1] - reset[2, :, 1]).abs().max() > 1e-3, "the state is not reset between the pairs"


def test_the_second_pair_alone_still_comes_after_three_empty_steps():
    _, model, inputs, read = answers("double-lstm-apart", "pair-2")
    empty, second = torch.zeros_like(inputs[:, 1]), inputs[:, 1]
    steps = by_hand(model, torch.stack([empty] * 3 + [second] * 3))
    torch.testing.assert_close(read[:, 0], steps[5, :, 1])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("pair", [0, 1])
def test_the_other_pairs_answer_is_left_out_of_the_loss(experiment, pair):
    data = preset(experiment, "smoke").data(PAIRS[pair])
    inputs, sums = data.batch(8, 0)
    outputs = torch.zeros(8, inputs.shape[1], 40, requires_grad=True)
    data.loss(outputs, sums).backward()
    used = outputs.grad.unflatten(-1, (2, 20)).abs().sum((0, 3))  # [P, pair]
    assert used[-1, pair] > 0 and used.sum() == used[-1, pair]


class Oracle(nn.Module):
    """Adds the first pair right and the second one never."""

    def forward(self, x):
        a, b = numbers(x[..., :40].flatten(0, 1))
        total = ((a + b) % 100).view(x.shape[:2])
        right = torch.nn.functional.one_hot(torch.stack([total // 10, total % 10], -1), 10).flatten(-2)
        return torch.cat([right, torch.zeros_like(right)], -1).float()


def test_accuracy_is_over_every_question_of_each_pair():
    for experiment in EXPERIMENTS:
        first, second = preset(experiment, "smoke").data("full").accuracies(Oracle())
        assert first == 1.0 and second == pytest.approx(0.01, abs=1e-9)  # it answers 00, right for a hundredth of all


def test_together_each_question_of_one_pair_meets_one_of_the_other():
    data = preset("double-lstm", "smoke").data("full")
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x)
            return torch.zeros(*x.shape[:2], 40)

    data.accuracies(Spy())
    each = torch.cat(seen).unflatten(-1, (2, 40))[:, 0]  # [10000, pair, 40]
    asked = [a * 100 + b for a, b in (numbers(each[:, 0]), numbers(each[:, 1]))]
    assert all(len(questions.unique()) == 10_000 for questions in asked)
    assert abs(torch.corrcoef(torch.stack(asked).double())[0, 1]) < 0.05  # 5 standard deviations
    assert isinstance(data, DoubleAddition)


def test_a_run_measures_both_pairs_under_every_mask():
    config = preset("double-lstm-apart", "smoke", weight_steps=3, mask_steps=3)
    model, _ = config.train(0, Progress())
    masks = {stage: config.find_masks(model, 0, stage, Progress())[0] for stage in config.stages}
    rows = config.measure(model, masks)
    tested = {(row["stage"], row["task"], row["metric"]) for row in rows if row.get("task")}
    stages = ("unmasked", "full", "pair-1", "pair-2", "not pair-1", "not pair-2")
    assert tested == {(stage, pair, how) for stage in stages for pair in PAIRS for how in ("correct", "alone")}
    shared = [row for row in rows if row["metric"] == "sharing"]
    assert {row["stage"] for row in shared} == set(PAIRS) and len(shared) == 2 * (len(config.layers()) + 1)
