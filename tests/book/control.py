"""A chapter's control for beta in a browser, used in the same way wherever it is shown."""

CHAPTERS = {  # retraining -> an experiment of its chapter, by the name that the chapter has for it
    "ADDMUL": ("fnn", "addmul-fnn"),
    "DOUBLE_ADDITION": ("fnn", "double-fnn"),
    "SCAN": ("scan", "scan"),
    "CIFAR10": ("cifar10", "cifar10"),
    "PERMUTED": ("half", "permuted-half"),
}
CODE = """
from modules_lib.training.progress import Progress
from reproduction.experiments import preset
from reproduction.notebook import retraining
from reproduction.notebook.beta_control import BetaControl
from reproduction.runs.make import make
config = preset({experiment!r}, "smoke", **{settings})
BetaControl(retraining.{retraining}, {{{name!r}: config}}, {{{name!r}: [make(config, 0, Progress())]}}, {{}})
"""


def cell(retraining):
    """The code of a cell with a chapter's control, of a run that is made first, in few steps that remove weights."""
    name, experiment = CHAPTERS[retraining]
    masks = {"mask_lr": 0.5} if experiment.startswith("permuted") else {"mask_lr": 2.0, "mask_steps": 4}
    settings = {"weight_steps": 15} | masks
    return CODE.format(retraining=retraining, name=name, experiment=experiment, settings=settings)


def buttons(output):
    """Those that retrain and stop, of all controls in an output."""
    return [output.get_by_role("button", name=name) for name in ("Retrain the masks", "Stop")]


def retrain_twice_and_stop_once(output, figures, changes=True):
    """Retrain at both ends of beta, see the first of the figures change, and stop a training that would take days.

    A network of so few steps answers no command of SCAN, masked or not: nothing ``changes`` in its figure.
    """
    retrain, stop = buttons(output)
    figure, drawn = output.locator(figures).first, []
    for trained, beta in enumerate(("End", "Home")):  # the highest and the lowest
        output.locator(".noUi-handle").press(beta)
        retrain.click()
        output.locator("tbody tr td:last-child", has_text=" s").nth(trained).wait_for()
        figure.locator(".main-svg").first.wait_for(state="attached")
        drawn.append(figure.evaluate("gd => JSON.stringify(gd.data)"))
    assert (drawn[0] != drawn[1]) == changes
    assert output.locator("tbody tr td:nth-child(2)").all_inner_texts()[-2:] == ["1.0e-02", "1.0e-06"]
    output.get_by_label("steps").fill("1000000000")
    output.get_by_label("steps").press("Enter")
    retrain.click()
    stop.click()
    output.get_by_text("Stopped; figures are those of the last finished training.").wait_for()
