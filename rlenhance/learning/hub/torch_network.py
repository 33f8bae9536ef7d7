"""A torch network with the interface of the engine's: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from rlenhance.core import ArrayAction
from rlenhance.core.pixels import to_planes
from rlenhance.engine.array_network import ArrayNetwork, ArrayPolicy
from rlenhance.engine.latent import named_noise
from rlenhance.learning.actions import ArrayFormula, PointwiseActions
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.models import (
    BaseFilterPolicy,
    Enlarger,
    FFDNet,
    GreedyEpisode,
    LatentEpisode,
    MRPNetSR,
    NoiseConditionedModel,
    ToolGains,
    ToolPlanner,
    build_model,
)
from rlenhance.learning.models.published.ffdnet import gain_map


class TorchNetwork(ArrayNetwork):
    """A model of torch behind arrays.

    Args:
        module: a model: `(image, mask=None, preference=None) -> image`.
        device: of its weights.
        half: it computes in 16-bit floats (CUDA only).

    Attributes:
        module: the model.
    """

    def __init__(self, module: nn.Module, device: str = "cpu", half: bool = False):
        self.module = cast(Any, module.to(device).eval())
        self.device, self.half = device, half
        self.scale, self.channels = self.module.scale, self.module.channels
        self.receptive_radius, self.train_size = self.module.receptive_radius, self.module.train_size

    @staticmethod
    def load(folder: Path, device: str = "cpu") -> TorchNetwork:
        """The model of a checkpoint; see `load_network`."""
        return TorchNetwork.of(build_model(load_network(folder, device)), device)

    @staticmethod
    def of(module: nn.Module, device: str = "cpu", half: bool = False) -> TorchNetwork:
        """A model with what its kind offers."""
        kind = next((own for base, own in _KINDS.items() if isinstance(module, base)), TorchNetwork)
        if kind is TorchEpisode and isinstance(module.policy, BaseFilterPolicy):
            kind = TorchFilterEpisode
        return kind(module, device, half)

    def with_half(self, half: bool) -> TorchNetwork:
        """The same in 16-bit floats."""
        return type(self)(self.module, self.device, half)

    def __call__(self, planes: np.ndarray, mask: np.ndarray | None = None,
                 preference: Mapping[str, float | None] | None = None) -> np.ndarray:
        """The result for planes (1, C, H, W), and a mask (1, 1, H, W)."""
        with torch.inference_mode(), self._precision():
            result = self.module(self._tensor(planes), None if mask is None else self._tensor(mask),
                                 preference=preference)
        return np.asarray(result.float().cpu().numpy())

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.partition(":")[0], torch.float16) if self.half else nullcontext()


class TorchEpisode(TorchNetwork, ArrayPolicy):
    """The greedy episode of a policy."""

    def __init__(self, module: nn.Module, device: str = "cpu", half: bool = False):
        super().__init__(module, device, half)
        policy = self.module.policy
        self.preferences, self.horizon, self.steps = policy.preferences, policy.horizon, self.module.steps
        self.decision_size, self.shares_decision = policy.decision_size, bool(policy.decision_size)
        self.num_choices = policy.actions.num_choices

    @property
    def formula(self) -> ArrayFormula | None:
        """See `ArrayNetwork.formula`."""
        actions = self.module.policy.actions
        return ArrayFormula(actions) if isinstance(actions, PointwiseActions) else None

    def with_steps(self, steps: int | None) -> TorchEpisode:
        """The same policy with another number of steps."""
        return type(self)(build_model(self.module.policy, steps), self.device, self.half)

    def decide(self, planes: np.ndarray, preference: Mapping[str, float | None] | None = None) -> list[ArrayAction]:
        """See `ArrayPolicy.decide`."""
        with torch.inference_mode(), self._precision():
            chosen = self.module.decide(self._tensor(planes), preference=preference)
        return [{scope: entry.float().cpu().numpy() if entry.is_floating_point() else entry.cpu().numpy()
                 for scope, entry in action.items()} for action in chosen]

    def render_array(self, picture: np.ndarray, actions: Sequence[ArrayAction], strength: float = 1.0,
                     out: np.ndarray | None = None) -> np.ndarray:
        """See `ArrayPolicy.render_array`; the result is a new array."""
        with torch.inference_mode():
            tensors = [{scope: self._tensor(entry) for scope, entry in action.items()} for action in actions]
            return np.asarray(self.module.render_array(picture, tensors, strength))


class TorchDenoiser(TorchNetwork):
    """A denoiser that is conditioned on the noise.

    Attributes:
        noise_floor, size_multiple: see `rlenhance.learning.models.NoiseConditionedModel`.
    """

    takes_noise_map = True

    def __init__(self, module: nn.Module, device: str = "cpu", half: bool = False):
        super().__init__(module, device, half)
        self.noise_floor: float = self.module.noise_floor
        self.size_multiple: int = self.module.size_multiple

    def denoise(self, planes: np.ndarray, noise: np.ndarray | float) -> np.ndarray:
        """See `NoiseConditionedModel.denoise`: (N, channels, H, W) and a number or a map -> (N, channels, H, W)."""
        with torch.inference_mode(), self._precision():
            given = noise if isinstance(noise, float) else self._tensor(noise)
            return np.asarray(self.module.denoise(self._tensor(planes), given).float().cpu().numpy())


class TorchFFDNet(TorchDenoiser):
    """FFDNet, which gets ReLLIE's gain in the place of the noise."""

    takes_gain = True

    def gain_map(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """See `rlenhance.learning.models.published.ffdnet.gain_map`: (H, W, 3) twice -> (1, noise channels, H, W)."""
        gain = gain_map(self._tensor(to_planes(before)), self._tensor(to_planes(after)))
        return np.asarray(gain[:, : self.module.noise_channels].cpu().numpy())


class TorchFilterEpisode(TorchEpisode):
    """A policy over filters."""

    def noise_preference(self, level: float) -> dict[str, float]:
        """See `rlenhance.engine.filters.TrainedNoise.noise_preference`."""
        found: dict[str, float] = self.module.policy.noise_preference(level)
        return found


class TorchLatentEpisode(TorchEpisode):
    """A policy over latent codes, whose episodes can be repeated."""

    iterates = True

    def noise_preference(self, level: float) -> dict[str, float]:
        """See `named_noise`."""
        return named_noise(level)

    def __call__(self, planes: np.ndarray, mask: np.ndarray | None = None,
                 preference: Mapping[str, float | None] | None = None, iterations: int = 0) -> np.ndarray:
        """See `TorchNetwork`; `iterations` further episodes, each on the result of the one before."""
        noise = (preference or {}).get("noise")
        policy = copy.copy(self.module.policy)
        policy.__dict__["actions"] = copy.copy(policy.actions)
        policy.actions.noise_std = None if noise is None else noise / 255
        repeated = TorchNetwork(LatentEpisode(policy, self.module.steps, iterations), self.device, self.half)
        return repeated(planes, mask)


class TorchEnlarger(TorchNetwork):
    """A network that enlarges, or restores at its own size.

    Attributes:
        exposure: whether a tone curve of the whole picture comes first.
    """

    def __init__(self, module: nn.Module, device: str = "cpu", half: bool = False):
        super().__init__(module, device, half)
        self.exposure: bool = self.module.exposure

    def apply_exposure(self, planes: np.ndarray) -> np.ndarray:
        """See `rlenhance.learning.models.MRPNetSR.apply_exposure`."""
        with torch.inference_mode():
            return np.asarray(self.module.apply_exposure(self._tensor(planes)).cpu().numpy())

    def restore_unclamped(self, planes: np.ndarray) -> np.ndarray:
        """Enlarged, not clipped: (N, 3, H, W) -> (N, 3, scale H, scale W)."""
        with torch.inference_mode(), self._precision():
            return np.asarray(self.module.restore_unclamped(self._tensor(planes)).float().cpu().numpy())


class TorchPlanner(TorchNetwork):
    """A planner that chooses among tools.

    Attributes:
        tools, in_decibels: see `rlenhance.learning.models.ToolPlanner`.
        predicts: whether scores are predicted gains, and not what a policy has learned.
    """

    plans = True

    def __init__(self, module: nn.Module, device: str = "cpu", half: bool = False):
        super().__init__(module, device, half)
        self.tools: tuple[str, ...] = self.module.tools
        self.in_decibels: bool = self.module.in_decibels
        self.predicts = isinstance(module, ToolGains)
        self.horizon = self.module.horizon

    def scores(self, planes: np.ndarray, done: Sequence[str], left: float) -> np.ndarray:
        """The score of each tool over stopping: (N, len(tools)).

        Args:
            planes: (N, 3, H, W) in [0, 1], pictures as the tools so far have left them.
            done: names of those tools.
            left: share of the steps that are left.
        """
        with torch.inference_mode(), self._precision():
            scores = self.module(self._observation(self._tensor(planes), done, left)).float()
            if not self.in_decibels:
                scores = scores.softmax(dim=1)
            scores = scores.view(*scores.shape[:2], -1).mean(dim=2)
            return np.asarray((scores[:, :-1] - scores[:, -1:]).cpu().numpy())

    def assess(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `ToolGains.assess`."""
        with torch.inference_mode():
            gains, quality = self.module.assess(self._tensor(planes))
        return gains.cpu().numpy(), quality.cpu().numpy()

    def _observation(self, image: torch.Tensor, done: Sequence[str], left: float) -> dict[str, torch.Tensor]:
        """What `rlenhance/Toolchain-v0` shows."""
        count, regions = len(image), self.module.regions
        last = image.new_zeros(count, len(self.tools) + 1, regions, regions)
        if done and done[-1] in self.tools:
            last[:, self.tools.index(done[-1])] = 1
        return {"image": image, "last_tools": last, "remaining": image.new_full((count, 1), left),
                "budget": image.new_ones(count, 1), "action_mask": torch.ones_like(last)}


_KINDS: dict[type[nn.Module], type[TorchNetwork]] = {
    FFDNet: TorchFFDNet, NoiseConditionedModel: TorchDenoiser, ToolPlanner: TorchPlanner,
    LatentEpisode: TorchLatentEpisode, GreedyEpisode: TorchEpisode, Enlarger: TorchEnlarger, MRPNetSR: TorchEnlarger}
