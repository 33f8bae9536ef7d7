"""What is measured: a recipe on crops of the sample photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from rlenhance.agents import A3C, A3CConfig
from rlenhance.core.errors import UsageError
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig, make_policy
from rlenhance.learning.data import Batch, ImageCache, Sampler, sample_photographs
from rlenhance.learning.nn.backbones import BACKBONES
from rlenhance.learning.rewards import Reward, RewardWeights

#: The curve of the classic pixel-wise form (docs/reference/training.md): 27 levels for each of three coupled channels.
CLASSIC = {"curve": "categorical", "channels": "coupled", "lead": 2, "momentum": 0.2}


#: The policies here take no preferences: the terms of these are left out.
WITHOUT_PREFERENCES = {"contrast_preference": 0.0, "color_preference": 0.0, "highlights": 0.0}


@dataclass(frozen=True)
class Case:
    """A recipe of `a3c` with its default reward.

    Attributes:
        backbone: its name.
        stride: pixels per local agent along each side. At 1 there is no global agent.
        classic: the categorical, coupled curve of the pixel-wise ancestors; False is the default, continuous one.
        pictures: per update.
        rollouts: of each picture.
        horizon: steps of an episode.
        side: of the crops, in pixels.
    """

    backbone: str = "compact"
    stride: int = 8
    classic: bool = False
    pictures: int = 2
    rollouts: int = 6
    horizon: int = 8
    side: int = 64

    def __post_init__(self) -> None:
        BACKBONES[self.backbone]  # an unknown name is refused here
        if min(self.stride, self.pictures, self.rollouts, self.horizon) < 1 or self.side < 8:
            raise UsageError(f"stride, pictures, rollouts and horizon are at least 1, side at least 8; got {self}")

    @property
    def episodes(self) -> int:
        """Played per update."""
        return self.pictures * self.rollouts

    @property
    def steps(self) -> int:
        """Environment steps per update: one step of one picture each."""
        return self.episodes * self.horizon

    @property
    def agents(self) -> int:
        """That act on one picture."""
        return (-(-self.side // self.stride)) ** 2 + (self.stride > 1)

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.backbone}, stride {self.stride}" + (", categorical" if self.classic else "")

    def batch(self) -> Batch:
        """The crops: the same for every recipe that takes as many of this size."""
        return _crops(self.pictures, self.side)

    def learner(self, seed: int = 0) -> A3C:
        """With fresh weights. The policy looks at the crop itself (for the coarse recipe: a state as large as it)."""
        torch.manual_seed(seed)
        curve: Any = CLASSIC if self.classic else {}
        policy = PolicyConfig(actions="curve", controls=False, backbone=self.backbone, horizon=self.horizon,
                              agent_stride=self.stride, global_agent=self.stride > 1,
                              state_size=self.side if self.stride > 1 else 0, **curve)
        weights, config = RewardWeights(WITHOUT_PREFERENCES), A3CConfig(rollouts_per_image=self.rollouts)
        return A3C(make_policy(policy, weights), Reward(weights), config, seed=seed)


#: The default recipe, and the two pixel-wise ones on the same crops.
COARSE = Case()
PIXELWISE = Case("fcn", 1, classic=True)
PIXELWISE_CONTINUOUS = replace(PIXELWISE, classic=False)


@lru_cache(maxsize=8)
def _crops(pictures: int, side: int) -> Batch:
    return Sampler(sample_photographs().train, ImageCache(), side, crop="native").batch(0, pictures)
