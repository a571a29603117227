"""A step of an LSTM layer, compiled, against the same step in torch's operations."""

import subprocess

import pytest
import torch

from modules_lib import cell

GROUPS, ROWS, UNITS, GOING = 3, 5, 37, 2  # units: neither a multiple of a vector nor less than one
needs_compiler = pytest.mark.skipif(cell._library() is None, reason="needs a C++ compiler")


def forget():
    """What was compiled, or could not be."""
    cell._library.cache_clear()
    cell._compiled.cache_clear()


@pytest.fixture(autouse=True)
def anew():
    yield
    forget()


@pytest.fixture
def uncompiled(monkeypatch):
    """Switches to torch's operations."""

    def switch():
        monkeypatch.setattr(cell, "TYPES", {})
        forget()

    return switch


def rows(columns, dtype, seed, count=ROWS):
    """Some of the rows of a larger array, as those of one step are: [K, count, columns]"""
    whole = torch.randn(GROUPS, 20, columns, generator=torch.Generator().manual_seed(seed)) * 2
    return whole.to(dtype)[:, 7 : 7 + count]


def forward(dtype, groups_of_bias=GROUPS, seed=0):
    x, product = rows(4 * UNITS, dtype, seed), rows(4 * UNITS, dtype, seed + 1)
    bias = rows(4 * UNITS, dtype, seed + 2, 1)[:groups_of_bias]
    before, state, hidden = (rows(UNITS, dtype, seed + i) for i in (3, 4, 5))
    going = cell.forward(x, product, bias, before, x, state, hidden, GOING)  # x becomes the gates
    return x, state, hidden, going


def backward(dtype, outside=True):
    gates, state, _, _ = forward(dtype)
    h, c = (rows(UNITS, dtype, i) if outside else None for i in (6, 7))
    carried, grads = rows(UNITS, torch.float32, 8), rows(4 * UNITS, dtype, 9)
    packed = cell.backward(gates, state, rows(UNITS, dtype, 3), h, c, rows(UNITS, dtype, 10, GOING), carried, grads)
    return carried, grads, packed


@needs_compiler
@pytest.mark.parametrize("run", [forward, backward])
@pytest.mark.parametrize("other", [True, False])
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(torch.float32, 1e-5, 5e-6), (torch.bfloat16, 0.05, 0.05)], ids=["float32", "bfloat16"]
)
def test_compiled_steps_are_those_of_torch(uncompiled, run, other, dtype, rtol, atol):
    """With one bias for all groups or one each; with and without gradients from outside."""
    choice = other if run is backward else (GROUPS if other else 1)
    ours = run(dtype, choice)
    uncompiled()
    torch.testing.assert_close(ours, run(dtype, choice), rtol=rtol, atol=atol)


@needs_compiler
@pytest.mark.parametrize("run", [forward, backward])
def test_threads_do_not_change_a_bit(run):
    alone = run(torch.float32)
    torch.set_num_threads(2)
    try:
        assert all(map(torch.equal, alone, run(torch.float32)))
    finally:
        torch.set_num_threads(1)


@needs_compiler
@pytest.mark.parametrize("size", [20.0, 1e4, float("inf")])
def test_saturated_gates_are_zero_or_one(size):
    """Input, forget, cell and output gate at their ends; each combination of signs that a step can have."""
    for signs in torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4):
        x = (signs * size).repeat_interleave(UNITS).expand(1, 1, -1).contiguous()
        nothing, before = torch.zeros_like(x), torch.full((1, 1, UNITS), 0.5)
        gates, state, hidden = (torch.empty(1, 1, n * UNITS) for n in (4, 1, 1))
        cell.forward(x, nothing, nothing, before, gates, state, hidden, 0)
        i, f, _, o = (signs > 0).float()
        expected = f * 0.5 + i * signs[2]
        torch.testing.assert_close(state, expected.expand_as(state), rtol=0, atol=1e-6)
        torch.testing.assert_close(hidden, (o * expected.tanh()).expand_as(hidden), rtol=0, atol=1e-6)


@needs_compiler
def test_what_is_not_a_number_stays_so():
    """A loss that is lost must be seen."""
    x = torch.full((1, 1, 4 * UNITS), float("nan"))
    state, hidden = torch.zeros(1, 1, UNITS), torch.zeros(1, 1, UNITS)
    cell.forward(x, x, x, torch.zeros(1, 1, UNITS), x, state, hidden, 0)
    assert x.isnan().all() and state.isnan().all() and hidden.isnan().all()


def test_without_a_compiler_steps_are_the_same_and_one_is_told_once(monkeypatch, tmp_path):
    expected = forward(torch.float32)
    forget()
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    with pytest.warns(UserWarning, match="could not be compiled .*nothing.*C.. compiler is what they need") as told:
        results = [forward(torch.float32) for _ in range(2)]
    assert len(told) == 1
    for result in results:
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@needs_compiler
def test_steps_are_compiled_once_for_all_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(cell, "user_cache_path", lambda *_, **__: tmp_path)
    calls, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: calls.append(a) or run(*a, **k))
    for _ in range(2):
        forget()
        assert cell._library() is not None
    assert len(calls) == 1 and len(list(tmp_path.iterdir())) == 1
