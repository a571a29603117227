"""The control for beta, used as a reader would: choose a beta, press the button."""

import re

import pytest

from modules_lib.training.progress import Progress
from reproduction.experiments import preset
from reproduction.notebook.beta_control import NO_RUN, BetaControl
from reproduction.notebook.display import setup
from reproduction.notebook.retraining import ADDMUL, CIFAR10, DOUBLE_ADDITION, PERMUTED, SCAN
from reproduction.runs.make import make
from tools.browser import PATIENCE

# chapter -> what is retrained, an experiment whose run is used, and a value of the option
CHAPTERS = {
    "addmul": (ADDMUL, "addmul-fnn", "fnn"),
    "double": (DOUBLE_ADDITION, "double-fnn", "fnn"),
    "cifar10": (CIFAR10, "cifar10", "cat"),
    "scan": (SCAN, "scan", "length"),
    "permuted": (PERMUTED, "permuted-quarter", "quarter"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Chapter -> configs and runs by name, made when a test asks for them."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODULES_RUNS", str(tmp_path_factory.mktemp("runs")))

        def of(chapter):
            if chapter not in made:
                experiment = CHAPTERS[chapter][1]
                steps = {} if chapter == "permuted" else {"mask_steps": 10}
                config = preset(experiment, "smoke", weight_steps=30, mask_lr=0.5, **steps)
                name = experiment.partition("-")[2] or experiment
                made[chapter] = {name: config}, {name: [make(config, 0, Progress())]}
            return made[chapter]

        yield of


@pytest.fixture
def control(runs, request):
    """The control of a chapter, ADDMUL's unless the test names others, with an option chosen."""
    setup()
    chapter = getattr(request, "param", "addmul")
    retraining, _, value = CHAPTERS[chapter]
    control = BetaControl(retraining, *runs(chapter), {})
    control.option.value = value
    yield control
    control.stop()
    control.wait()


def retrain(control):
    control.button.click()
    control.wait()


def shown(control):
    """The figures below the control."""
    data = [output["data"] for output in control.figures.outputs]
    return [one["application/vnd.plotly.v1+json"] for one in data if "application/vnd.plotly.v1+json" in one]


def kept(row):
    """What masks keep, in per cent, by name."""
    return {name: float(value.rstrip("%")) for name, value in row.items() if name.endswith("keeps")}


@pytest.mark.parametrize("control", CHAPTERS, indirect=True)
def test_masks_are_those_of_the_run_at_its_beta_and_others_at_another(control):
    assert control.tried == []  # nothing is trained until asked
    retrain(control)
    assert not control.button.disabled and control.stop_button.disabled
    run, again = control.tried
    assert again | {"time": "the run"} == run and kept(run)
    before = shown(control)
    assert len(before) == len(control.retraining.figures)
    control.beta.value = 1e-2
    retrain(control)
    assert "beta = 1.0e-02" in control.said.value and control.tried[:2] == [run, again]
    fewer = control.tried[2]
    assert fewer["beta"] == "1.0e-02" and all(kept(fewer)[name] < value for name, value in kept(run).items())
    assert shown(control) != before or control.retraining is SCAN  # this small network answers nothing, masked or not
    rows = re.findall(r"<tr>(.*?)</tr>", control.list.value, re.DOTALL)
    assert [re.findall("<td>(.*?)</td>", row) for row in rows] == [list(row.values()) for row in control.tried]


def test_stop_ends_a_training_and_leaves_the_control_as_it_was(control):
    retrain(control)
    tried, figures = list(control.tried), control.figures.outputs
    control.steps.value = 10**9  # would take days
    control.button.click()
    assert control.button.disabled and not control.stop_button.disabled
    control.stop_button.click()
    control.training.join(timeout=PATIENCE)  # a sampler that is being compiled is waited for
    assert not control.training.is_alive() and "Stopped" in control.said.value
    assert control.tried == tried and control.figures.outputs is figures
    assert not control.button.disabled and control.stop_button.disabled


def test_a_second_control_of_a_chapter_takes_the_place_of_the_first(control, runs):
    control.steps.value = 10**9
    control.button.click()
    parts = [control, *control.children, *control.children[0].children]
    second = BetaControl(control.retraining, *runs("addmul"), {})
    control.training.join(timeout=PATIENCE)
    assert not control.training.is_alive() and not control.tried
    assert all(part.comm is None for part in parts), "a closed widget is shown nowhere"
    other = BetaControl(SCAN, {}, {}, {})
    assert second.comm is not None, "another chapter's control closes nothing"
    retrain(second)
    assert len(second.tried) == 2
    for one in (second, other):
        one.close()


def test_without_a_run_it_says_what_to_do():
    control = BetaControl(ADDMUL, {"fnn": preset("addmul-fnn", "smoke")}, {"fnn": []}, {})
    assert [part.value for part in control.children] == [NO_RUN]


def test_networks_begin_with_their_own_beta_and_those_without_a_run_are_left_out(runs):
    configs = {name: preset(f"double-{name}", "smoke") for name in ("fnn", "lstm", "lstm-apart")}
    [run] = runs("double")[1]["fnn"]
    control = BetaControl(DOUBLE_ADDITION, configs, {"fnn": [run], "lstm": [], "lstm-apart": [run]}, {})
    assert [value for _, value in control.option.options] == ["fnn", "lstm-apart"]
    assert control.beta.value == pytest.approx(4e-4)
    control.option.value = "lstm-apart"
    assert control.beta.value == pytest.approx(1e-4)
    control.close()


@pytest.mark.parametrize("control", ["cifar10"], indirect=True)
def test_any_class_can_be_removed_and_a_change_of_class_keeps_beta(control):
    control.beta.value = 1e-3
    control.option.value = "ship"  # the run has left out two other classes
    assert control.beta.value == pytest.approx(1e-3)
    retrain(control)
    [ship] = control.tried
    assert ship["class to remove"] == "ship" and "without ship, this run" in str(shown(control))


def test_steps_times_rate_is_kept_and_said(control):
    control.steps.value = 5
    retrain(control)
    assert "5 steps at rate 1 (the run: 10 steps at rate 0.5)" in control.said.value


def test_a_wrong_number_of_steps_is_refused_in_words(control):
    control.steps.value = 0
    retrain(control)
    assert "mask_steps is 0; it must be a whole number of at least 1" in control.said.value
    assert control.tried == []
