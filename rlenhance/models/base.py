"""What a model is, and the table of those that can be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from rlenhance.registry import Registry

#: Networks that a checkpoint can hold, by name.
MODELS = Registry("model")


class Model(Protocol):
    """Anything that turns a picture into a better one."""

    def __call__(self, image: Tensor, mask: Tensor | None = None,
                 preference: Mapping[str, float] | None = None) -> Tensor: ...


def as_model(network: nn.Module) -> Any:
    """A network as a model: a policy plays its greedy episode, everything else is one already."""
    from rlenhance.models.policy import PixelPolicy
    from rlenhance.models.unrolled import UnrolledPolicy

    return UnrolledPolicy(network) if isinstance(network, PixelPolicy) else network
