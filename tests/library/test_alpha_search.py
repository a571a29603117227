"""The rule for alpha: on accuracy curves whose answer is known, and on a small network."""

import math
import warnings

import pytest
import torch

import modules_lib
from modules_lib.datasets import arithmetic
from modules_lib.datasets.arithmetic import Arithmetic
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.models.paper_networks import FNN
from modules_lib.training.alpha_search import choose_alpha, search
from modules_lib.training.loops import train_weights


def falling(alpha):
    """98% at 1e-7, a point less with every factor of ten, from 1e-5 on ten points less: below 95% from 1.1e-5 on."""
    decades = math.log10(alpha / 1e-7)
    return 0.98 - 0.01 * decades - 0.1 * max(0.0, decades - 2)


@pytest.mark.parametrize("refinements", [0, 1, 2, 5])
def test_the_answer_of_a_falling_curve_is_found_to_within_the_last_step(refinements):
    known = 1e-7 * 10 ** (2 + 0.01 / 0.11)  # where falling() is 0.95
    alpha, trials = search(falling, 0.95, 1e-7, refinements=refinements)
    resolution = math.sqrt(10) ** (1 / 2**refinements)
    assert known / resolution * 0.999 <= alpha <= known * 1.001
    assert list(trials) == sorted(trials) and trials[alpha] >= 0.95


def test_a_plateau_is_followed_to_its_end():
    asked = []

    def plateau(alpha):
        asked.append(alpha)
        return 0.99 if alpha < 5e-6 else 0.4

    alpha, _ = search(plateau, 0.98, 1e-7, refinements=4)
    assert 5e-6 / 10 ** (0.5 / 16) <= alpha < 5e-6
    failed = [one for one in asked if one >= 5e-6]
    assert max(asked) == failed[0], "no alpha beyond the first that failed is tried"


def test_no_valid_alpha_is_an_error_that_says_what_to_do():
    said = r"50.0% at 1e-07, where 97.0% is asked for; start lower \(`choose_alpha`\), train masks"
    with pytest.raises(ValueError, match=said):
        search(lambda alpha: 0.5, 0.97, 1e-7)
    with pytest.raises(ValueError, match="fails at the smallest alpha already"):
        search(lambda alpha: math.nan, 0.97, 1e-7)


def test_nothing_fails_up_to_the_limit():
    with pytest.warns(UserWarning, match="still holds at alpha 0.0001, the largest that was tried"):
        alpha, trials = search(lambda alpha: 1.0, 0.9, 1e-6, factor=10, limit=1e-4)
    assert alpha == pytest.approx(1e-4) and list(trials) == pytest.approx([1e-6, 1e-5, 1e-4])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 0}, "start is 0; it must be a number above 0"),
        ({"factor": 1.0}, "factor is 1.0; it must be a number above 1"),
        ({"limit": 1e-9}, "limit is 1e-09; it must be a number of at least 1e-07"),
        ({"refinements": -1}, "refinements is -1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        search(lambda alpha: 1.0, 0.9, **{"start": 1e-7, **settings})


@pytest.fixture(scope="module")
def adder():
    """A small network that answers most questions about the units of a sum."""
    data = Arithmetic.of("add")
    torch.manual_seed(0)
    model = FNN(42, (64, 64), 20)

    def batch(step):
        return data.batch(64, 0, "weights", step)

    def accuracy(model):
        with torch.no_grad():
            return float((model(data.inputs).view(-1, 2, 10).argmax(-1) == data.targets)[:, 0].double().mean())

    return train_weights(model, batch, arithmetic.loss, steps=400, lr=3e-3), batch, accuracy


def test_a_model_of_ones_own(adder):
    model, batch, accuracy = adder
    before = [p.detach().clone() for p in model.parameters()]
    how = {"tolerance": 0.1, "start": 1e-7, "factor": 10, "limit": 1e-2, "refinements": 1}
    choice = choose_alpha(
        model, batch, arithmetic.loss, accuracy, **how, steps=80, lr=0.1, precision="float32", progress=False
    )
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    curve = choice.curve
    assert list(curve.columns) == ["alpha", "accuracy", "kept", "steps", "holds"]
    assert curve["alpha"].is_monotonic_increasing and not curve["holds"].all()
    assert choice.alpha == curve[curve["holds"]]["alpha"].max() and choice.floor == choice.reference - 0.1
    assert accuracy(subnetwork(model, choice.masks)) == curve.set_index("alpha")["accuracy"][choice.alpha]
    assert curve[curve["holds"]]["steps"].eq(80).all()
    assert choice.masks.kept() == curve.set_index("alpha")["kept"][choice.alpha]


def test_a_mask_that_keeps_failing_is_given_up(adder):
    model, batch, accuracy = adder
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = choose_alpha(
            model, batch, arithmetic.loss, accuracy, tolerance=0.1, start=1e-7, factor=1e5, limit=0.02,
            refinements=0, steps=200, lr=0.1, progress=False,
        )  # fmt: skip
    failed = choice.curve[~choice.curve["holds"]]
    assert len(failed) == 1 and failed["steps"].item() < 200


def test_a_mask_is_looked_at_once_before_it_is_given_up(adder):
    model, batch, accuracy = adder
    with pytest.raises(ValueError, match="patience is 0; it must be a whole number of at least 1"):
        choose_alpha(model, batch, arithmetic.loss, accuracy, patience=0)


def test_it_is_part_of_the_public_library():
    assert modules_lib.choose_alpha is choose_alpha and "choose_alpha" in modules_lib.__all__
