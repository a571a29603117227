"""The sampler against its analytic distribution and gradient.

Statistical bounds are five standard errors: a correct sampler exceeds one with probability 6e-7, and the seeds are
fixed, so a test that passes once always passes.
"""

import pytest
import torch

from modules_lib.masking import sample_weights as sampling
from modules_lib.masking.samplers import GumbelSigmoid
from modules_lib.support import compile_cpp, compile_torch
from modules_lib.support import rng as noise

SIGMAS = 5.0
LOGITS = [-4.0, -1.0, 0.0, 0.5, 2.0, 5.0]


def reference_samples(logit, tau, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    u1, u2 = torch.rand(2, count, generator=generator, dtype=torch.float64).clamp_min(1e-300)
    return sampling.gumbel_sigmoid(torch.full((count,), logit, dtype=torch.float64), u1, u2, tau)


@pytest.mark.parametrize("tau", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("logit", LOGITS)
def test_reference_follows_the_analytic_distribution(logit, tau):
    # P(s <= x) = sigmoid(tau * logit(x) - l): a wrong sign, temperature or noise moves at least one of these points.
    count = 400_000
    samples = reference_samples(logit, tau, count)
    for x in (0.05, 0.3, 0.5, 0.8, 0.99):
        expected = float(torch.sigmoid(tau * torch.logit(torch.tensor(x, dtype=torch.float64)) - logit))
        error = (expected * (1 - expected) / count) ** 0.5
        assert abs(float((samples <= x).double().mean()) - expected) < SIGMAS * error + 1e-9


def test_straight_through_is_binary_with_the_soft_gradient():
    soft = torch.tensor([0.2, 0.5, 0.7], requires_grad=True)
    hard = sampling.straight_through(soft)
    assert hard.tolist() == [0.0, 0.0, 1.0]
    hard.backward(torch.tensor([1.0, 2.0, 3.0]))
    assert soft.grad.tolist() == [1.0, 2.0, 3.0]


def mask_weights(logits, weights, name, samples=1, fuse=False):
    """The sampler for one flat parameter: [K, N]."""
    keys = noise.mask_keys(name, samples=samples)
    return torch.stack([sample for (sample,) in sampling.mask_weights(logits, weights, keys, samples, fuse=fuse)])


def draw(logit, count=200_000, samples=4, seed=0):
    """Masks and straight-through gradients of the training sampler for `count` equal logits and unit weights."""
    logits = torch.full((count,), logit, requires_grad=True)
    masks = mask_weights(logits, torch.ones(count), seed, samples)
    masks.backward(torch.ones_like(masks))
    return masks.detach(), logits.grad / samples


def expected_slope(logit):
    """E[s (1 - s)] under equation 1 at tau = 1, by integration over u, and its standard deviation."""
    u = (torch.arange(2_000_000, dtype=torch.float64) + 0.5) / 2_000_000
    s = torch.sigmoid(logit + torch.logit(u))
    slope = s * (1 - s)
    return float(slope.mean()), float(slope.std())


@pytest.mark.parametrize("logit", LOGITS)
def test_keep_frequency_and_gradient_are_the_analytic_ones(logit):
    masks, gradient = draw(logit)
    p = float(torch.sigmoid(torch.tensor(logit, dtype=torch.float64)))
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert abs(float(masks.double().mean()) - p) < SIGMAS * (p * (1 - p) / masks.numel()) ** 0.5
    mean, deviation = expected_slope(logit)
    assert abs(float(gradient.double().mean()) - mean) < SIGMAS * deviation / masks.numel() ** 0.5


@pytest.mark.parametrize("logit", [-1.0, 2.0])
def test_noise_of_the_gradient_is_the_noise_of_the_mask(logit):
    # Given that a weight is kept, u > 1 - p: the mean slope differs from the unconditional one, and would not if the
    # backward pass drew other noise than the forward pass.
    masks, _ = draw(logit, samples=1)
    logits = torch.full((masks.numel(),), logit, requires_grad=True)
    mask_weights(logits, torch.ones(masks.numel()), 0).sum().backward()
    kept = masks[0] > 0
    u = (torch.arange(2_000_000, dtype=torch.float64) + 0.5) / 2_000_000
    s = torch.sigmoid(logit + torch.logit(u))
    for chosen, analytic in ((kept, s > 0.5), (~kept, s <= 0.5)):
        slope = (s * (1 - s))[analytic]
        error = float(slope.std()) / int(chosen.sum()) ** 0.5
        assert abs(float(logits.grad[chosen].double().mean()) - float(slope.mean())) < SIGMAS * error


def test_gradient_agrees_with_the_reference():
    # The same weighted sum of masks, differentiated through equations 1 to 3 by autograd.
    count = 400_000
    weights = torch.tensor([-2.0, 0.5, 3.0]).repeat_interleave(count)
    start = torch.tensor([-1.0, 0.3, 2.0]).repeat_interleave(count)
    gradients = []
    for ours in (True, False):
        logits = start.clone().requires_grad_()
        if ours:
            masked = mask_weights(logits, weights, 3)[0]
        else:
            u1, u2 = torch.rand(2, len(logits), generator=torch.Generator().manual_seed(1)).clamp_min(1e-30)
            masked = weights * sampling.straight_through(sampling.gumbel_sigmoid(logits, u1, u2))
        masked.sum().backward()
        gradients.append(logits.grad.view(3, count))
    ours, reference = gradients
    error = (ours.var(1) / count + reference.var(1) / count).sqrt()
    assert torch.all((ours.mean(1) - reference.mean(1)).abs() < SIGMAS * error)
    assert torch.all(ours.mean(1).sign() == torch.tensor([-1.0, 1.0, 1.0]))


def test_gradient_reaches_the_weights_through_the_mask():
    logits, weights = torch.zeros(1000), torch.randn(1000, requires_grad=True)
    masked = mask_weights(logits, weights, 0, samples=3)
    masked.backward(torch.ones_like(masked))
    assert torch.equal(weights.grad, (masked != 0).float().sum(0))


def test_uniforms_never_reach_zero_or_one():
    # 2^26 draws from 2^23 values: a value that can occur is missed with probability exp(-8).
    keys = noise.keys("edges", count=16)
    for one in keys.split(1):
        u = noise.uniforms(one, 2**22)
        assert float(u.min()) > 0 and float(u.max()) < 1


@pytest.mark.parametrize("logit", [-300.0, -60.0, 60.0, 300.0])
def test_extreme_logits_have_finite_gradients(logit):
    masks, gradient = draw(logit, count=2**20, samples=2)
    assert torch.all(masks == float(logit > 0))
    assert torch.isfinite(gradient).all()


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])


def test_streams_are_independent():
    size = 1_000_000
    bound = SIGMAS / size**0.5
    keys = torch.cat([noise.keys(0, "a", 0, count=2), noise.keys(0, "a", 1, count=1), noise.keys(1, count=1)])
    u = noise.uniforms(keys, size)
    for row in u:
        assert abs(float(row.double().mean()) - 0.5) < SIGMAS * (1 / 12 / size) ** 0.5
        assert abs(float(row.double().var()) - 1 / 12) < SIGMAS * (1 / 180 / size) ** 0.5
        for lag in (1, 2, 64, 400):  # neighbours in a row and in a column
            assert abs(correlation(row[:-lag], row[lag:])) < bound * 1.001
    for i in range(len(u)):
        for j in range(i):
            assert abs(correlation(u[i], u[j])) < bound


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_mask_noise_of_all_samples_is_uniform_and_independent(samples):
    # Samples two by two share a hash; neither their means and variances nor any pair of them shows it.
    size = 1_000_000
    noises = noise.mask_noise(noise.mask_keys("pairs", samples=samples), samples, size)
    assert len(noises) == samples
    for i, u in enumerate(noises):
        assert abs(float(u.double().mean()) - 0.5) < SIGMAS * (1 / 12 / size) ** 0.5
        assert abs(float(u.double().var()) - 1 / 12) < SIGMAS * (1 / 180 / size) ** 0.5
        for other in noises[:i]:
            assert abs(correlation(u, other)) < SIGMAS / size**0.5
            both = float(((u > 0.9) & (other > 0.9)).double().mean())  # that rare masks do not coincide
            assert abs(both - 0.01) < SIGMAS * (0.01 * 0.99 / size) ** 0.5


def test_noise_of_a_piece_is_that_piece_of_the_noise():
    keys = noise.mask_keys("pieces", samples=3)
    whole = noise.mask_noise(keys, 3, 1000)
    for a, b in zip(whole, noise.mask_noise(keys, 3, 400, start=500), strict=True):
        assert torch.equal(a[500:900], b)


def test_uniforms_fill_the_unit_square():
    # Chi-square of neighbouring pairs on a 64 x 64 grid: 4095 degrees of freedom, bound at five sigmas.
    u = noise.uniforms(noise.keys("square", count=1), 2_000_000)[0].view(-1, 2)
    cells = (u * 64).long()
    counts = torch.bincount(cells[:, 0] * 64 + cells[:, 1], minlength=4096).double()
    expected = len(u) / 4096
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert abs(statistic - 4095) < SIGMAS * (2 * 4095) ** 0.5


def test_integers_are_uniform_and_in_range():
    drawn = noise.integers(noise.keys("integers", count=2), 500_000, 7)
    assert drawn.min() == 0 and drawn.max() == 6
    frequency = torch.bincount(drawn.flatten()).double() / drawn.numel()
    assert torch.all((frequency - 1 / 7).abs() < SIGMAS * (6 / 49 / drawn.numel()) ** 0.5)


def test_without_a_compiler_the_numbers_are_the_same(monkeypatch, tmp_path):
    def broken(*arguments, **options):
        def call(*arguments):
            raise RuntimeError("no compiler")

        return call

    start, weights = torch.randn(300), torch.randn(300)
    expected = mask_weights(start, weights, "none", samples=2)
    forget()
    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    in_cpp = pytest.warns(UserWarning, match="could not be compiled .*nothing.*they need a C.. compiler")
    with in_cpp, pytest.warns(UserWarning, match="could not be compiled .no compiler.*ten times slower"):
        assert torch.equal(mask_weights(start, weights, "none", samples=2, fuse=True), expected)
    forget()


def forget():
    """What was compiled, or could not be."""
    for function in (compile_cpp.library, compile_cpp.kernel, compile_torch.fused, compile_torch._compiled_by_torch):
        function.cache_clear()


@pytest.mark.parametrize("samples", [1, 3, 4])
@pytest.mark.parametrize("grads", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 255, 70_001])
def test_compiled_sampler_gives_the_same_numbers(size, kind, grads, samples):
    """Masks to the bit, by seeds for which no number of the noise lies within rounding of a probability."""
    generator = torch.Generator().manual_seed(0)
    logits, weights = torch.randn(size, generator=generator) * 4, torch.randn(size, generator=generator).to(kind)
    own = [torch.randn(size, generator=generator).to(grads) for _ in range(samples)]
    keys = noise.mask_keys("compiled", samples=samples)
    for start in (torch.tensor(-5, dtype=torch.int32), torch.arange(size, dtype=torch.int32) * 7 + 3):
        common = logits, weights, keys, start
        results = []
        for fuse in (False, True):
            masked = [torch.empty_like(weights) for _ in range(samples)]
            gradients = [torch.empty(size), torch.empty(size)]
            compile_torch.maybe_fused(GumbelSigmoid.masked, fuse)(*common, masked)
            compile_torch.maybe_fused(GumbelSigmoid.logit_gradient, fuse)(*common, gradients[0], own)
            compile_torch.maybe_fused(GumbelSigmoid.weight_gradient, fuse)(*common, gradients[1], own)
            results.append((masked, *gradients))
        (masked, to_logits, to_weights), (expected, its_logits, its_weights) = results
        assert all(map(torch.equal, masked, expected))
        # 1 - u and its like lose digits near 1, in one of the two ways of rounding
        assert (to_logits - its_logits).norm() <= 1e-4 * its_logits.norm()
        torch.testing.assert_close(to_weights, its_weights, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("logit", [-200.0, -90.0, -20.0, 20.0, 90.0, 200.0, float("nan")])
def test_compiled_sampler_at_the_ends(logit):
    logits, ones, keys = torch.full((600,), logit), torch.ones(600), noise.mask_keys("ends", samples=2)
    at, kept, slope = torch.tensor(0, dtype=torch.int32), [torch.empty(600) for _ in range(2)], torch.empty(600)
    compile_torch.fused(GumbelSigmoid.masked)(logits, ones, keys, at, kept)
    compile_torch.fused(GumbelSigmoid.logit_gradient)(logits, ones, keys, at, slope, [ones, ones])
    if logit != logit:
        assert slope.isnan().all()  # a loss that is lost must be seen
    else:
        assert all((one == (logit > 0)).all() for one in kept) and slope.abs().max() < 1e-2
