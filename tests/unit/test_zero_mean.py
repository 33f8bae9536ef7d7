"""What the action set takes out of the picture, the policy does not have: the common mean of the local agents."""

import pytest
import torch

from rlenhance.agents import A3C, A3CConfig
from rlenhance.agents.rollout import collect_rollout, concat_steps, evaluate_actions
from rlenhance.hub.shipped import locate
from rlenhance.learning.actions import ACTION_SETS, apply_action
from rlenhance.learning.actions.tone import ToneActions
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.models import GreedyEpisode, make_observation
from rlenhance.learning.models.tiled import run_tiled
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.networks import make_model, make_policy, stir

POLICIES = [({"name": "curve"}, "compact", "scheduled"), ({"name": "tone"}, "compact", "predicted"),
            ({"name": "curve", "channels": "chroma"}, "pixelrnn", "scheduled")]
every_policy = pytest.mark.parametrize("actions, backbone, deviation", POLICIES, ids=str)


def _policy(actions, backbone, deviation, seed=0):
    """A policy that is not neutral, with 4x4 local agents."""
    return stir(make_model("pixel_policy", actions={**actions, "agent_stride": 4}, std_mode=deviation, horizon=2,
                           backbone={"name": backbone, "width": 8}, decision_size=16), 0.2)


def _shift(policy, by):
    """Add a number to all local means before the squashing."""
    with torch.no_grad():
        policy.heads["local"].bias[: policy.actions.action_dim] += by


@pytest.mark.parametrize("name", list(ACTION_SETS))
def test_sets_say_whether_the_common_mean_of_local_agents_shows(name, image):
    """Every set with continuous agents of both scopes: a number added to all local ones before the squashing changes
    the picture exactly where `local_zero_mean` is false."""
    try:
        actions = ACTION_SETS.create(name)
    except TypeError:
        pytest.skip("needs arguments")
    if actions.num_choices is not None or set(actions.scopes) != {"global", "local"}:
        assert actions.num_choices is not None or not actions.local_zero_mean
        return
    generator = torch.Generator().manual_seed(0)
    raw = {scope: torch.randn(len(image), actions.action_dim, *actions.agent_grid(scope, *image.shape[-2:]),
                              generator=generator) for scope in actions.scopes}
    one = apply_action(actions, image, {scope: value.tanh() for scope, value in raw.items()})
    raw["local"] = raw["local"] + 0.7
    other = apply_action(actions, image, {scope: value.tanh() for scope, value in raw.items()})
    assert torch.allclose(one, other, rtol=0, atol=1e-5) == actions.local_zero_mean


@every_policy
def test_a_common_local_mean_changes_neither_picture_nor_score_nor_gradient(actions, backbone, deviation, image):
    """The policy with a shifted local head is the same policy, however far it is shifted."""
    policy, shifted = (_policy(actions, backbone, deviation) for _ in range(2))
    _shift(shifted, -5.0)
    learner = A3C(policy, Reward(RewardWeights()), A3CConfig())
    preference = policy.preferences.encode(None, len(image))
    rollout = collect_rollout(policy, learner.env, Batch(image), preference, torch.Generator().manual_seed(1))
    scores, gradients = [], []
    for each in (policy, shifted):
        distribution, _ = evaluate_actions(each, rollout)
        score = distribution.log_prob(concat_steps(rollout.actions))
        weights = torch.linspace(-1, 1, score["local"].numel()).view_as(score["local"])
        parameters = [value for name, value in each.named_parameters() if not name.startswith("values")]
        gradients.append(torch.autograd.grad((weights * score["local"]).sum() + score["global"].sum(), parameters))
        scores.append(score)
    for scope in policy.actions.scopes:
        assert torch.allclose(scores[0][scope], scores[1][scope], rtol=1e-4, atol=1e-3)
    size = max(gradient.abs().max() for gradient in gradients[0])
    assert all(torch.allclose(*pair, rtol=0, atol=1e-3 * size) for pair in zip(*gradients, strict=True))
    with torch.inference_mode():
        pictures = [GreedyEpisode(each)(image) for each in (policy, shifted)]
        assert torch.allclose(*pictures, rtol=0, atol=1e-5)


@every_policy
def test_the_bias_of_the_local_head_gets_no_gradient_from_its_loss(actions, backbone, deviation, image):
    """A number that all local means share has no effect, so whatever is asked of the local agents does not move it."""
    policy = _policy(actions, backbone, deviation)
    learner = A3C(policy, Reward(RewardWeights()), A3CConfig())
    rollout = collect_rollout(policy, learner.env, Batch(image), policy.preferences.encode(None, len(image)),
                              torch.Generator().manual_seed(1))
    distribution, _ = evaluate_actions(policy, rollout)
    score = distribution.log_prob(concat_steps(rollout.actions))["local"]
    (torch.randn(score.shape, generator=torch.Generator().manual_seed(2)) * score).sum().backward()
    head = policy.heads["local"]
    mean = head.bias.grad[: policy.actions.action_dim]
    assert mean.abs().max() < 1e-4 * head.weight.grad.abs().max()


def test_local_agents_alone_keep_their_mean(image):
    """Without a global agent the mean of the local ones is what brightens the picture."""
    policy = make_policy({"global_agent": False})
    _shift(policy, 0.5)
    distribution, _, _ = policy(make_observation(image, 1.0, image.new_zeros(len(image), 0)))
    assert not policy.actions.local_zero_mean and distribution.scopes["local"].mean.mean() > 0.3


@pytest.mark.parametrize("shift", [0.0, 9.0])
def test_tiles_share_one_mean(shift, generator):
    """The mean is that of all cells and not of a tile's; a head that has drifted makes no difference."""
    policy = stir(make_model("pixel_policy", backbone={"name": "compact", "width": 8, "stride": 4}, horizon=3,
                             actions={"name": "tone", "agent_stride": 4}, decision_size=None))
    _shift(policy, shift)
    image = torch.rand(1, 3, 71, 90, generator=generator) * torch.linspace(0.1, 1, 90)
    with torch.inference_mode():
        whole = GreedyEpisode(policy).run(image).image
        tiled = run_tiled(policy, image, policy.preferences.encode(None, 1), 3, 24)
    assert torch.allclose(tiled, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["natural", "reference", "relight"])
def test_shipped_models_give_the_same_pictures(name, generator, monkeypatch):
    """Centred or not, in torch and in the NumPy form for small pictures: the same picture within rounding."""
    policy = load_network(locate(name)).eval()
    image = torch.rand(1, 3, 12, 12, generator=generator)
    image = 0.4 * torch.nn.functional.interpolate(image, (96, 128), mode="bilinear")
    results = []
    for centered in (True, False):
        monkeypatch.setattr(ToneActions, "local_zero_mean", centered)
        model = GreedyEpisode(policy)
        with torch.inference_mode():
            results += [model(image), model.render(image, model.decide(image))]
    assert all(torch.allclose(result, results[0], rtol=0, atol=2e-6) for result in results[1:])
