"""A sampled action and its score agree; heads do not know of each other."""

import pytest
import torch
from torch import distributions as reference

from rlenhance.learning.nn.distributions import JointDistribution, PixelCategorical, SquashedGaussian

KINDS = (PixelCategorical, SquashedGaussian)


def _make(kind, generator, count=2, heads=3, height=4, width=5):
    if kind is PixelCategorical:
        return kind(torch.randn(count, heads, 6, height, width, generator=generator))
    shape = count, heads, height, width
    return kind(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator) * 0.3 - 1)


def _independent(distribution):
    """The same distribution as torch.distributions has it: one number per head."""
    if isinstance(distribution, PixelCategorical):
        return reference.Categorical(logits=distribution.log_probs.movedim(2, -1))
    normal = reference.Normal(distribution.mean, distribution.log_std.exp())
    return reference.TransformedDistribution(normal, [reference.transforms.TanhTransform()])


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_of_a_sample_equals_an_independent_one(kind, generator):
    """The score of a sampled action is what torch.distributions gives it, summed over an agent's heads only."""
    distribution = _make(kind, generator)
    action = distribution.sample(generator)
    score = distribution.log_prob(action)
    assert score.shape == (2, 1, 4, 5)
    expected = _independent(distribution).log_prob(action).sum(dim=1, keepdim=True)
    assert torch.allclose(score, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_is_always_finite(kind, generator):
    """However sure a policy is, the score of what it samples is a number, and so is its gradient."""
    raw = torch.tensor([-60.0, -8.0, 0.0, 8.0, 60.0]).view(5, 1, 1, 1).repeat(1, 1, 8, 8).requires_grad_()
    if kind is PixelCategorical:
        distribution = kind(torch.stack([raw, -raw, raw * 0], dim=2))
    else:
        distribution = kind(raw, torch.tensor(-5.0))
    score = distribution.log_prob(distribution.sample(generator).detach())
    score.sum().backward()
    assert torch.isfinite(score).all()
    assert torch.isfinite(raw.grad).all()


def test_samples_come_as_often_as_they_are_likely(generator):
    """Over many agents the share of each choice is its probability, within Monte Carlo error."""
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0]).view(1, 1, 4, 1, 1).expand(1, 1, 4, 200, 200)
    shares = torch.bincount(PixelCategorical(logits).sample(generator).flatten(), minlength=4) / 40000
    assert torch.allclose(shares, logits[0, 0, :, 0, 0].softmax(0), atol=4 * 0.5 / 200)


def test_squashed_samples_lie_where_they_should(generator):
    """Undoing the squashing gives the mean and the deviation of the Gaussian."""
    distribution = SquashedGaussian(torch.full((1, 1, 200, 200), 0.4), torch.tensor(-1.0))
    raw = torch.atanh(distribution.sample(generator))
    deviation = torch.tensor(-1.0).exp()
    assert raw.mean().item() == pytest.approx(0.4, abs=4 * deviation.item() / 200)
    assert raw.std().item() == pytest.approx(deviation.item(), rel=0.02)


def test_entropy_is_the_mean_of_minus_log_prob(generator):
    """Over many agents, the entropy of the categorical is the mean of -log pi."""
    logits = torch.randn(1, 2, 5, 1, 1, generator=generator).expand(1, 2, 5, 200, 200)
    distribution = PixelCategorical(logits)
    surprise = -distribution.log_prob(distribution.sample(generator))
    error = surprise.std() / 200
    assert (surprise.mean() - distribution.entropy().mean()).abs() < 4 * error


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_and_kl_equal_independent_ones(kind, generator):
    """Entropy and divergence are those of torch.distributions, for the Gaussian before the squashing."""
    one, other = _make(kind, generator), _make(kind, generator)
    plain = [(part if kind is PixelCategorical else part.base_dist) for part in map(_independent, (one, other))]
    assert torch.allclose(one.entropy(), plain[0].entropy().sum(dim=1, keepdim=True), atol=1e-5)
    divergence = reference.kl_divergence(*plain).sum(dim=1, keepdim=True)
    assert torch.allclose(one.kl(other), divergence, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_from_itself_is_zero(kind, generator):
    """A distribution does not differ from itself, and from another it does."""
    one, other = _make(kind, generator), _make(kind, generator)
    assert one.kl(one).abs().max() < 1e-6
    assert (one.kl(other) > 0).all()


@pytest.mark.parametrize("head", [0, 1, 2])
def test_heads_are_independent_categorical(head, generator):
    """Changing one head's logits changes only what that head samples, and only its part of the score."""
    logits = torch.randn(1, 3, 6, 16, 16, generator=generator)
    other = logits.clone()
    other[:, head] = torch.randn(1, 6, 16, 16, generator=generator)
    one, two = PixelCategorical(logits), PixelCategorical(other)
    first, second = (part.sample(torch.Generator().manual_seed(7)) for part in (one, two))
    others = [index for index in range(3) if index != head]
    assert torch.equal(first[:, others], second[:, others])
    assert not torch.equal(first[:, head], second[:, head])
    lone_one, lone_two = (PixelCategorical(part[:, head : head + 1]) for part in (logits, other))
    change = lone_two.log_prob(first[:, head : head + 1]) - lone_one.log_prob(first[:, head : head + 1])
    assert torch.allclose(two.log_prob(first) - one.log_prob(first), change, atol=1e-5)


@pytest.mark.parametrize("head", [0, 1, 2])
def test_heads_are_independent_gaussian(head, generator):
    """Moving one head's mean moves only what that head samples."""
    mean = torch.randn(1, 3, 4, 4, generator=generator)
    other = mean.clone()
    other[:, head] += 1
    first, second = (SquashedGaussian(part, torch.tensor(-1.0)).sample(torch.Generator().manual_seed(7))
                     for part in (mean, other))
    moved = (first != second).flatten(2).any(dim=2)[0]
    assert moved.tolist() == [index == head for index in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_sample(kind, generator):
    """A sample is a function of the distribution and the seed."""
    distribution = _make(kind, generator)
    one, same, other = (distribution.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_mode_is_the_likeliest(generator):
    """No choice is likelier than the greedy one."""
    distribution = _make(PixelCategorical, generator)
    best = distribution.log_prob(distribution.mode())
    for _ in range(20):
        assert (distribution.log_prob(distribution.sample(generator)) <= best).all()


def test_mode_of_the_gaussian_is_where_the_noise_vanishes(generator):
    """The greedy action of a squashed Gaussian is what is sampled when its deviation goes to zero."""
    mean = torch.randn(2, 3, 4, 5, generator=generator)
    still = SquashedGaussian(mean, torch.tensor(-20.0))
    assert torch.allclose(still.sample(generator), still.mode(), atol=1e-6)


def test_relaxed_action_has_a_slope(generator):
    """Probabilities sum to one, the relaxed Gaussian is its mode, and gradients pass through both."""
    logits = torch.randn(1, 2, 5, 3, 3, generator=generator, requires_grad=True)
    soft_action = PixelCategorical(logits).soft_action()
    assert torch.allclose(soft_action.sum(dim=2), torch.ones(1, 2, 3, 3))
    (soft_action * torch.arange(5.0).view(5, 1, 1)).sum().backward()
    mean = torch.randn(1, 2, 3, 3, generator=generator, requires_grad=True)
    distribution = SquashedGaussian(mean, torch.tensor(-1.0))
    assert torch.equal(distribution.soft_action(), distribution.mode())
    distribution.soft_action().sum().backward()
    assert (logits.grad != 0).all() and (mean.grad != 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_joined_batches_equal_their_parts(kind, generator):
    """Several batches as one answer as they did apart, level by level."""
    parts = [JointDistribution({"global": _make(kind, generator, height=1, width=1), "local": _make(kind, generator)})
             for _ in range(3)]
    joined = JointDistribution.concat(parts)
    actions = [part.sample(generator) for part in parts]
    action = {level: torch.cat([each[level] for each in actions]) for level in actions[0]}
    for level in action:
        assert torch.equal(joined.mode()[level], torch.cat([part.mode()[level] for part in parts]))
        for ask in ("entropy", "log_prob"):
            apart = [getattr(part, ask)(*([each] if ask == "log_prob" else []))[level]
                     for part, each in zip(parts, actions, strict=True)]
            whole = getattr(joined, ask)(*([action] if ask == "log_prob" else []))[level]
            assert torch.allclose(whole, torch.cat(apart), atol=1e-6)
        assert joined.kl(joined)[level].abs().max() < 1e-6
        assert joined.soft_action()[level].shape[0] == 6
