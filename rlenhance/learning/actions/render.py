"""All steps of an episode in one pass over the pixels, for actions of torch: see `rlenhance.engine.render`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlenhance.core import ArrayAction
from rlenhance.engine.render import Renderer
from rlenhance.learning.actions.base import PointwiseActions
from rlenhance.learning.actions.bilateral import BilateralActions
from rlenhance.learning.actions.curve import CurveActions
from rlenhance.learning.actions.tone import ToneActions
from rlenhance.learning.types import Action


class FusedRenderer:
    """Applies the T actions of an episode to each part of a picture while it is in the cache.

    Args:
        actions: the action set.
        chosen: the T actions, for N pictures each.

    Attributes:
        renderers: of each of the N pictures.
    """

    def __init__(self, actions: PointwiseActions, chosen: Sequence[Action]):
        with torch.no_grad():
            joined = {scope: torch.cat([action[scope] for action in chosen]) for scope in chosen[0]}
            stacked = actions.parameters(joined).float()
            handles = stacked.reshape(len(chosen), -1, *stacked.shape[1:]).transpose(0, 1)
        formula = ArrayFormula(actions)
        self.renderers = [Renderer(formula, part.cpu().numpy()) for part in handles]

    def is_faster(self, height: int, width: int) -> bool:
        """See `Renderer.is_faster`."""
        return all(renderer.is_faster(height, width) for renderer in self.renderers)

    def image(self, image: Tensor) -> Tensor:
        """All steps for (N, 3, H, W) float32 on the CPU, of any size."""
        last = len(self.renderers) - 1
        return torch.from_numpy(np.stack([self.renderers[min(number, last)].planes(planes)
                                          for number, planes in enumerate(image.detach().numpy())]))

    def pixels(self, picture: np.ndarray, strength: float = 1.0) -> np.ndarray:
        """See `Renderer.pixels`."""
        return self.renderers[0].pixels(picture, strength)


@dataclass(frozen=True)
class ArrayFormula:
    """An action set behind NumPy arrays, with the interface of `rlenhance.engine.edits.Edits`."""

    actions: PointwiseActions

    @property
    def compiled(self) -> bool:
        return type(self.actions) in (ToneActions, CurveActions, BilateralActions)

    @property
    def band_heads(self) -> int:
        return self.actions.band_heads if isinstance(self.actions, BilateralActions) else 0

    @property
    def scopes(self) -> tuple[str, ...]:
        return self.actions.scopes

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        return self.actions.shown_parameters

    def parameters(self, action: ArrayAction) -> np.ndarray:
        found = self.actions.parameters({scope: torch.from_numpy(entry) for scope, entry in action.items()})
        return np.asarray(found.float().numpy())

    def guide(self, planes: np.ndarray, small: None = None, flat: bool = False) -> np.ndarray | None:
        guide = self.actions.guide(torch.from_numpy(planes)[None], flat=flat)
        return None if guide is None else guide[0].numpy()

    def at_pixels(self, parameters: np.ndarray, guide: np.ndarray | None) -> np.ndarray:
        return self.actions.at_pixels(torch.from_numpy(parameters)[None],
                                      None if guide is None else torch.from_numpy(guide)[None])[0].numpy()

    def apply_parameters(self, planes: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        return self.actions.apply_parameters(torch.from_numpy(planes)[None],
                                             torch.from_numpy(parameters)[None])[0].numpy()
