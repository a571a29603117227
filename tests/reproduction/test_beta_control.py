"""The alpha control, used as a reader would: choose a beta, press the button."""

import pytest

from reproduction.experiments.addmul import AddMul
from reproduction.notebook.beta_control import BetaControl
from reproduction.notebook.display import setup
from reproduction.runs.execute import execute


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config and its run."""
    config = AddMul(hidden=(24, 24), batch=32, weight_steps=30, mask_steps=400, mask_lr=3e-2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODULES_RUNS", str(tmp_path_factory.mktemp("runs")))
        return config, execute(config)[0]


@pytest.fixture
def control(trained):
    setup()
    control = BetaControl(*trained, {}, mask_steps=150)
    yield control
    control.stop()
    control.wait()


def retrain(control):
    control.button.click()
    control.wait()


def test_retraining_follows_the_chosen_beta(control):
    kept = []
    for beta in (1e-5, 1e-2):
        control.beta.value = beta
        retrain(control)
        assert not control.button.disabled and control.stop_button.disabled
        frame = control.results
        rows = frame[(frame["stage"] == "add") & (frame["metric"] == "kept") & (frame["layer"] == "total")]
        kept.append(rows["value"].item())
    assert kept[1] < kept[0]


def test_it_draws_sharing_and_outcomes(control):
    retrain(control)
    data = [output["data"] for output in control.figures.outputs]
    shown = [one["application/vnd.plotly.v1+json"] for one in data if "application/vnd.plotly.v1+json" in one]
    assert len(shown) == 2 and all(figure["data"] for figure in shown)
    assert "What they do." in data[-1]["text/plain"]


def test_nothing_is_trained_until_asked(control):
    assert control.results is None


def test_stop_ends_a_training_and_leaves_the_control_as_it_was(control):
    retrain(control)
    results, shown = control.results, control.figures.outputs
    control.steps.value = 10**9  # would take days
    control.button.click()
    assert control.button.disabled and not control.stop_button.disabled
    control.stop_button.click()
    control.training.join(timeout=300)  # a sampler that is being compiled is waited for
    assert not control.training.is_alive() and "Stopped" in control.said.value
    assert control.results is results and control.figures.outputs is shown
    assert not control.button.disabled and control.stop_button.disabled
    control.steps.value = 150
    retrain(control)
    assert control.results is not results


def test_a_wrong_number_of_steps_is_refused_in_words(control):
    control.steps.value = 0
    retrain(control)
    assert "mask_steps is 0; it must be a whole number of at least 1" in control.said.value
    assert control.results is None
