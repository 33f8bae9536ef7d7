"""Completion policies over the pixels of a hole, which start from a prior, and their supervised twin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import ACTION_SETS, Action, CompletionActions
from rlenhance.learning.models.base import MODELS, FeedForwardModel, ImageNetwork, Policy
from rlenhance.learning.models.completers import check_train_size
from rlenhance.learning.models.policy import Observation, PixelPolicy
from rlenhance.learning.models.restorer import pixel_shuffle_to, residual_head
from rlenhance.learning.nn.backbones import BACKBONES, Backbone
from rlenhance.learning.nn.distributions import JointDistribution, WindowedCategorical
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.ops.image import check_image
from rlenhance.learning.ops.mask_windows import MaskWindows
from rlenhance.learning.ops.masked_tensors import check_mask, composite, harmonic_fill, mask_bbox, mask_out

_PRECISION, _LEAST, _MOST = 2 * math.log(100), 2.0, 14.0  # logarithm of 1 / deviation^2: 1/100 at first, bounds
_NEVER = -1e4  # logit of an invalid tool
_PLANES = 7  # see `completion_input`


class PriorModel(ImageNetwork):
    """Base class of networks that start from a prior's completion.

    Attributes:
        prior: a frozen completion network; None: harmonic interpolation. A prior built from a spec is saved with this
            network; of a named one only the name is saved, and `rlenhance.learning.hub.checkpoint.create_network` loads
            it.
        train_size: side in pixels of the square pictures that it was trained on.
    """

    def _build_prior(self, prior: Mapping[str, Any] | str | None, train_size: int) -> None:
        self.train_size, self.prior_name = check_train_size(train_size), prior if isinstance(prior, str) else None
        spec = prior if isinstance(prior, Mapping) else None
        self.prior: Any = None if spec is None else MODELS.rebuild(dict(spec)).requires_grad_(False).eval()

    def set_prior(self, prior: nn.Module) -> None:
        """Use a loaded network as the prior; it is not a submodule: neither saved nor moved with this one."""
        object.__setattr__(self, "prior", prior.requires_grad_(False).eval())

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        if self.prior is not None:
            self.prior.eval()
        return self

    def prefill(self, image: Tensor, mask: Tensor | None) -> Tensor:
        """The picture with the prior's completion inside the mask.

        Raises:
            UsageError: not an image, no mask or one of another shape; or a named prior that is not loaded.
        """
        check_image(image)
        hole = check_mask(mask, image)
        if self.prior is None and self.prior_name is not None:
            raise UsageError(f"the prior {self.prior_name!r} is not loaded: make this network with "
                             f"rlenhance.learning.hub.checkpoint.create_network")
        with torch.no_grad():
            if self.prior is None:
                return composite(harmonic_fill(mask_out(image, hole), hole).clamp(0, 1), image, hole)
            self.prior.to(image.device, image.dtype)
            return composite(self.prior(mask_out(image, hole), hole).clamp(0, 1), image, hole)


@MODELS.register("completion_policy")
class CompletionPolicy(PriorModel, Policy):
    """A policy with one agent per pixel of the hole, each choosing among tools.

    With f_k the result of tool k and e an estimate of the original (the prior's picture plus a residual),

        logit_k = b_k - p |f_k - e|^2 / 2,

    where b and p come from the features of each step and e from those of the first. Invalid tools are never chosen,
    and agents outside the hole keep their pixels.

    Args:
        backbone: spec of a backbone, without `channels` and `context`.
        prior: see `PriorModel`.
        strides: see `CompletionActions`.
        horizon: steps of an episode, T.
        train_size: side in pixels of the pictures that it was trained on.
        keep_bias: initial bias of the logit of "keep".
        smooth_weights: whether b and p have one value per feature, interpolated bilinearly, instead of one per pixel.
    """

    uses_mask = True
    decision_size = None

    def __init__(self, backbone: Mapping[str, Any], prior: Mapping[str, Any] | str | None = None,
                 strides: Sequence[int] = (8, 4, 2, 1), horizon: int = 8, train_size: int = 128, keep_bias: float = 3.0,
                 smooth_weights: bool = False):
        super().__init__()
        if horizon < 1:
            raise UsageError(f"an episode needs at least one step; got horizon {horizon}")
        if not 0 <= keep_bias <= 20:
            raise UsageError(f"keep_bias must lie between 0 and 20; got {keep_bias}")
        self._build_prior(prior, train_size)
        self.actions: CompletionActions = ACTION_SETS.create("fill", strides=tuple(strides))  # type: ignore[assignment]
        self.preferences, self.horizon = Preferences(), horizon
        self.backbone: Backbone = BACKBONES.rebuild({**backbone, "channels": _PLANES, "context": 1})
        cells = 1 if smooth_weights else self.backbone.stride**2
        self.heads = residual_head(self.backbone, self.actions.num_choices + 1, cells)
        self.values = residual_head(self.backbone, 1)
        self.residual = residual_head(self.backbone, 3)
        assert self.heads.bias is not None
        nn.init.constant_(self.heads.bias[-cells:], _PRECISION)
        nn.init.constant_(self.heads.bias[:cells], keep_bias)

    def initial_image(self, image: Tensor, mask: Tensor | None) -> Tensor:
        return self.prefill(image, mask)

    def precompute(self, observation: Observation) -> Observation:
        """The observation with the tools' results cached."""
        return {**observation, "tools": self._results(observation, MaskWindows.from_mask(observation["mask"]))}

    def _results(self, observation: Observation, windows: MaskWindows) -> Tensor:
        """Each tool's result minus the start (three channels), and half of its square: (N, 4, K, h, w)."""
        found = observation.get("tools")
        if found is not None:
            return found
        with torch.no_grad():
            image, start = observation["image"], observation.get("initial_image", observation["image"])
            moves = self.actions.apply_all(image, observation["mask"], start, windows) - windows.crop(start)[:, :, None]
            return torch.cat([moves, 0.5 * (moves**2).sum(dim=1, keepdim=True)], dim=1)

    def forward(self, observation: Observation, state: Any = None) -> tuple[JointDistribution, dict[str, Tensor], Any]:
        """Distribution over the tools (N, 1, K, H, W), values (N, 1, H, W); the state is the estimate minus the start,
        around the hole."""
        features, distribution, state = self._decide(observation, state)
        value = pixel_shuffle_to(self.values(features), self.backbone.stride, observation["image"].shape[-2:]).float()
        return distribution, {"local": value * observation["mask"]}, state

    def act(self, observation: Observation, state: Any = None) -> tuple[Action, Any]:
        _, distribution, state = self._decide(observation, state)
        return distribution.mode(), state

    def _decide(self, observation: Observation, state: Any) -> tuple[Tensor, JointDistribution, Any]:
        if "mask" not in observation:
            raise UsageError("this policy fills holes: pass a mask (N, 1, H, W), 1 where pixels are missing")
        image, mask = observation["image"], observation["mask"]
        start, windows = observation.get("initial_image", image), MaskWindows.from_mask(mask)
        features, _ = self.backbone(completion_input(image, mask, start), observation["remaining"], None)
        numbers = head_in_windows(self.heads, features, self.backbone.stride, windows,
                                  self.actions.num_choices + 1).float()
        estimate = state
        if estimate is None:  # the first step
            estimate = head_in_windows(self.residual, features, self.backbone.stride, windows).float()
        # |f - e|^2 without |e|^2, which is the same for all tools
        weights = torch.cat([-estimate, torch.ones_like(estimate[:, :1])], dim=1) / 3
        distance = (self._results(observation, windows) * weights[:, :, None]).sum(dim=1)
        logits = numbers[:, : self.actions.num_choices] - numbers[:, -1:].clamp(_LEAST, _MOST).exp() * distance
        logits = logits.masked_fill(~self.actions.valid_mask(mask, windows), _NEVER)
        return features, JointDistribution({"local": WindowedCategorical(logits.unsqueeze(1), windows)}), estimate


def head_in_windows(head: nn.Conv2d, features: Tensor, stride: int, windows: MaskWindows, planes: int = 0) -> Tensor:
    """The output of a 3x3 head, as `pixel_shuffle_to` gives it, computed inside windows only.

    Args:
        planes: a head with this many outputs has one per feature, interpolated bilinearly; others have one per pixel.
    """
    cells, smooth = windows.cells(stride), head.out_channels == planes
    margin = 2 if smooth else 1
    mode = "replicate" if head.padding_mode == "replicate" else "constant"
    around = MaskWindows(cells.tops, cells.lefts, cells.height + 2 * margin, cells.width + 2 * margin,
                         (cells.size[0] + 2 * margin, cells.size[1] + 2 * margin)
                         ).crop(F.pad(features, (margin,) * 4, mode=mode))
    numbers = F.conv2d(around, head.weight, head.bias)
    if smooth:
        numbers = F.interpolate(numbers.float(), scale_factor=stride, mode="bilinear", align_corners=False)
        numbers = numbers[..., stride:-stride, stride:-stride]
    else:
        numbers = F.pixel_shuffle(numbers, stride)
    corner = MaskWindows(tuple(stride * top for top in cells.tops), tuple(stride * left for left in cells.lefts),
                         numbers.shape[-2], numbers.shape[-1], windows.size)
    return windows.relative_to(corner).crop(numbers)


@MODELS.register("completion_restorer")
class CompletionRestorer(PriorModel, FeedForwardModel):
    """The supervised twin of `CompletionPolicy`: the same backbone, and a residual on the prior's picture.

    Args:
        backbone, prior, train_size: see `CompletionPolicy`.
    """

    purpose = "completion"
    needs_mask = True

    def __init__(self, backbone: Mapping[str, Any], prior: Mapping[str, Any] | str | None = None,
                 train_size: int = 128):
        super().__init__()
        self._build_prior(prior, train_size)
        self.backbone: Backbone = BACKBONES.rebuild({**backbone, "channels": _PLANES, "context": 1})
        self.residual = residual_head(self.backbone, 3)

    def refine(self, start: Tensor, mask: Tensor) -> Tensor:
        """The prior's picture plus the residual inside the mask, not clipped."""
        left = start.new_ones(start.shape[0], 1)
        features, _ = self.backbone(completion_input(start, mask, start), left, None)
        residual = pixel_shuffle_to(self.residual(features), self.backbone.stride, start.shape[-2:]).float()
        return composite(start + residual, start, mask)

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        """The completed image; in training mode `image` is the prior's."""
        assert mask is not None  # checked by forward
        if self.training:
            return self.refine(image, mask)
        done = self.prefill(image, mask)
        for index in range(len(image)):
            place: Any = (slice(index, index + 1), slice(None), *mask_bbox(mask[index : index + 1]))
            done[place] = self.refine(done[place], mask[place])
        return done


@MODELS.register("touch_up_policy")
class TouchUpPolicy(PixelPolicy, PriorModel):
    """A policy that changes the channels of the hole's pixels in small steps: for learners of continuous actions.

    Args:
        backbone, prior, horizon, train_size: as `CompletionPolicy`.
        max_change: largest change per step.
        std_mode: see `PixelPolicy`.
    """

    def __init__(self, backbone: Mapping[str, Any], prior: Mapping[str, Any] | str | None = None, horizon: int = 8,
                 max_change: float = 0.05, train_size: int = 128, std_mode: str = "predicted"):
        super().__init__({"name": "touch_up", "max_change": max_change}, backbone, horizon, None, uses_mask=True,
                         std_mode=std_mode)
        self._build_prior(prior, train_size)

    def initial_image(self, image: Tensor, mask: Tensor | None) -> Tensor:
        return self.prefill(image, mask)


def completion_input(image: Tensor, mask: Tensor, start: Tensor) -> Tensor:
    """The input of a backbone: picture, mask, and four times the change since the start: (N, 7, H, W)."""
    return torch.cat([image, mask, 4 * (image - start)], dim=1)


def copy_from_supervised(policy: CompletionPolicy, twin: CompletionRestorer) -> CompletionPolicy:
    """Copy a supervised twin's backbone and residual into a policy, in place; its estimate is then the twin's result.

    Raises:
        UsageError: the backbones or the priors differ.
    """
    for part in ("backbone", "prior"):
        ours, theirs = (str(getattr(network, part).spec if getattr(network, part) is not None else None)
                        .replace("[", "(").replace("]", ")") for network in (policy, twin))
        if ours != theirs:
            raise UsageError(f"a warm start needs the same {part}: the policy has {ours}, the supervised run {theirs}")
    policy.backbone.load_state_dict(twin.backbone.state_dict())
    policy.residual.load_state_dict(twin.residual.state_dict())
    if policy.prior is not None and not isinstance(policy.spec["prior"], str):
        policy.prior.load_state_dict(twin.prior.state_dict())
    return policy
