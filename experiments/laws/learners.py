"""Laws of learners, on grey pictures of 16 pixels whose exposure has to meet a level."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import torch

from rlenhance.agents import LEARNERS, NonFiniteError
from rlenhance.agents.base import Learner, PolicyLearner
from rlenhance.experiments.laws.law import law, require
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import flatten, restore
from rlenhance.learning.models import MODELS
from rlenhance.learning.rewards import Reward, RewardWeights

_KIND = "learner"
#: The asked exposure.
LEVEL = 0.5
#: What counts as better.
REWARD = Reward(RewardWeights.only(exposure=4, exposure_level=LEVEL))


def grey_batch(seed: int, count: int = 6) -> Batch:
    """Grey pictures between 0.05 and 0.35: the answer is known, the exposure has to meet `LEVEL`."""
    values = 0.05 + 0.3 * torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    return Batch(values.expand(count, 3, 16, 16).clone())


def small_policy(**arguments: Any) -> Any:
    """A small policy over curves; `arguments` are those of `PixelPolicy`."""
    torch.manual_seed(0)
    config = {"actions": {"name": "curve"}, "backbone": {"name": "compact", "width": 8}, "horizon": 4,
              "decision_size": 16} | arguments
    return MODELS.create("pixel_policy", **config)


def make_learner(name: str, seed: int = 5, **arguments: Any) -> Learner:
    """A learner with its default settings about a small network: a policy with a preference, or a restorer."""
    kind = LEARNERS[name]
    torch.manual_seed(1)
    if kind.is_policy:
        preferences = {"exposure_level": (0.3, 0.475, 0.65)}
        policy = small_policy(std_mode=kind.std_mode, **{"preferences": preferences, **arguments})
        made: Learner = kind(policy, REWARD, seed=seed)
    else:
        made = kind(MODELS.create("restorer", backbone={"name": "compact", "width": 8}), seed=seed)
    return made


def _batch(step: int) -> Batch:
    image = grey_batch(step).image
    return Batch(image, target=(image * 2).clamp(0, 1))


def _weights(learner: Learner) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.network.parameters()])


def _is_policy(name: str) -> bool:
    return bool(LEARNERS[name].is_policy)


@law(_KIND)
def settings_are_a_dataclass(name: str) -> None:
    """The learner derives from `Learner`, and `Config` is a dataclass of its settings, all with defaults."""
    kind = LEARNERS[name]
    require(isinstance(kind, type) and issubclass(kind, Learner), "it does not derive from agents.base.Learner")
    require(issubclass(kind, PolicyLearner) == kind.is_policy,
            "learners of policies derive from PolicyLearner; others say is_policy = False")
    config = getattr(kind, "Config", None)
    require(dataclasses.is_dataclass(config), "it has no attribute Config, the dataclass of its settings")
    try:
        kind.Config()
    except TypeError as error:
        require(False, f"a setting has no default: {error}")


@law(_KIND)
def a_step_moves_the_weights(name: str) -> None:
    """Two steps give finite numbers for the log, and weights that are finite and have moved."""
    learner = make_learner(name)
    before = _weights(learner)
    for step in range(2):
        numbers = learner.step(_batch(step), 0.1 * step)
        wrong = [key for key, value in numbers.items() if not (isinstance(value, float | int) and math.isfinite(value))]
        require(numbers and not wrong, f"numbers for the log are not finite: {', '.join(wrong) or 'there are none'}")
    require(not torch.equal(_weights(learner), before), "no weight has moved")
    require(torch.isfinite(_weights(learner)).all(), "a weight is not finite")


@law(_KIND)
def a_resumed_run_equals_an_uninterrupted_one(name: str) -> None:
    """A learner that takes up another's weights and stored state goes on exactly as that one."""
    one, two = make_learner(name), make_learner(name, seed=6)
    for step in range(2):
        one.step(_batch(step), 0.1 * step)
    tensors, outline = flatten(one.state_dict())
    two.network.load_state_dict({key: value.clone() for key, value in one.network.state_dict().items()})
    two.load_state_dict(restore(tensors, json.loads(json.dumps(outline))))
    for learner in (one, two):
        learner.step(_batch(2), 0.2)
    require(torch.equal(_weights(one), _weights(two)), "the weights differ after the next step: state_dict lacks "
                                                       "something, or chance does not come from self.generator")


@law(_KIND)
def same_seed_same_weights(name: str) -> None:
    """Two runs with one seed are equal, bit for bit."""
    learners = [make_learner(name) for _ in range(2)]
    for learner in learners:
        learner.step(_batch(0))
    require(torch.equal(*map(_weights, learners)), "they differ: chance does not come from self.generator")


@law(_KIND)
def not_a_number_is_refused(name: str) -> None:
    """A batch with NaN raises `NonFiniteError` with the name of the culprit; no weight has changed."""
    learner: Any = make_learner(name)
    if not learner.is_policy:
        learner.network.forward = learner.network.residual  # past the door that refuses NaN
    image = grey_batch(0).image
    image[0, 0, 0, 0] = float("nan")
    before = _weights(learner)
    try:
        learner.step(Batch(image, target=image))
    except NonFiniteError as error:
        require(error.term.split()[-1:] == ["exposure"] or error.term.startswith("loss/"),
                f"the error names neither the reward term exposure nor a loss, but {error.term!r}")
    else:
        require(False, "it was taken: OptimizerStep.update refuses losses that are not finite")
    require(torch.equal(_weights(learner), before), "a weight has changed")


@law(_KIND, lambda name: _is_policy(name) and LEARNERS[name].supports_categorical)
def categorical_agents_are_trained(name: str) -> None:
    """Policies that choose among levels are trained too, unless the learner says `supports_categorical = False`."""
    learner = make_learner(name, actions={"name": "curve", "kind": "categorical", "agent_stride": 8})
    before = _weights(learner)
    numbers = learner.step(_batch(0))
    require(all(math.isfinite(value) for value in numbers.values()), "a number for the log is not finite")
    require(not torch.equal(_weights(learner), before), "no weight has moved")
