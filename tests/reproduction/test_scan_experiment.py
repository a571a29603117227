"""The SCAN experiment, its figures, and the reader's own commands."""

import functools
import json

import pandas as pd
import pytest
import torch

from modules_lib.datasets import scan
from modules_lib.datasets.scan import ACTIONS, Scan, commands, interpret, split, token_name
from modules_lib.masking.masks import Masks
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.training.progress import Progress
from reproduction.experiments import preset, read_config
from reproduction.experiments.scan import OUTPUT, TOKENS, removed_by_token
from reproduction.figures import scan as figures
from reproduction.notebook.scan_commands import CommandControl, Translator
from reproduction.runs.measures import SPLIT_NAMES


@pytest.fixture(scope="module")
def config():
    return preset("scan", "smoke", weight_steps=3, mask_steps=3)


@pytest.fixture(scope="module")
def made(config):
    """A hardly trained network, its masks, and what was measured."""
    model, _ = config.train(0, Progress())
    masks = {stage: config.find_masks(model, 0, stage, Progress())[0] for stage in config.stages}
    return model, masks, config.measure(model, masks)


@functools.cache
def right_answers():
    data = Scan.of(commands())
    return {tuple(row): answer for row, answer in zip(data.commands.tolist(), data.actions, strict=True)}


class Oracle(EncoderDecoder):
    """Answers right up to a number of actions, and above that leaves the last one out."""

    longest = 1000

    def write(self, words, most):
        right = right_answers()
        answers = torch.stack([right[tuple(row)] for row in words.tolist()])
        lengths = (answers >= 0).sum(1) - 1
        for i in (lengths > self.longest).nonzero().flatten().tolist():
            answers[i, lengths[i] - 1 : lengths[i] + 1] = torch.tensor([scan.END, -1])
        return answers


def oracle(config, longest=1000):
    model = Oracle(len(scan.WORDS), len(TOKENS), scan.END, embedding=config.embedding, state=config.state)
    model.longest = longest
    return model.eval()


def test_exact_match_counts_every_split_and_every_length(config, made):
    rows = pd.DataFrame(config.measure(oracle(config, longest=22), made[1]))
    unmasked = rows[(rows["stage"] == "unmasked") & (rows["metric"] == "correct")].set_index("task")["value"]
    assert unmasked["length"] == 0.0
    for name in SPLIT_NAMES:
        tests = split(name)[1]
        short = sum(len(interpret(command)) <= 22 for command in tests) / len(tests)
        assert unmasked[name] == pytest.approx(short, abs=1e-6)
    by_length = rows[(rows["stage"] == "unmasked") & (rows["metric"] == "correct by length")].set_index("length")[
        "value"
    ]
    assert by_length.index.max() == scan.MOST_ACTIONS and by_length.index.min() == 1
    assert (by_length[by_length.index <= 22] == 1).all() and (by_length[by_length.index > 22] == 0).all()


def test_stages_train_with_their_own_commands(config):
    jumps = config.data("add-jump").commands
    assert len(jumps) == 14_670 and len(config.data("full").commands) == 16_728
    jump = scan.WORDS.index("jump")
    assert ((jumps == jump).any(1) == (jumps == torch.tensor([jump] + [-1] * 8)).all(1)).all()
    with pytest.raises(ValueError, match="Unknown stage 'long'; it must be one of full, simple, add-jump"):
        config.data("long")


def test_a_run_measures_every_mask_and_masks_no_embedding(made):
    model, masks, rows = made
    assert set(masks) == {"full", *SPLIT_NAMES}
    assert not any(name.startswith(("words", "tokens")) for name in masks["full"]) and OUTPUT in masks["full"]
    tested = {(row["stage"], row["task"]) for row in rows if row["metric"] == "correct"}
    assert tested == {(stage, task) for stage in ("unmasked", *masks) for task in SPLIT_NAMES}
    assert isinstance(model, EncoderDecoder)


def test_half_of_the_batches_are_taught():
    data = Scan.of(["jump", "walk twice"])
    taught = sum(data.batch(2, "coin", step)[0][2] for step in range(400))
    assert abs(taught - 200) < 50  # five standard deviations
    assert data.batch(2, "coin", 7)[0][2] == data.batch(2, "coin", 7)[0][2]


def test_the_loss_is_summed_over_time_and_averaged_over_the_batch():
    data = Scan.of(["jump", "walk twice"])  # 2 + 3 tokens
    scores = torch.zeros(*data.actions.shape, len(TOKENS))
    assert scan.loss(scores, data.actions).item() == pytest.approx(5 * torch.tensor(7.0).log().item() / 2)


def test_removed_weights_are_counted_among_those_that_some_split_needs():
    keep = torch.zeros(len(TOKENS), 4, dtype=torch.bool)
    one, other = keep.clone(), keep.clone()
    one[3], other[3, :2], other[0, 0] = torch.tensor([True, True, True, False]), True, True
    masks = {"full": Masks({OUTPUT: ~keep}), "simple": Masks({OUTPUT: one}), "add-jump": Masks({OUTPUT: other})}
    counts = {(row["stage"], row["task"]): row["value"] for row in removed_by_token(masks)}
    assert counts["any split", "I_JUMP"] == 3 and counts["add-jump", "I_JUMP"] == 2 and counts["simple", "I_JUMP"] == 3
    assert counts["any split", "I_WALK"] == 1 and counts["simple", "I_WALK"] == 0 and counts["full", "I_JUMP"] == 3


def test_figures_draw_what_was_measured(made):
    frame = pd.DataFrame(
        [{"seed": seed, "layer": None, "bin": None, "length": None, **row} for seed in (0, 1) for row in made[2]]
    )
    both, only = {"scan": frame}, {"scan": frame[frame["seed"] == 0]}
    for draw in (figures.accuracy_per_split, figures.accuracy_by_length, figures.removed_per_layer):
        for published, run in ((both, only), (both, {}), ({}, only)):
            assert draw(published, run).data
    bars = figures.removed_per_token(both, {}).data
    needed = frame[(frame["metric"] == "needed") & (frame["seed"] == 0)].pivot(
        index="stage", columns="task", values="value"
    )
    jump = next(bar for bar in bars if bar.name == SPLIT_NAMES["add-jump"])
    assert list(jump.x) == [token_name(token) for token in TOKENS]
    expected = 100 * (1 - needed.loc["add-jump", "I_JUMP"] / needed.loc["any split", "I_JUMP"])
    assert jump.y[TOKENS.index("I_JUMP")] == pytest.approx(expected)


def test_the_output_map_shows_the_chosen_split(made):
    figure = figures.output_map(made[1])
    shown = torch.tensor(figure.data[0].z)
    needed = torch.stack([made[1][name][OUTPUT] for name in SPLIT_NAMES]).any(0)
    kept = made[1]["add-jump"][OUTPUT]
    assert torch.equal(shown == 1, kept) and torch.equal(shown == 0, ~needed)
    choices = figure.layout.updatemenus[0].buttons
    assert [button.label for button in choices][0] == "add jump" and len(choices) == len(SPLIT_NAMES)
    simple = next(button for button in choices if button.label == "simple")
    assert torch.equal(torch.tensor(simple.args[0]["z"][0]) == 1, made[1]["simple"][OUTPUT])


@pytest.fixture
def translator(config, made):
    found = Translator(oracle(config), {"half": made[1]["full"]})
    found.networks["half"].longest = 3
    return found


def test_the_first_wrong_action_is_marked(translator):
    answer = translator.answer("walk twice and jump twice")
    assert answer.first_wrong("unmasked") is None and answer.first_wrong("half") == 3 and answer.correct() == 1
    assert answer.answers["half"] == ["I_WALK", "I_WALK", "I_JUMP"]
    assert "✗ half: WALK WALK JUMP [(the end)]" in str(answer) and "(the end)</mark>" in answer.html()
    answer.answers["half"] = ["I_WALK", "I_RUN", "I_JUMP", "I_JUMP", "I_JUMP"]
    assert answer.first_wrong("half") == 1 and ">RUN</mark>" in answer.html()
    answer.answers["half"] = [*answer.right, "I_LOOK"]
    assert answer.first_wrong("half") == 4 and answer.html().count("<mark") == 1
    answer.answers["half"] = [*answer.right, *["I_LOOK"] * 40]  # it never ends
    assert str(answer).endswith("JUMP [LOOK] LOOK LOOK LOOK LOOK LOOK … 34 more")


def test_what_another_network_answers_is_lost(translator):
    asked = ["walk after run around left", "turn around left", "look opposite right", "jump", "run thrice and jump"]
    lost = translator.lost(asked, "half", kept="unmasked")  # half writes 3 actions
    assert list(lost["command"]) == ["turn around left", "run thrice and jump", "walk after run around left"]
    assert lost["kept"].all() and not translator.lost(asked, "half", kept="half")["kept"].any()
    assert translator.lost(asked[3:4], "half", kept="unmasked").empty
    assert translator.lost(asked, "unmasked", kept="half").empty


def test_first_mistakes_are_named(translator):
    asked = ["walk thrice", "walk thrice and jump", "look twice and jump twice", "turn around left"]  # half writes 3
    lost = translator.lost(asked, "half", kept="unmasked")
    assert lost["asked"].value_counts().to_dict() == {"JUMP": 2, "TURN LEFT": 1}
    assert list(lost["written"]) == ["end"] * 3


def test_several_commands_need_no_kernel(translator):
    shown = translator.table(["jump", "turn around left"])._repr_mimebundle_()["text/html"]
    assert shown.count("<details") == 2 and "4 actions; 1 of 2 networks are right" in shown


def test_a_reader_tries_a_command(translator, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("reproduction.notebook.scan_commands.display", shown.append)
    control = CommandControl(translator, "look  twice")
    control.button.click()
    assert shown[0].right == ["I_LOOK", "I_LOOK"] and shown[0].first_wrong("unmasked") is None
    control.command.value = "fly"
    control.button.click()
    assert "'fly' is not a word of SCAN; the words are walk, look, run, jump" in capsys.readouterr().out
    control.command.value = "jump twice left"
    control.button.click()
    assert "is not a SCAN command" in capsys.readouterr().out and len(shown) == 1


def test_a_bad_dropout_is_refused():
    with pytest.raises(ValueError, match="dropout is 1.0; it must be a number of at least 0 and below 1"):
        preset("scan", "smoke", dropout=1.0)


def test_stored_runs_that_name_the_retired_setting_are_read():
    stored = json.loads(preset("scan").to_json())
    assert read_config(stored | {"simple": "official"}) == preset("scan")
    with pytest.raises(ValueError, match="scan has no setting 'simple'"):
        read_config(stored | {"simple": "seeded"})


def test_the_paper_scale_is_appendix_f():
    config = preset("scan", "paper")
    assert (config.batch, config.weight_steps, config.mask_steps, config.clip) == (256, 25_000, 25_000, 5.0)
    assert (config.beta, config.mask_lr, config.state, config.embedding, config.dropout) == (3e-5, 1e-2, 200, 16, 0.5)
    assert (config.cooldown, len(ACTIONS)) == (0.0, 6)
    assert config.model().encoder.num_layers == config.model().decoder.num_layers == 2
