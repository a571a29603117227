"""Steps of LSTM layers, compiled, against the same steps in torch's operations."""

import subprocess

import pytest
import torch

from modules_lib.models import lstm_layer as lstm
from modules_lib.support import compile_cpp as compiled

GROUPS, INPUTS, UNITS = 3, 6, 38  # units: neither a multiple of a vector nor less than one
COUNTS = [40, 40, 33, 32, 7, 1]  # more than one block of sequences, whole ones and parts
needs_compiler = pytest.mark.skipif(
    not lstm._function("forward", "cpu", torch.float32), reason="needs a C++ compiler and torch's kernels for blocks"
)


def forget():
    """What was compiled, or could not be."""
    compiled.library.cache_clear()
    lstm._function.cache_clear()


@pytest.fixture(autouse=True)
def anew():
    yield
    forget()


@pytest.fixture
def uncompiled(monkeypatch):
    """Switches to torch's operations."""

    def switch():
        monkeypatch.setattr(lstm, "TYPES", {})
        forget()

    return switch


def layer(dtype, shared=False, inputs=INPUTS, units=UNITS):
    """A layer, one set of weights a group or one for all, and its inputs; all with gradients."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape):
        return torch.randn(*shape, generator=generator).to(dtype).requires_grad_()

    several = 1 if shared else GROUPS
    weights = [numbers(several, 4 * units, columns) for columns in (inputs, units)]
    weights = [(weight.detach() * 0.3).requires_grad_() for weight in weights]
    biases = [numbers(several, 4 * units) for _ in range(2)]
    state = numbers(GROUPS, COUNTS[0], units), numbers(GROUPS, COUNTS[0], units)
    leaves = [*weights, *biases, *state, numbers(GROUPS, sum(COUNTS), inputs)]
    return lstm.Layer(leaves[:4], state, COUNTS), leaves


def run(dtype, choice="each", **sizes):
    """States, and gradients of everything from one of them or both."""
    taken, leaves = layer(dtype, choice == "shared", **sizes)
    if choice == "by steps":
        with torch.no_grad():
            for part in leaves[-1].split(COUNTS, 1):
                taken.step(part)
    h, c = taken.run(leaves[-1])
    loss = h.float().sin().sum() if choice == "hidden alone" else h.float().sin().sum() + c.float().square().sum()
    return h, c, *torch.autograd.grad(loss, leaves)


@needs_compiler
@pytest.mark.parametrize("choice", ["each", "shared", "by steps", "hidden alone"])
@pytest.mark.parametrize(
    ("dtype", "away"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)], ids=["float32", "bfloat16"]
)
def test_compiled_steps_are_those_of_torch(uncompiled, choice, dtype, away):
    """Up to rounding, against the largest number of each array."""
    ours = run(dtype, choice)
    uncompiled()
    for one, other in zip(ours, run(dtype, choice), strict=True):
        assert (one - other).abs().max() <= away * other.abs().max()


def test_under_autocast_steps_are_those_of_a_run():
    """The type of the layer is autocast's, whatever its inputs have."""
    _, leaves = layer(torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        at_once, by_steps = (lstm.Layer(leaves[:4], tuple(leaves[4:6]), COUNTS) for _ in range(2))
        h, _ = at_once.run(leaves[6])
        states = [by_steps.step(part) for part in leaves[6].split(COUNTS, 1)]
    assert h.dtype == torch.bfloat16
    torch.testing.assert_close(torch.cat(states, 1), h, rtol=0, atol=0.02)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_odd_sizes_are_no_exception(uncompiled, dtype):
    for sizes in ({"inputs": 5}, {"units": 37}):
        ours = run(dtype, **sizes)
        uncompiled()
        for one, other in zip(ours, run(dtype, **sizes), strict=True):
            assert (one - other).abs().max() <= 0.02 * other.abs().max()


@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        (0, torch.zeros(GROUPS, 4 * UNITS + 1, INPUTS), "input weights are .* of .3, 153, 6.; the layer needs .*152"),
        (1, torch.zeros(GROUPS + 1, 4 * UNITS, UNITS), "expand"),
        (2, torch.zeros(GROUPS, 4 * UNITS, dtype=torch.float64), "biases are torch.float64"),
        (5, torch.zeros(GROUPS, COUNTS[0] - 1, UNITS), "cell states are"),
        (6, torch.zeros(GROUPS, sum(COUNTS) - 1, INPUTS), "inputs are .*152, 6.; the layer needs .*153, 6"),
        (6, torch.zeros(GROUPS, sum(COUNTS), INPUTS).bfloat16(), "inputs are torch.bfloat16"),
    ],
)
def test_what_does_not_fit_together_is_an_error(place, wrong, message):
    """Compiled steps would read what is not there."""
    _, leaves = layer(torch.float32)
    leaves[place] = wrong
    with pytest.raises((ValueError, RuntimeError), match=message):
        lstm.Layer(leaves[:4], tuple(leaves[4:6]), COUNTS).run(leaves[6])


def test_steps_that_grow_are_an_error():
    _, leaves = layer(torch.float32)
    for counts in ([1, 2], [COUNTS[0] + 1]):
        with pytest.raises(ValueError, match="none may have more than the step before"):
            lstm.Layer(leaves[:4], tuple(leaves[4:6]), counts)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_threads_do_not_change_a_bit(dtype):
    alone = run(dtype)[:2]
    torch.set_num_threads(2)
    try:
        assert all(map(torch.equal, alone, run(dtype)[:2]))
    finally:
        torch.set_num_threads(1)


def gated(x, before=0.5):
    """Gates, hidden and cell state after one step to which the inputs give x, [4 units], from a cell state."""
    units = len(x) // 4
    weights = [x.view(1, -1, 1), torch.zeros(1, 4 * units, units), *torch.zeros(2, 1, 4 * units)]
    state = torch.zeros(1, 1, units), torch.full((1, 1, units), before)
    taken = lstm.Layer(weights, state, [1])
    h, c = taken.run(torch.ones(1, 1, 1))
    return taken.gates, h, c


@needs_compiler
@pytest.mark.parametrize("size", [20.0, 1e4, float("inf")])
def test_saturated_gates_are_zero_or_one(size):
    """Input, forget, cell and output gate at their ends; each combination of signs that a step can have."""
    for signs in torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4):
        _, h, c = gated((signs * size).repeat_interleave(UNITS))
        i, f, _, o = (signs > 0).float()
        expected = f * 0.5 + i * signs[2]
        torch.testing.assert_close(c, expected.expand_as(c), rtol=0, atol=1e-6)
        torch.testing.assert_close(h, (o * expected.tanh()).expand_as(h), rtol=0, atol=1e-6)


@needs_compiler
def test_what_is_not_a_number_stays_so():
    """A loss that is lost must be seen."""
    assert all(states.isnan().all() for states in gated(torch.full((4 * UNITS,), float("nan"))))


def test_without_a_compiler_steps_are_the_same_and_one_is_told_once(monkeypatch, tmp_path):
    expected = run(torch.float32)
    forget()
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    with pytest.warns(UserWarning, match="could not be compiled .*nothing.*they need a C.. compiler") as told:
        results = [run(torch.float32) for _ in range(2)]
    assert len(told) == 1
    for result in results:
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-4)


@needs_compiler
def test_steps_are_compiled_once_for_all_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    calls, called = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: calls.append(a) or called(*a, **k))
    for _ in range(2):
        forget()
        assert run(torch.float32)[0].isfinite().all()
    assert len(calls) == 1 and len(list((tmp_path / "modules_lib").iterdir())) == 1
