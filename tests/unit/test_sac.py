"""The soft actor-critic: its targets, what its actor follows, and its buffers."""

import math

import pytest
import torch

from rlenhance.agents import SAC, SACConfig
from rlenhance.agents.critic import Critic, min_q
from rlenhance.agents.replay import EpisodeReplayBuffer
from rlenhance.agents.sac import KLConstraint, lambda_targets
from rlenhance.learning.data import Batch
from rlenhance.learning.models import make_observation
from tests.support.known_answer import FAST, REWARD, grey_batch, policy

PER_CELL = {"std_mode": "predicted", "decision_size": None}


def test_targets_of_a_hand_worked_episode():
    """Three steps, a discount of a half, a trace of a half: worked out on paper."""
    reward, entropy, value = (torch.tensor(numbers).view(3, 1, 1, 1) for numbers in (
        [1.0, 2.0, 4.0], [8.0, 0.2, 0.4], [16.0, 3.0, 5.0]))
    # G2 = 4; G1 = 2 + .5 (.4 + .5 * 5 + .5 * 4) = 4.45; G0 = 1 + .5 (.2 + .5 * 3 + .5 * 4.45) = 2.9625
    found = lambda_targets(reward, entropy, value, 1, gamma=0.5, td_lambda=0.5).flatten()
    assert torch.allclose(found, torch.tensor([2.9625, 4.45, 4.0]))
    two = [torch.cat([part, 10 * part], dim=1).flatten(0, 1)[:, None] for part in (reward, entropy, value)]
    assert torch.allclose(lambda_targets(*two, 2, 0.5, 0.5).view(3, 2), found[:, None] * torch.tensor([1.0, 10.0]))


def test_trace_and_bootstrap_agree_in_expectation():
    """With the true Q and actions of the policy itself, every `td_lambda` has the same mean target: the true Q.

    Four steps of the reward -a^2, whatever went before; a Gaussian policy of deviation s: from the step t on, there are
    3 - t later ones, each worth its entropy less s^2.
    """
    steps, count, deviation, alpha = 4, 20000, 0.7, 0.5
    policy = torch.distributions.Normal(0.0, deviation)
    torch.manual_seed(0)
    taken, fresh = policy.sample((2, steps, count))
    later = (steps - 1 - torch.arange(steps)[:, None]) * (alpha * policy.entropy() - deviation**2)
    entropy, value = -alpha * policy.log_prob(fresh), later - fresh**2
    parts = [part.reshape(-1, 1, 1, 1) for part in (-taken**2, entropy, value)]
    for td_lambda in (0.0, 0.5, 1.0):
        target = lambda_targets(*parts, count, 1.0, td_lambda).view(steps, count)
        error = target - (later - taken**2)
        assert (error.mean(dim=1).abs() <= 4 * error.std(dim=1) / math.sqrt(count)).all()


@pytest.mark.parametrize("td_lambda", [0.0, 0.8, 1.0])
def test_the_entropy_of_later_steps_is_in_the_targets(td_lambda):
    """In an episode of two steps the second one's entropy counts in the first one's target, whatever the trace."""

    def mean_target(alpha):
        learner = SAC(policy(horizon=2, std_mode="predicted"), REWARD, SACConfig(td_lambda=td_lambda, init_alpha=alpha))
        for bounds in learner.return_bounds.values():
            bounds.low, bounds.high = -100.0, 100.0
        log_probs = []
        entropy = learner._entropy_term
        learner._entropy_term = lambda log_prob: log_probs.append(log_prob) or entropy(log_prob)
        batch, preference = grey_batch(0), torch.zeros(6, 0)
        action = {scope: torch.zeros(6, 1, *learner.policy.actions.agent_grid(scope, 16, 16))
                  for scope in learner.policy.actions.scopes}
        learner.replay_buffer.add(batch, preference, [action, action])
        episodes, rewards = learner._recompute(learner.replay_buffer.sample(6, learner.generator))
        log = learner._fit_critics(episodes, rewards, 0.0)
        return log["critic/q_target/local"], -log_probs[0]["local"][6:].mean()

    (low, entropy), (high, _) = mean_target(1e-6), mean_target(0.5)
    assert high - low == pytest.approx(0.5 * entropy.item() / 2, rel=1e-3)


def test_agents_follow_the_values_of_their_own_scope(monkeypatch):
    """A critic of global agents that values local actions alone moves no local head, and the other way round."""

    def gradients(worth):
        learner = SAC(policy(**PER_CELL), REWARD, SACConfig(batch_size=4))
        rollout = learner.step(grey_batch(0)) and learner._recompute(
            learner.replay_buffer.sample(4, torch.Generator().manual_seed(0)))[0]
        learner.generator.manual_seed(1)
        monkeypatch.setattr(learner.critic, "forward", lambda observation, context, action: 2 * [{
            scope: worth * action[other].mean() + 0 * action[scope]
            for scope, other in (("global", "local"), ("local", "global"))}])
        learner._fit_actor(rollout, None, 0.0)
        return [parameter.grad.clone() for parameter in learner.policy.heads.parameters()]

    for without, with_worth in zip(gradients(0.0), gradients(100.0), strict=True):
        assert torch.equal(without, with_worth)


def test_values_have_a_slope_for_their_own_scope_alone():
    """Each scope's value is the critics' mean, with their slope for its own actions, and none for the other ones."""
    learner = SAC(policy(**PER_CELL), REWARD)
    torch.manual_seed(2)
    for parameter in learner.critic.parameters():  # heads begin at zero
        torch.nn.init.normal_(parameter, std=0.2)
    observation = make_observation(grey_batch(0).image, 1.0, torch.zeros(6, 0))
    context = learner.policy.global_features(observation)
    action = {"global": torch.rand(6, 1, 1, 1, requires_grad=True), "local": torch.rand(6, 1, 2, 2, requires_grad=True)}
    found = learner._own_values(observation, context, action)
    wanted = min_q(learner.critic(observation, context, action))
    for scope in action:
        slopes = torch.autograd.grad(found[scope], list(action.values()), allow_unused=True)
        for name, slope in zip(action, slopes, strict=True):
            assert (slope is None) == (name != scope)
        slope, = torch.autograd.grad(wanted[scope].mean(), action[scope], retain_graph=True)
        assert slope.abs().max() > 0 and torch.allclose(slopes[list(action).index(scope)], slope)
        assert torch.allclose(found[scope], wanted[scope].mean())


def test_replayed_episodes_do_not_run_the_policy(monkeypatch):
    """Their states and rewards need none; a gradient step runs it for the critics and for the actor."""
    learner = SAC(policy(**PER_CELL), REWARD, SACConfig(batch_size=4, gradient_steps=1))
    learner.step(grey_batch(0))
    runs, forward = [], learner.policy.forward
    monkeypatch.setattr(learner.policy, "forward", lambda *arguments: runs.append(1) or forward(*arguments))
    rollout, rewards = learner._recompute(learner.replay_buffer.sample(4, learner.generator))
    assert not runs and {scope: reward.shape for scope, reward in rewards.items()} == {
        "global": (16, 1, 1, 1), "local": (16, 1, 2, 2)}
    assert all("statistics" in observation for observation in rollout.observations)
    learner.step(grey_batch(1))
    assert len(runs) == learner.policy.horizon + 2


def test_trust_region_raises_its_price_while_the_bound_is_broken():
    """The dual variable rises above the bound and falls below it; a held policy moves less than a free one."""
    trust = KLConstraint(0.02)
    start = trust.multiplier
    trust.update(0.05)
    assert trust.multiplier > start
    for _ in range(20):
        trust.update(0.001)
    assert trust.multiplier < start

    def moved(bound):
        config = SACConfig(max_kl=bound, batch_size=6, optimizer=FAST)
        learner = SAC(policy(std_mode="predicted"), REWARD, config, seed=1)
        kls = [learner.step(grey_batch(step)).get("sac/kl", 0.0) for step in range(6)]
        return sum(kls[2:]) / len(kls[2:])

    assert 0 < moved(0.01) < moved(10.0)


def test_critic_sees_the_neighbours_actions(image):
    """What a cell's action is worth depends on what the cells beside it do."""
    torch.manual_seed(0)
    actor = policy(**PER_CELL)
    critic = Critic(actor)
    observation = make_observation(image, 1.0, torch.zeros(2, 0))
    context = actor.global_features(observation)
    action = {"global": torch.zeros(2, 1, 1, 1), "local": torch.zeros(2, 1, 4, 5)}
    other = {**action, "local": action["local"].clone()}
    other["local"][..., 2, 3] = 1.0
    changed = (critic(observation, context, action)["local"] - critic(observation, context, other)["local"]).abs()
    assert (changed[..., 2, 3] > 0).all() and (changed[..., 2, 2] > 0).all()


def test_replay_gives_back_whole_episodes_and_forgets_the_oldest(generator):
    """Pictures to the nearest of 256 levels, actions exactly; the ring keeps its capacity; its state resumes."""
    replay = EpisodeReplayBuffer(4)
    for number in range(3):
        image = torch.full((2, 3, 8, 8), number / 10)
        actions = [{"global": torch.full((2, 1, 1, 1), float(10 * number + step))} for step in range(3)]
        replay.add(Batch(image), torch.full((2, 1), float(number)), actions)
    assert len(replay) == 4
    again = EpisodeReplayBuffer(4)
    again.load_state_dict(replay.state_dict(), torch.device("cpu"))
    for memory in (replay, again):
        drawn = memory.sample(32, torch.Generator().manual_seed(0))
        numbers = drawn.preference.flatten()
        assert set(numbers.tolist()) == {1.0, 2.0}
        assert (drawn.batch.image[:, 0, 0, 0] - numbers / 10).abs().max() <= 0.5 / 255
        for step, action in enumerate(drawn.actions):
            assert torch.equal(action["global"].flatten(), 10 * numbers + step)
