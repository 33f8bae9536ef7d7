"""The preference model: choices move utilities as they should, and questions are those of highest expected best."""

import numpy as np
import pytest

from research.preference_gp import (
    Choices,
    Posterior,
    Prior,
    choose_options,
    draw,
    expected_best_of_two,
    fit,
    log_probability,
    probability,
)

SIZE, CONTEXT = 3, 2


def _choices(pairs, points=None, seed=0, shares=None):
    generator = np.random.default_rng(seed)
    points = generator.standard_normal((8, SIZE)) if points is None else points
    contexts = generator.standard_normal((len(points), CONTEXT))
    pairs = np.array(pairs, int).reshape(-1, 2)
    return Choices(points, contexts, pairs, np.ones(len(pairs)) if shares is None else np.array(shares))


def _ideal_user(count, peak, seed=0, moves=0.0):
    """Noise-free choices among pairs of someone who likes `peak`, moved by the first number of the context."""
    generator = np.random.default_rng(seed)
    points, contexts = generator.standard_normal((2 * count, SIZE)), np.repeat(
        generator.standard_normal((count, CONTEXT)), 2, axis=0)
    utility = -((points - peak - moves * contexts[:, :1]) ** 2).sum(axis=1)
    pairs = [(2 * i, 2 * i + 1) if utility[2 * i] > utility[2 * i + 1] else (2 * i + 1, 2 * i) for i in range(count)]
    return Choices(points, contexts, np.array(pairs), np.ones(count))


def test_the_normal_distribution_is_scipys():
    """On both sides of zero, and where it is too small for a float."""
    special = pytest.importorskip("scipy.special")
    values = np.concatenate([np.linspace(-40, 40, 1601), [-1e3, -37.5, 1e3]])
    assert np.allclose(probability(values), special.ndtr(values), rtol=1e-9, atol=1e-300)
    assert np.allclose(log_probability(values), special.log_ndtr(values), rtol=1e-9, atol=1e-300)


def test_without_choices_the_posterior_is_the_prior():
    """No choice says nothing."""
    prior, points, contexts = Prior(np.ones(SIZE)), np.eye(SIZE), np.ones((SIZE, CONTEXT))
    mean, covariance = Posterior(prior, _choices([])).predict(points, contexts)
    assert np.allclose(mean, prior.mean(points))
    assert np.allclose(covariance, prior.covariance(points, contexts, points, contexts))


def test_what_is_preferred_gains_and_the_rest_loses():
    """One choice parts the two utilities, repeated ones do so more, and all of them make sure."""
    choices = [_choices([(0, 1)] * count) for count in (0, 1, 3)]
    gaps, doubts = [], []
    for each in choices:
        mean, covariance = Posterior(Prior(np.ones(SIZE)), each).predict(each.points[:2], each.contexts[:2])
        gaps.append(mean[0] - mean[1])
        doubts.append(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert gaps[0] < gaps[1] < gaps[2]
    assert doubts[0] > doubts[1] > doubts[2]


def test_opposite_choices_cancel():
    """Who answers once so and once so finds both alike, also beyond what was expected."""
    each = _choices([(0, 1), (1, 0)], shares=[0.5, 0.5])
    before = Prior(np.ones(SIZE)).mean(each.points[:2])
    mean, _ = Posterior(Prior(np.ones(SIZE)), each).predict(each.points[:2], each.contexts[:2])
    assert abs(mean[0] - mean[1]) < abs(before[0] - before[1])


def test_the_mode_is_stationary():
    """At the mode the prior's pull is the slope of the likelihood: K^-1 (f - m) = D' slope."""
    from scipy.stats import norm

    each = _choices([(0, 1), (2, 1), (3, 0), (4, 5), (6, 4), (7, 1)])
    posterior = Posterior(Prior(np.full(SIZE, 4.0)), each)
    mean, _ = posterior.predict(each.points, each.contexts)
    margins = (mean[each.pairs[:, 0]] - mean[each.pairs[:, 1]]) / np.sqrt(2)
    assert np.allclose(posterior._alpha, norm.pdf(margins) / norm.cdf(margins), atol=1e-5)


def test_the_evidence_of_one_choice_is_its_probability():
    """Its logarithm is log Phi of the expected margin over its deviation; Laplace comes near."""
    from scipy.stats import norm

    each, prior = _choices([(0, 1)]), Prior(np.full(SIZE, 0.3))
    mean = prior.mean(each.points[:2])
    covariance = prior.covariance(each.points[:2], each.contexts[:2], each.points[:2], each.contexts[:2])
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    exact = norm.logcdf((mean[0] - mean[1]) / np.sqrt(2 + variance))
    assert Posterior(prior, each).evidence == pytest.approx(exact, abs=0.05)


def test_the_ideal_point_is_found_from_choices():
    """After a hundred clear choices the ideal point is near the hidden one, and it moves with the context."""
    peak, wide = np.array([0.8, -0.6, 0.2]), (np.full(SIZE, -3.0), np.full(SIZE, 3.0))
    posterior = fit(_ideal_user(100, peak, moves=0.5), np.full(SIZE, 3.0))
    middle, moved = (posterior.ideal_points(np.array([level, 0.0]), *wide)[0] for level in (0.0, 1.0))
    assert np.abs(middle - peak).max() < 0.3
    assert np.abs(moved - peak - 0.5).max() < 0.35
    assert (np.abs(posterior.ideal_points(np.zeros(2), -np.full(SIZE, 0.1), np.full(SIZE, 0.1))) <= 0.1).all()


def test_a_knob_that_does_not_matter_gets_little_weight():
    """Choices by one knob alone make it count more than the others."""
    each = _ideal_user(60, np.zeros(SIZE))
    by_first = -((each.points[:, 0] - 0.7) ** 2)
    pairs = [(a, b) if by_first[a] > by_first[b] else (b, a) for a, b in each.pairs]
    weights = fit(Choices(each.points, each.contexts, np.array(pairs), each.shares), np.full(SIZE, 3.0)).prior.weights
    assert weights[0] > 2 * weights[1:].max()


def test_the_expected_best_of_two_is_that_of_samples():
    """The closed form against 200 000 draws, also where both are one."""
    generator = np.random.default_rng(0)
    root = generator.standard_normal((3, 3))
    mean, covariance = generator.standard_normal(3), root @ root.T
    samples = draw(mean, covariance, 200_000, generator)
    found = expected_best_of_two(mean, covariance)
    for i in range(3):
        for j in range(3):
            assert found[i, j] == pytest.approx(np.maximum(samples[:, i], samples[:, j]).mean(), abs=0.02)


def test_options_differ_and_the_first_pair_is_the_best_one():
    """Four options are four points; what cannot win is not asked about."""
    generator = np.random.default_rng(1)
    mean = np.array([0.0, 0.1, -9.0, 0.0, 0.05, -9.0])
    covariance = np.diag([1.0, 1.2, 0.1, 1.0, 0.9, 0.1])
    chosen = choose_options(mean, covariance, 4, draw(mean, covariance, 2000, generator))
    assert sorted(chosen) == [0, 1, 3, 4] and 1 in chosen[:2]
    twins = np.ones((4, 4))  # all points are one: whatever is chosen, nothing fails
    assert len(choose_options(np.zeros(4), twins, 4, draw(np.zeros(4), twins, 10, generator))) == 4


def test_it_agrees_with_botorch():
    """`PairwiseGP` of BoTorch with the same kernel and mean 0: the same means and covariances of new points.

    Checked with BoTorch 0.18.1 and 40 choices among 30 points of 6 numbers; it is no part of the project.
    """
    pytest.importorskip("botorch")
    import torch
    from botorch.models.pairwise_gp import PairwiseGP
    from gpytorch.kernels import Kernel, ScaleKernel

    class Flat(Prior):
        def mean(self, points):
            return np.zeros(len(points))

    prior, generator = Flat(np.array([0.8, 1.5, 0.5])), np.random.default_rng(3)

    class Same(Kernel):
        def forward(self, first, second, diag=False, **_):
            each = [(one.detach().numpy()[:, :SIZE], one.detach().numpy()[:, SIZE:]) for one in (first, second)]
            found = torch.from_numpy(prior.covariance(*each[0], *each[1]))
            return found.diagonal() if diag else found

    points, contexts = generator.standard_normal((30, SIZE)), generator.standard_normal((30, CONTEXT))
    pairs = np.array([generator.permutation(30)[:2] for _ in range(40)])
    ours = Posterior(prior, Choices(points, contexts, pairs, np.ones(40)))
    kernel = ScaleKernel(Same())
    kernel.outputscale = torch.tensor(1.0)
    theirs = PairwiseGP(torch.from_numpy(np.hstack([points, contexts])), torch.from_numpy(pairs), covar_module=kernel,
                        jitter=1e-8)
    new, where = generator.standard_normal((7, SIZE)), generator.standard_normal((7, CONTEXT))
    theirs.eval()
    found = theirs(torch.from_numpy(np.hstack([new, where])))
    mean, covariance = ours.predict(new, where)
    assert np.allclose(mean - mean[0], (found.mean - found.mean[0]).detach().numpy(), atol=2e-2)
    assert np.allclose(covariance, found.covariance_matrix.detach().numpy(), atol=2e-2)
