"""The alpha control, used as a reader would: choose a beta, press the button."""

import pytest

from modules_lib.controls import BetaControl
from modules_lib.execute import execute
from modules_lib.experiments.addmul import AddMul


@pytest.fixture
def control():
    config = AddMul(hidden=(24, 24), batch=32, weight_steps=30, mask_steps=400, mask_lr=3e-2)
    return BetaControl(config, execute(config)[0], {}, mask_steps=150)


def test_retraining_follows_the_chosen_beta(control):
    kept = []
    for beta in (1e-5, 1e-2):
        control.beta.value = beta
        control.button.click()
        assert not control.button.disabled
        frame = control.results
        rows = frame[(frame["stage"] == "add") & (frame["metric"] == "kept") & (frame["layer"] == "total")]
        kept.append(rows["value"].item())
    assert kept[1] < kept[0]


def test_it_draws_sharing_and_outcomes(control, monkeypatch):
    shown = []
    monkeypatch.setattr("modules_lib.controls.show", lambda figure, *_: shown.append(figure))
    control.button.click()
    assert len(shown) == 2 and all(figure.data for figure in shown)


def test_nothing_is_trained_until_asked(control):
    assert control.results is None


def test_a_wrong_number_of_steps_is_refused_in_words(control, capsys):
    control.steps.value = 0
    control.button.click()
    assert "mask_steps is 0; it must be a whole number of at least 1" in capsys.readouterr().out
    assert control.results is None
