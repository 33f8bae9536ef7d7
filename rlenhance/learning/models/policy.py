"""The policy: a backbone, and a head for each scope of agents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import ACTION_SETS, Action
from rlenhance.learning.models.base import MODELS, Policy
from rlenhance.learning.nn.backbones import BACKBONES, Backbone
from rlenhance.learning.nn.backbones.base import zero_init
from rlenhance.learning.nn.distributions import AgentDistribution, JointDistribution, PixelCategorical, SquashedGaussian
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.ops.image import area_means
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE, STATISTICS, picture_statistics

_USUAL = -1.0  # initial log_std of heads that predict it


class Observation(TypedDict, total=False):
    """The input of a policy; all of it is available at use time.

    Attributes:
        image: (N, 3, H, W), the current picture.
        remaining: (N, 1), share of the horizon that is left, in [0, 1].
        preference: (N, P), encoded in [-1, 1]; absent without preferences.
        mask: (N, 1, H, W), if there is one.
        initial_image: (N, 3, H, W), the first picture of the episode, for action sets that need it.
        statistics, tools: (N, num_statistics) and (N, C, K, h, w), cached by `Policy.precompute`; optional.
        last_tools, budget, action_mask, spectrum: of toolchains, see `envs.ToolchainEnv`; the last is cached; optional.
    """

    image: Tensor
    remaining: Tensor
    preference: Tensor
    mask: Tensor
    initial_image: Tensor
    statistics: Tensor
    tools: Tensor
    last_tools: Tensor
    budget: Tensor
    action_mask: Tensor
    spectrum: Tensor


def make_observation(image: Tensor, remaining: float, preference: Tensor, mask: Tensor | None = None,
                     initial_image: Tensor | None = None) -> Observation:
    """An observation from its parts, for environment and inference alike.

    Args:
        image: (N, 3, H, W).
        remaining: share of the horizon that is left.
        preference: (N, P); P may be 0.
        mask, initial_image: see `Observation`.
    """
    observation: Observation = {"image": image, "remaining": image.new_full((image.shape[0], 1), remaining)}
    if preference.shape[1]:
        observation["preference"] = preference
    if mask is not None:
        observation["mask"] = mask
    if initial_image is not None:
        observation["initial_image"] = initial_image
    return observation


def backbone_input(observation: Observation, uses_mask: bool, sees_initial_image: bool) -> Tensor:
    """The planes of an observation that a backbone takes: picture, mask, first picture, (N, C, H, W).

    Raises:
        UsageError: one of them is missing.
    """
    planes = [observation["image"]]
    if uses_mask:
        if "mask" not in observation:
            raise UsageError("this policy was trained with a mask: pass one (N, 1, H, W), 1 where pixels may change")
        planes.append(observation["mask"])
    if sees_initial_image:
        if "initial_image" not in observation:
            raise UsageError("this policy sees the first picture of the episode: pass initial_image (N, 3, H, W)")
        planes.append(observation["initial_image"])
    return torch.cat(planes, dim=1) if len(planes) > 1 else planes[0]


@MODELS.register("pixel_policy")
class PixelPolicy(Policy):
    """A backbone with an action head and a value head for each scope of agents.

    Heads start at zero: a new policy chooses the same action for every picture. The state is the backbone's.

    Args:
        actions: spec of an action set (`{"name": "curve", ...}`).
        backbone: spec of a backbone, without `channels` and `context`.
        horizon: steps of an episode, T.
        decision_size: side in pixels of the downscaled square picture on which episodes run; the chosen actions are
            then applied to the full picture. None: episodes run on the picture itself.
        preferences: name -> (lowest, default, highest), see `Preferences`.
        auto: preferences that can be automatic, see `Preferences`.
        uses_mask: whether observations need a mask.
        initial_strength: A that the global (or only) agents of a new policy choose, for curves.
        std_mode: source of the Gaussian's standard deviation: "scheduled" (one number per scope, set by the learner) or
            "predicted" (by the head, per agent).
        sees_initial_image: whether the first picture of the episode is an input too.
        log_bins: see `picture_statistics`.
    """

    def __init__(self, actions: Mapping[str, Any], backbone: Mapping[str, Any], horizon: int = 8,
                 decision_size: int | None = 64, preferences: Mapping[str, Any] | None = None,
                 auto: Sequence[str] = (), uses_mask: bool = False, initial_strength: float = 0.3,
                 std_mode: str = "scheduled", sees_initial_image: bool = False, log_bins: int = 0):
        super().__init__()
        if horizon < 1:
            raise UsageError(f"an episode needs at least one step; got horizon {horizon}")
        if decision_size is not None and decision_size < 8:
            raise UsageError(f"decision_size must be at least 8 pixels, or None; got {decision_size}")
        if std_mode not in ("scheduled", "predicted"):
            raise UsageError(f"std_mode is scheduled or predicted; got {std_mode!r}")
        self.actions = ACTION_SETS.rebuild(dict(actions))
        self.preferences = Preferences({name: tuple(r) for name, r in (preferences or {}).items()}, tuple(auto))
        self.horizon, self.decision_size, self.uses_mask, self.std_mode = horizon, decision_size, uses_mask, std_mode
        self.sees_initial_image, self.input_channels = sees_initial_image, 3 + uses_mask + 3 * sees_initial_image
        self.log_bins, self.num_statistics = log_bins, STATISTICS + log_bins
        self.context_size = context = len(self.preferences) + 1 + self.num_statistics
        self.backbone: Backbone = BACKBONES.rebuild({**backbone, "channels": self.input_channels, "context": context})
        width = self.backbone.width
        outputs = self.actions.action_dim * (self.actions.num_choices or (2 if std_mode == "predicted" else 1))
        self.heads, self.values = nn.ModuleDict(), nn.ModuleDict()
        for scope in self.actions.scopes:
            if scope == "global":
                self.heads[scope] = global_head(width + context, outputs)
                self.values[scope] = global_head(width + context, 1)
            else:
                self.heads[scope] = zero_init(nn.Conv2d(width, outputs, 3, padding=1, padding_mode="replicate"))
                self.values[scope] = zero_init(nn.Conv2d(width, 1, 3, padding=1, padding_mode="replicate"))
            self.register_buffer(f"log_std_{scope}", torch.tensor(-1.0))
        self._set_start(initial_strength)

    def _set_start(self, initial_strength: float) -> None:
        first = self.actions.initial_action
        if first is not None:
            with torch.no_grad():
                for scope in self.actions.scopes:
                    head: Any = self.heads[scope]
                    head.bias[: len(first)] = torch.atanh(torch.tensor(first))
                    if self.std_mode == "predicted":
                        spread = torch.tensor(self.actions.initial_std)
                        head.bias[len(first) :] = spread.log() - _USUAL
        low, high = getattr(self.actions, "low", None), getattr(self.actions, "high", None)
        if low is None or high is None:
            return
        if not low < initial_strength < high:
            raise UsageError(f"initial_strength must lie between {low} and {high}; got {initial_strength}")
        scope = self.actions.scopes[0]
        head = self.heads[scope]
        last: Any = head[-1] if isinstance(head, nn.Sequential) else head
        # a small bias, so that the greedy action is not the first of equals
        if self.actions.num_choices is not None:
            self._bias_choice(last, round((initial_strength - low) / (high - low) * (self.actions.num_choices - 1)))
            for other in self.actions.scopes[1:]:
                self._bias_choice(self.heads[other], (self.actions.num_choices - 1) // 2)
            return
        with torch.no_grad():
            wanted = (initial_strength - (low + high) / 2) / ((high - low) / 2)
            last.bias[: self.actions.strength_heads] = math.atanh(wanted)

    def _bias_choice(self, layer: Any, choice: int) -> None:
        assert self.actions.num_choices is not None
        with torch.no_grad():
            layer.bias.view(self.actions.action_dim, self.actions.num_choices)[:, choice] = 0.5

    def set_log_std(self, scope: str, value: float) -> None:
        """Set a scope's standard deviation ("scheduled"): natural logarithm, before the squashing."""
        self.get_buffer(f"log_std_{scope}").fill_(value)

    def _distribution(self, scope: str, raw: Tensor) -> AgentDistribution:
        if self.actions.num_choices is not None:
            return PixelCategorical(raw.unflatten(1, (self.actions.action_dim, self.actions.num_choices)))
        if self.std_mode == "predicted":
            mean, log_std = raw.chunk(2, dim=1)
            return SquashedGaussian(self._center(scope, mean), (log_std + _USUAL).clamp(-5, 1))
        return SquashedGaussian(self._center(scope, raw), self.get_buffer(f"log_std_{scope}"))

    def _center(self, scope: str, mean: Tensor) -> Tensor:
        """The means of a Gaussian (N, C, h, w), without their mean over the cells where the action set removes it.

        No reward reaches a common mean of the local agents that no image shows. Left in the log-probability, it drifts
        until tanh saturates and probability ratios explode. The noise keeps its common part: it is independent of what
        the image shows, its deviation is the policy's, and it is one part in h * w of the gradient's variance.
        """
        if scope == "local" and self.actions.local_zero_mean:
            return mean - mean.mean(dim=(2, 3), keepdim=True)
        return mean

    def scope_parameters(self, scope: str) -> list[nn.Parameter]:
        return list(self.heads[scope].parameters())

    def precompute(self, observation: Observation) -> Observation:
        """The observation with its statistics cached."""
        return {**observation, "statistics": self.global_features(observation)[:, -self.num_statistics :]}

    def exposure_target(self, preference: Tensor) -> tuple[Tensor, Tensor | None]:
        """The arguments `level` and `auto` of `picture_statistics`."""
        chosen = self.preferences.decode(preference, only="exposure_level")
        level = chosen.get("exposure_level")
        if level is None:
            level = preference.new_tensor(DEFAULT_EXPOSURE)
        return level, chosen.get("exposure_level_auto")

    def global_features(self, observation: Observation) -> Tensor:
        """Preferences, remaining steps and statistics of the picture: (N, P + 1 + num_statistics)."""
        image = observation["image"]
        preference = observation.get("preference")
        if preference is None:
            preference = image.new_zeros(image.shape[0], 0)
        if preference.shape[1] != len(self.preferences):
            raise UsageError(f"this policy takes {len(self.preferences)} preferences "
                             f"({', '.join(self.preferences.ranges) or 'none'}); got {preference.shape[1]}")
        statistics = observation.get("statistics")
        if statistics is None:
            statistics = picture_statistics(image, *self.exposure_target(preference), self.log_bins)
        return torch.cat([self.preferences.network_input(preference), observation["remaining"], statistics], dim=1)

    def forward(self, observation: Observation, state: Any = None) -> tuple[JointDistribution, dict[str, Tensor], Any]:
        """Distribution over the actions, value per scope ((N, 1, 1, 1) or (N, 1, h, w)), and the next state."""
        sources, state = self._sources(observation, state)
        # distributions in float32: a bf16 log-probability is too coarse for a ratio
        distributions = {scope: self._distribution(scope, self.heads[scope](source).float())
                         for scope, source in sources.items()}
        values = {scope: self.values[scope](source).float() for scope, source in sources.items()}
        return JointDistribution(distributions), values, state

    def act(self, observation: Observation, state: Any = None) -> tuple[Action, Any]:
        """The greedy action and the next state; values are not computed."""
        sources, state = self._sources(observation, state)
        return {scope: self._distribution(scope, self.heads[scope](source).float()).mode()
                for scope, source in sources.items()}, state

    def local_numbers(self, features: Tensor) -> Tensor:
        """What `local_action` takes, for features (N, width, h, w) of a part of the image, one agent each: the greedy
        choices, or the means before they are centred and squashed."""
        raw = self.heads["local"](features).float()
        if self.actions.num_choices is not None:
            return self._distribution("local", raw).mode()
        return raw[:, : self.actions.action_dim]

    def local_action(self, numbers: Tensor) -> Tensor:
        """The greedy actions of all local agents of an image, for their `local_numbers` (N, C, h, w)."""
        return numbers if self.actions.num_choices is not None else torch.tanh(self._center("local", numbers))

    def global_action(self, mean: Tensor, context: Tensor) -> Tensor:
        """The greedy action of the global agent, for the mean features (N, width) and `global_features`."""
        known = torch.cat([mean, context], dim=1)[:, :, None, None]
        return self._distribution("global", self.heads["global"](known).float()).mode()

    def _sources(self, observation: Observation, state: Any) -> tuple[dict[str, Tensor], Any]:
        """The input of every scope's heads, and the next state."""
        image = observation["image"]
        context = self.global_features(observation)
        features, state = self.backbone(backbone_input(observation, self.uses_mask, self.sees_initial_image), context,
                                        state)
        sources = {}
        for scope in self.actions.scopes:
            if scope == "global":
                sources[scope] = torch.cat([features.mean(dim=(2, 3)), context], dim=1)[:, :, None, None]
            else:
                sources[scope] = resample_to_agents(features, self.actions.agent_grid(scope, *image.shape[-2:]))
        return sources, state


def resample_to_agents(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features on the agents' grid: averaged if they are finer, interpolated if they are coarser."""
    if features.shape[-2:] == grid:
        return features
    if features.shape[-2] < grid[0]:  # agents finer than the features
        return F.interpolate(features, grid, mode="bilinear", align_corners=False)
    return area_means(features, grid)


def global_head(inputs: int, outputs: int, hidden: int = 32) -> nn.Sequential:
    """The head of the global agent, from global features (N, inputs, 1, 1); its last layer starts at zero."""
    return nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.ReLU(), zero_init(nn.Conv2d(hidden, outputs, 1)))
