"""Stochastic policies as distributions over actions: per-pixel categorical, per-cell squashed Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.learning.ops.mask_windows import MaskWindows
from rlenhance.learning.types import Action

_EDGE = 1 - 1e-6


class AgentDistribution(Protocol):
    """The distribution of one scope of agents. Maps are (N, 1, h, w): sums over the heads of each agent."""

    def sample(self, generator: torch.Generator | None = None, noise_block_size: int = 1) -> Tensor: ...
    def sample_with_log_prob(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]: ...
    def mode(self) -> Tensor: ...
    def soft_action(self) -> Tensor: ...
    def log_prob(self, action: Tensor) -> Tensor: ...
    def entropy(self) -> Tensor: ...
    def kl(self, other: Any) -> Tensor: ...
    @classmethod
    def concat(cls, parts: Sequence[Any]) -> Any: ...


def block_noise(draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator | None,
                device: torch.device, noise_block_size: int) -> Tensor:
    """Noise of a shape (..., h, w), constant over blocks of noise_block_size x noise_block_size agents.

    Independent noise of neighbouring agents cancels out in the picture.
    """
    if noise_block_size == 1:
        return draw(shape, generator=generator, device=device)
    height, width = shape[-2:]
    coarse = (*shape[:-2], -(-height // noise_block_size), -(-width // noise_block_size))
    noise = draw(coarse, generator=generator, device=device)
    return noise.repeat_interleave(noise_block_size, -2).repeat_interleave(noise_block_size, -1)[..., :height, :width]


class PixelCategorical:
    """Each head of each agent chooses one of K values.

    Args:
        logits: (N, C, K, h, w), unnormalised.
    """

    def __init__(self, logits: Tensor):
        self.log_probs = F.log_softmax(logits, dim=2)

    def sample(self, generator: torch.Generator | None = None, noise_block_size: int = 1) -> Tensor:
        """Indices (N, C, h, w), int64 (the Gumbel-max trick); for `noise_block_size` see `block_noise`."""
        uniform = block_noise(torch.rand, self.log_probs.shape, generator, self.log_probs.device, noise_block_size)
        return (self.log_probs - torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))).argmax(dim=2)

    def sample_with_log_prob(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A sample and its log-probability; the sample has no gradient."""
        action = self.sample(generator)
        return action, self.log_prob(action)

    def mode(self) -> Tensor:
        """The most probable index of every head."""
        return self.log_probs.argmax(dim=2)

    def soft_action(self) -> Tensor:
        """The probabilities (N, C, K, h, w), differentiable."""
        return self.log_probs.exp()

    def log_prob(self, action: Tensor) -> Tensor:
        return self.log_probs.gather(2, action.unsqueeze(2)).squeeze(2).sum(dim=1, keepdim=True)

    def entropy(self) -> Tensor:
        """In nat, summed over the heads."""
        return -(self.log_probs.exp() * self.log_probs).sum(dim=2).sum(dim=1, keepdim=True)

    @classmethod
    def concat(cls, parts: Sequence[PixelCategorical]) -> PixelCategorical:
        """Several batches as one."""
        return cls(torch.cat([part.log_probs for part in parts]))

    def kl(self, other: PixelCategorical) -> Tensor:
        """KL(self || other)."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(dim=2).sum(dim=1, keepdim=True)


class WindowedCategorical(PixelCategorical):
    """A `PixelCategorical` inside one window of each picture; agents outside take the first value.

    Args:
        logits: (N, C, K, h, w), of the windows.
        windows: their places. Actions and maps have the size of the whole pictures.
    """

    def __init__(self, logits: Tensor, windows: MaskWindows):
        super().__init__(logits)
        self.windows = windows

    def sample(self, generator: torch.Generator | None = None, noise_block_size: int = 1) -> Tensor:
        return self._whole(super().sample(generator, noise_block_size))

    def mode(self) -> Tensor:
        return self._whole(super().mode())

    def soft_action(self) -> Tensor:
        first = self.log_probs.new_zeros(*self.log_probs.shape[:3], *self.windows.size)
        first[:, :, 0] = 1
        return self.windows.paste(super().soft_action(), first)

    def log_prob(self, action: Tensor) -> Tensor:
        return self._whole(super().log_prob(self.windows.crop(action)))

    def entropy(self) -> Tensor:
        return self._whole(super().entropy())

    @classmethod
    def concat(cls, parts: Sequence[Any]) -> WindowedCategorical:
        """Several batches as one; all windows have the same size."""
        return cls(torch.cat([part.log_probs for part in parts]), MaskWindows.concat([part.windows for part in parts]))

    def kl(self, other: PixelCategorical) -> Tensor:
        return self._whole(super().kl(other))

    def _whole(self, part: Tensor) -> Tensor:
        return self.windows.paste(part, part.new_zeros(*part.shape[:2], *self.windows.size))


class SquashedGaussian:
    """Each head has a Gaussian, squashed by tanh into (-1, 1).

    Entropy and KL are those of the Gaussian before the squashing (closed forms); `log_prob` is the density of the
    squashed action.

    Args:
        mean: (N, C, h, w), before the squashing.
        log_std: natural logarithm of the deviation, broadcastable to `mean`.

    Source: SAC (Haarnoja et al. 2018), appendix C.
    """

    def __init__(self, mean: Tensor, log_std: Tensor):
        self.mean, self.log_std = mean, log_std.expand_as(mean)

    def sample(self, generator: torch.Generator | None = None, noise_block_size: int = 1) -> Tensor:
        """(N, C, h, w) in (-1, 1), differentiable by mean and deviation (the reparametrisation trick).

        For `noise_block_size` see `block_noise`; it does not change the distribution of a single agent.
        """
        noise = block_noise(torch.randn, self.mean.shape, generator, self.mean.device, noise_block_size)
        return torch.tanh(self.mean + self.log_std.exp() * noise)

    def sample_with_log_prob(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A sample and its log-density, both differentiable; exact also where tanh reaches 1 in float32."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        before = self.mean + self.log_std.exp() * noise
        # log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u))
        log_slope = 2 * (math.log(2) - before - F.softplus(-2 * before))
        density = -0.5 * noise**2 - self.log_std - 0.5 * math.log(2 * math.pi) - log_slope
        return torch.tanh(before), density.sum(dim=1, keepdim=True)

    def mode(self) -> Tensor:
        """tanh of the mean."""
        return torch.tanh(self.mean)

    def soft_action(self) -> Tensor:
        """`mode`, which is differentiable."""
        return self.mode()

    def log_prob(self, action: Tensor) -> Tensor:
        action = action.clamp(-_EDGE, _EDGE)
        standard = (torch.atanh(action) - self.mean) / self.log_std.exp()
        density = -0.5 * standard**2 - self.log_std - 0.5 * math.log(2 * math.pi) - torch.log1p(-(action**2))
        return density.sum(dim=1, keepdim=True)

    def entropy(self) -> Tensor:
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(dim=1, keepdim=True)

    @classmethod
    def concat(cls, parts: Sequence[SquashedGaussian]) -> SquashedGaussian:
        """Several batches as one."""
        return cls(torch.cat([part.mean for part in parts]), torch.cat([part.log_std for part in parts]))

    def kl(self, other: SquashedGaussian) -> Tensor:
        """KL(self || other); the squashing does not change it."""
        ratio = (2 * (self.log_std - other.log_std)).exp()
        distance = ((self.mean - other.mean) / other.log_std.exp()) ** 2
        return (0.5 * (ratio + distance - 1) + other.log_std - self.log_std).sum(dim=1, keepdim=True)


class JointDistribution:
    """The distributions of all scopes of agents; methods give results by scope."""

    def __init__(self, scopes: Mapping[str, AgentDistribution]):
        self.scopes = dict(scopes)

    @classmethod
    def concat(cls, parts: Sequence[JointDistribution]) -> JointDistribution:
        """Several batches as one."""
        return cls({name: type(scope).concat([part.scopes[name] for part in parts])
                    for name, scope in parts[0].scopes.items()})

    def sample(self, generator: torch.Generator | None = None, noise_block_size: int = 1) -> Action:
        return {name: scope.sample(generator, noise_block_size) for name, scope in self.scopes.items()}

    def sample_with_log_prob(self, generator: torch.Generator | None = None) -> tuple[Action, dict[str, Tensor]]:
        """A reparametrised sample and its log-density by scope (continuous actions)."""
        drawn = {name: scope.sample_with_log_prob(generator) for name, scope in self.scopes.items()}
        return ({name: action for name, (action, _) in drawn.items()},
                {name: density for name, (_, density) in drawn.items()})

    def mode(self) -> Action:
        """The greedy action, which models take."""
        return {name: scope.mode() for name, scope in self.scopes.items()}

    def soft_action(self) -> Action:
        """A differentiable action, for the learner `direct`."""
        return {name: scope.soft_action() for name, scope in self.scopes.items()}

    def log_prob(self, action: Action) -> dict[str, Tensor]:
        return {name: scope.log_prob(action[name]) for name, scope in self.scopes.items()}

    def entropy(self) -> dict[str, Tensor]:
        return {name: scope.entropy() for name, scope in self.scopes.items()}

    def kl(self, other: JointDistribution) -> dict[str, Tensor]:
        return {name: scope.kl(other.scopes[name]) for name, scope in self.scopes.items()}
