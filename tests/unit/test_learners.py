"""Learners: what each must learn on pictures with a known answer, and the laws of their steps."""

import math

import pytest
import torch

from rlenhance.agents import (
    A3C,
    LEARNERS,
    SAC,
    A3CConfig,
    Direct,
    DirectConfig,
    NonFiniteError,
    OptimizerConfig,
    SACConfig,
    Supervised,
    SupervisedConfig,
)
from rlenhance.agents.a3c import EntropyController
from rlenhance.agents.optim import OptimizerStep
from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws import cases
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, save_checkpoint
from rlenhance.learning.models import MODELS, build_model, make_observation, warm_start
from rlenhance.learning.nn.backbones import BACKBONES
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights, state_term
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE, picture_statistics
from tests.support.known_answer import FAST, LEVEL, REWARD, grey_batch, mean_error, policy

#: One of them in the quick tests.
SEEDS = [0, pytest.param(1, marks=pytest.mark.statistical), pytest.param(2, marks=pytest.mark.statistical)]


def policy_for(kind, **arguments):
    """The policy that an acting learner asks for."""
    return policy(std_mode=kind.std_mode, **arguments)


@pytest.mark.parametrize("seed", SEEDS)
def test_a3c_finds_the_known_answer(seed):
    """From the same curve for all pictures to each one's own: within 0.02 of the asked level, over three seeds. 60
    updates leave 0.002 to 0.007."""
    learner = A3C(policy(), REWARD, A3CConfig(optimizer=FAST), seed=seed)
    before = mean_error(learner.network)
    for step in range(60):
        learner.step(grey_batch(100 * seed + step), step / 60)
    assert before > 0.08 and mean_error(learner.network) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_a3c_finds_it_with_categorical_agents(seed):
    """27 levels per head, the same answer, within half a level's effect: after 60 updates 0.011 to 0.012 are left."""
    learner = A3C(policy(actions={"name": "curve", "kind": "categorical", "agent_stride": 0}), REWARD,
                  A3CConfig(optimizer=FAST, rollouts_per_image=8), seed=seed)
    before = mean_error(learner.network)
    for step in range(60):
        learner.step(grey_batch(100 * seed + step), step / 60)
    assert before > 0.08 and mean_error(learner.network) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sac_finds_the_known_answer(seed):
    """The same answer off policy, over three seeds: 200 updates, after which 0.001 to 0.003 are left."""
    config = SACConfig(optimizer=OptimizerConfig(learning_rate=7e-3),
                       critic_optimizer=OptimizerConfig(learning_rate=5e-3), batch_size=12)
    learner = SAC(policy_for(SAC), REWARD, config, seed=seed)
    before = mean_error(learner.network)
    for step in range(200):
        learner.step(grey_batch(100 * seed + step), step / 200)
    assert before > 0.08 and mean_error(learner.network) < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_direct_finds_the_known_answer(seed):
    """Back-propagation through the episode meets the level: after 60 updates 0.001 to 0.002 are left."""
    learner = Direct(policy(), REWARD, DirectConfig(optimizer=FAST), seed=seed)
    for step in range(60):
        learner.step(grey_batch(100 * seed + step), step / 60)
    assert mean_error(learner.network) < 0.01


def test_supervised_learns_a_known_map():
    """The residual head learns to add 0.3."""
    torch.manual_seed(0)
    learner = Supervised(MODELS.create("restorer", backbone={"name": "compact", "width": 8}),
                         SupervisedConfig(optimizer=FAST))
    losses = []
    for step in range(80):
        image = grey_batch(step).image
        losses.append(learner.step(Batch(image, target=image + 0.3), step / 80)["loss/l1"])
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("kind, config", [
    (A3C, A3CConfig(optimizer=FAST)),
    pytest.param(SAC, SACConfig(optimizer=OptimizerConfig(learning_rate=7e-3), batch_size=12,
                                critic_optimizer=OptimizerConfig(learning_rate=5e-3)), marks=pytest.mark.statistical),
])
def test_a3c_and_sac_follow_a_reward_without_gradient(kind, config):
    """A term that back-propagation cannot pass: `direct` refuses it by name, the others climb."""

    @state_term("steps_away")
    def steps_away(image, transition):
        """Distance of the mean from LEVEL in whole tenths."""
        return ((image.mean(dim=(1, 2, 3), keepdim=True) - LEVEL).abs() * 10).round() / 10

    try:
        reward = Reward(RewardWeights.only(steps_away=4))
        learner = kind(policy_for(kind), reward, config)
        before = mean_error(learner.network)
        for step in range(60):
            learner.step(grey_batch(step), step / 60)
        assert mean_error(learner.network) < 0.6 * before
        with pytest.raises(UsageError, match=r"no gradient passes through the reward term steps_away.* a3c or sac"):
            Direct(policy(), reward, DirectConfig(optimizer=FAST))
    finally:
        TERMS.remove("steps_away")


@pytest.mark.parametrize("law, name", cases("learner", LEARNERS), ids=str)
def test_laws(law, name):
    """Every registered learner obeys every law."""
    law.check(name)


def test_same_seed_same_weights():
    """Two runs with one seed are equal, bit for bit; another seed differs."""
    def weights(seed):
        learner = A3C(policy(), REWARD, seed=seed)
        learner.step(grey_batch(0))
        return torch.cat([parameter.flatten() for parameter in learner.network.parameters()])

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_gradient_is_clipped_and_a_non_finite_one_is_refused():
    """One huge gradient moves the weights no further than the norm allows; an infinite one not at all."""
    layer = torch.nn.Linear(1, 1)
    optimizer = OptimizerStep(layer, OptimizerConfig(max_grad_norm=0.5))
    optimizer.update({"loss": 1e6 * layer(torch.ones(1, 1)).sum()}, 0.0)
    assert torch.cat([p.grad.flatten() for p in layer.parameters()]).norm() <= 0.5 + 1e-4
    layer.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteError, match="gradient"):
        optimizer.update({"loss": layer(torch.ones(1, 1)).sum()}, 0.0)


def test_learning_rate_warms_up_and_decays():
    """It rises over the warm-up, and ends at the final share."""
    optimizer = OptimizerStep(torch.nn.Linear(1, 1), OptimizerConfig(
        learning_rate=1.0, warmup_steps=4, final_lr_ratio=0.1))
    assert optimizer.rate(0.0) == pytest.approx(0.25)
    optimizer.steps = 10
    assert optimizer.rate(0.0) == pytest.approx(1.0) and optimizer.rate(1.0) == pytest.approx(0.1)


def test_entropy_coefficient_rises_below_its_target_and_falls_above():
    """The bonus counteracts."""
    target = EntropyController()
    start = target.coefficient
    target.update(0.1, 0.5)
    assert target.coefficient > start
    for _ in range(3):
        target.update(0.9, 0.5)
    assert target.coefficient < start


def test_scheduled_deviation_fixes_the_entropy():
    """The global agent's entropy is that of the scheduled deviation, at the start and at the end."""
    learner = A3C(policy(), REWARD)
    for progress, log_std in ((0.0, -1.0), (1.0, -1.7)):
        entropy = learner.step(grey_batch(0), progress)["policy/entropy/global"]
        assert entropy == pytest.approx(log_std + 0.5 * math.log(2 * math.pi * math.e), abs=1e-5)


@pytest.mark.parametrize("arguments, text", [
    ({"gamma": 1.05}, "gamma"), ({"rollouts_per_image": 0}, "rollouts_per_image"),
    ({"rollouts_per_image": 1, "value_coef": 0.0}, "baseline"), ({"reward_map_kernel": 4}, "odd"),
])
def test_settings_that_cannot_learn_are_refused(arguments, text):
    """With the value seen, and the way out."""
    with pytest.raises(UsageError, match=text):
        A3CConfig(**arguments)


def test_supervised_without_reference_is_refused():
    """It says what to do instead."""
    learner = Supervised(MODELS.create("restorer", backbone={"name": "compact"}))
    with pytest.raises(UsageError, match="the learner a3c"):
        learner.step(grey_batch(0))


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_warm_start_sees_what_the_supervised_model_saw(backbone, image, tmp_path):
    """The policy's features are the restorer's, whatever it is asked for; its heads stay neutral."""
    torch.manual_seed(0)
    restorer = MODELS.create("restorer", backbone={"name": backbone})
    with torch.no_grad():
        for parameter in restorer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    restorer = load_network(save_checkpoint(tmp_path / "labelled", restorer))
    start = policy(backbone={"name": backbone}, preferences={"exposure_level": (0.3, DEFAULT_EXPOSURE, 0.65)})
    before = {name: value.clone() for name, value in start.heads.state_dict().items()}
    warm_start(start, restorer)
    statistics = picture_statistics(image, torch.tensor(DEFAULT_EXPOSURE))
    wanted, _ = restorer.backbone(image, statistics)
    features, _ = start.backbone(image, start.global_features(make_observation(image, 0.5, torch.zeros(2, 1))))
    assert torch.allclose(features, wanted, atol=1e-5)
    assert all(torch.equal(value, start.heads.state_dict()[name]) for name, value in before.items())


def test_value_first_trains_the_value_alone():
    """For so many updates nothing else moves; then everything does."""
    learner = A3C(policy(), REWARD, A3CConfig(value_warmup_updates=1))
    for moves in (False, True):
        before = {name: value.clone() for name, value in learner.network.named_parameters()}
        learner.step(grey_batch(0))
        moved = {name for name, value in learner.network.named_parameters() if not torch.equal(value, before[name])}
        assert any(name.startswith("values") for name in moved)
        assert any(not name.startswith("values") for name in moved) == moves


def test_kl_to_the_start_holds_the_policy_back():
    """With a large weight the policy moves less far from where it began."""
    def distance(weight):
        learner = A3C(policy(), REWARD, A3CConfig(kl_ref_coef=(weight, weight)), seed=1)
        for step in range(10):
            learner.step(grey_batch(step))
        return (build_model(learner.network)(grey_batch(0).image)
                - build_model(policy())(grey_batch(0).image)).abs().mean()

    assert distance(100.0) < 0.5 * distance(0.0)
