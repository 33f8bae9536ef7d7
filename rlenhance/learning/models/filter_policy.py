"""Policies that choose a filter at every pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlenhance.core.arrays import NUM_D4, d4_inverse, d4_transform
from rlenhance.core.errors import UsageError
from rlenhance.engine.filters import LARGE, LEAST_PRECISION, MOST_PRECISION, TrainedNoise
from rlenhance.learning.actions import ACTION_SETS, PIXELRL_TOOLS, Action, FilterActions
from rlenhance.learning.models.base import MODELS, Policy
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.models.restorer import concat_noise, measured_noise, pixel_shuffle_to, residual_head
from rlenhance.learning.nn.backbones import BACKBONES, Backbone
from rlenhance.learning.nn.distributions import JointDistribution, PixelCategorical
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.ops.image import check_image, convert_channels, pad_to_multiple
from rlenhance.ops.noise_estimation import estimate_sigma

_PRECISION = 2 * math.log(400)  # logarithm of 1 / deviation^2: 1/400 at first


class BaseFilterPolicy(TrainedNoise, Policy):
    """Base class of the policies over filters: one agent per pixel.

    Attributes:
        noise, takes_noise: see `rlenhance.engine.filters.TrainedNoise`.
        stride: pixels per feature along each side.
        grid_period: pixels after which the network's grid repeats.
        is_recurrent: whether it carries a state from step to step.
    """

    actions: FilterActions  # type: ignore[assignment]
    decision_size = None
    stride = grid_period = 1
    is_recurrent = True

    def preprocess(self, image: Tensor) -> Tensor:
        """See `Policy`; a network for grey images takes the channels of a colour image as separate images."""
        if self.channels == 1 and image.ndim == 4 and image.shape[1] == 3 and (image[:, 1:] != image[:, :1]).any():
            return check_image(image, margin=self.actions.range_margin).reshape(-1, 1, *image.shape[2:])
        return self.to_channels(image)

    def postprocess(self, result: Tensor, image: Tensor) -> Tensor:
        if len(result) != len(image):
            return result.clamp(0, 1).reshape(image.shape)
        return result.clamp(0, 1).expand(-1, image.shape[1], -1, -1)

    def to_channels(self, image: Tensor) -> Tensor:
        """The picture with the channels of the network.

        Raises:
            UsageError: a colour picture for a network of grey pictures.
        """
        return convert_channels(image, self.channels, self.actions.range_margin)

    def noise_level(self, image: Tensor, preference: Tensor | None = None) -> Tensor | None:
        """The noise that an episode is conditioned on; here none.

        Args:
            image: (N, channels, H, W), the whole image.
            preference: (N, P), encoded; None: estimate it from the image.

        Returns:
            Standard deviation (N, 1, 1, 1) on the scale of [0, 1], or None.
        """
        return None

    def initial_state(self, image: Tensor, noise: Tensor | None) -> Any:
        """The first recurrent state of an episode on an image, or on a part of one.

        Args:
            image: the result of `preprocess`.
            noise: `noise_level` of the whole image.
        """
        return None

    @property
    def takes_noise(self) -> bool:  # type: ignore[override]
        return "noise" in self.preferences.ranges


@MODELS.register("filter_policy")
class FilterPolicy(BaseFilterPolicy):
    """A policy with one agent per pixel, each choosing among tools.

    With f_k the result of tool k at a pixel and e an estimate of the clean pixel,

        logit_k = b_k - p (f_k - e)^2 / 2,

    where b, p and e come from the features; e is the first picture of the episode plus a residual (without a recurrent
    state, the current picture plus a residual). With a supervised run's weights in its backbone and its residual
    (`warm_start`) the policy starts as a good one.

    Args:
        backbone: spec of a backbone, without `channels` and `context`; its context is the remaining steps.
        tools: names of the tools.
        horizon: steps of an episode, T.
        channels: of the pictures, 1 (grey) or 3 (RGB).
        estimate: see above; False: logit_k = b_k, as in PixelRL.
        noise: see `BaseFilterPolicy`.
        noise_conditioned: whether the noise of the first picture is an input, and the unit of the residual: as the user
            names it (preference `noise`, a standard deviation in 255ths), else estimated.
        num_tta_views: greedy actions average the network's output over so many rotations and reflections of the
            picture, 1 to 8. The network then costs so many times as much; the tools do not.

    Source: PixelRL (Furuta et al. 2019), section 4. We depart in the estimate, in the remaining steps as an input, and
    in one trunk for policy and value.
    """

    def __init__(self, backbone: Mapping[str, Any], tools: Sequence[str] = PIXELRL_TOOLS, horizon: int = 6,
                 channels: int = 3, estimate: bool = True, noise: Sequence[float] | None = None,
                 noise_conditioned: bool = True, num_tta_views: int = 1):
        super().__init__()
        if not 1 <= num_tta_views <= NUM_D4:
            raise UsageError(f"num_tta_views lies between 1 and {NUM_D4}; got {num_tta_views}")
        if horizon < 1 or channels not in (1, 3):
            raise UsageError(f"an episode needs at least one step, and channels are 1 or 3; got {horizon} and "
                             f"{channels}")
        self.actions = ACTION_SETS.create("filters", tools=tuple(tools))  # type: ignore[assignment]
        self.horizon, self.channels = horizon, channels
        self.noise_conditioned, self.num_tta_views = noise_conditioned, num_tta_views
        self.noise = None if noise is None else (float(noise[0]), float(noise[1]))
        self.backbone: Backbone = BACKBONES.rebuild({**backbone, "channels": channels + noise_conditioned,
                                                     "context": 1})
        self.stride, self.is_recurrent = self.backbone.stride, self.backbone.recurrent
        self.grid_period = math.lcm(self.stride, self.backbone.feature_period, self.backbone.size_multiple)
        self.preferences = Preferences()
        if noise_conditioned and self.is_recurrent and self.noise is not None and self.noise[0] < self.noise[1]:
            low, high = self.noise
            self.preferences = Preferences({"noise": (low, (low + high) / 2, high)}, auto=("noise",))
        self.heads = residual_head(self.backbone, self.actions.num_choices + estimate)
        self.values = residual_head(self.backbone, 1)
        self.residual = residual_head(self.backbone, channels) if estimate else None
        if estimate:
            assert self.heads.bias is not None
            nn.init.constant_(self.heads.bias[-self.backbone.stride**2 :], _PRECISION)

    def noise_level(self, image: Tensor, preference: Tensor | None = None) -> Tensor | None:
        if not self.noise_conditioned:
            return None
        estimated = _estimate_noise(image)
        if preference is None or not len(self.preferences):
            return estimated
        named = self.preferences.decode(preference, only="noise")
        return torch.where(named["noise_auto"] > 0.5, estimated, named["noise"] / 255)

    def initial_state(self, image: Tensor, noise: Tensor | None) -> Any:
        return None, image, noise

    def precompute(self, observation: Observation) -> Observation:
        """The observation with the tools' results cached."""
        return {**observation, "tools": self._results(observation)} if self.residual is not None else observation

    def _results(self, observation: Observation) -> Tensor:
        found = observation.get("tools")
        return self.actions.apply_all(self.to_channels(observation["image"]).detach()) if found is None else found

    def forward(self, observation: Observation, state: Any = None) -> tuple[JointDistribution, dict[str, Tensor], Any]:
        """Distribution over the tools at every pixel (N, 1, K, H, W), values (N, 1, H, W), and the next state."""
        image = self.to_channels(observation["image"])
        memories, *start = self._state(image, observation, state)
        features, memory = self._features(image, observation, start[1], memories[0])
        distribution = self._weigh(observation, start, self._read(features, image.shape[-2:]))
        value = pixel_shuffle_to(self.values(features), self.backbone.stride, image.shape[-2:]).float()
        return distribution, {"local": value}, ([memory], *start) if self.is_recurrent else None

    def act(self, observation: Observation, state: Any = None) -> tuple[Action, Any]:
        image = self.to_channels(observation["image"])
        memories, *start = self._state(image, observation, state)
        # all views share one grid, so that tiles give the same as the whole
        whole = image if self.num_tta_views == 1 else pad_to_multiple(image, self.grid_period)
        found, kept = image.new_zeros(()), []
        for way in range(self.num_tta_views):
            view = d4_transform(whole, way)
            features, memory = self._features(view, observation, start[1], memories[way])
            found = found + d4_inverse(self._read(features, view.shape[-2:]), way) / self.num_tta_views
            kept.append(memory)
        action = self._weigh(observation, start, found[..., : image.shape[-2], : image.shape[-1]]).mode()
        return action, (kept, *start) if self.is_recurrent else None

    def _state(self, image: Tensor, observation: Observation, state: Any) -> Any:
        """The state of each view, the first picture, and its noise."""
        if state is None:
            state = self.initial_state(image, self.noise_level(image, observation.get("preference")))
        memories, first, noise = state
        return memories or [None] * self.num_tta_views, first, noise

    def _features(self, image: Tensor, observation: Observation, noise: Tensor | None,
                  memory: Any) -> tuple[Tensor, Any]:
        return self.backbone(concat_noise(image, noise), observation["remaining"], memory)

    def _read(self, features: Tensor, size: Sequence[int]) -> Tensor:
        """The heads' outputs at the pixels: b and, with an estimate, p and the residual."""
        heads = [self.heads] if self.residual is None else [self.heads, self.residual]
        return torch.cat([pixel_shuffle_to(head(features), self.backbone.stride, size).float() for head in heads], 1)

    def _weigh(self, observation: Observation, start: Sequence[Any], numbers: Tensor) -> JointDistribution:
        logits = numbers[:, : self.actions.num_choices]
        if self.residual is not None:
            first, noise = start
            precision, residual = numbers[:, self.actions.num_choices, None], numbers[:, self.actions.num_choices + 1 :]
            estimate = first + (residual if noise is None else noise * residual)
            squared = ((self._results(observation) - estimate[:, :, None]) ** 2).mean(dim=1)
            logits = logits - 0.5 * precision.clamp(LEAST_PRECISION, MOST_PRECISION).exp() * squared
        return JointDistribution({"local": PixelCategorical(logits.unsqueeze(1))})


def _estimate_noise(image: Tensor) -> Tensor:
    """Estimated noise, (N, 1, 1, 1): of large pictures by their flat places, of others by `measured_noise`."""
    everywhere = measured_noise(image)
    if min(image.shape[-2:]) < LARGE:
        return everywhere
    found = [estimate_sigma(picture[..., 0] if picture.shape[-1] == 1 else picture)
             for picture in image.detach().permute(0, 2, 3, 1).cpu().numpy()]
    flat = image.new_tensor(found)[:, None, None, None]
    return torch.where(flat > 0, flat.clamp(min=1 / 255), everywhere)
