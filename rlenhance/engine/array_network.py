"""What pipelines ask of a network of NumPy arrays, whether the engine computes it or torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from rlenhance.core import ArrayAction
from rlenhance.core.preferences import PreferenceRanges


class ArrayNetwork(Protocol):
    """A network; the values are those of one that differs in nothing.

    Attributes:
        scale, channels, receptive_radius: see `rlenhance.hub.info.ModelInfo`.
        train_size: side in pixels of the square pictures that a completion network was trained on, or None.
        takes_noise_map: whether it is a denoiser with `denoise(planes, noise)`.
        takes_gain: whether `gain_map` says what such a denoiser is given in the place of the noise.
        iterates: whether its episodes can be repeated.
        plans: whether it has `scores` of tools.
        preferences: the choices of the user.
        horizon: steps of an episode; None for a network that acts in one pass.
        steps: those that are taken; None where they cannot be chosen.
        decision_size: side in pixels of the picture on which episodes run; None: the picture itself.
        shares_decision: whether actions for one picture apply to others: those of a policy with a decision size do.
        num_choices: values of a categorical action; None where actions are continuous.
    """

    scale: int = 1
    channels: int = 3
    receptive_radius: int | None = None
    train_size: int | None = None
    takes_noise_map: bool = False
    takes_gain: bool = False
    iterates: bool = False
    plans: bool = False
    preferences: PreferenceRanges = PreferenceRanges()
    horizon: int | None = None
    steps: int | None = None
    decision_size: int | None = None
    shares_decision: bool = False
    num_choices: int | None = None

    @property
    def formula(self) -> Any:
        """How actions change pixels, see `rlenhance.engine.edits`; None where an edit depends on more than a pixel."""
        return None

    def noise_preference(self, level: float) -> dict[str, float]:
        """The preference for a noise level, a standard deviation in 255ths; empty where there is none.

        Raises:
            UsageError: a level that a policy was not trained for.
        """
        return {}


class ArrayPolicy(ArrayNetwork, Protocol):
    """A policy whose actions can be had, and rendered later."""

    horizon: int
    steps: int

    def with_steps(self, steps: int | None) -> ArrayPolicy:
        """The same with another number of steps; None: the horizon."""

    def decide(self, planes: np.ndarray, preference: Mapping[str, float | None] | None = None) -> list[ArrayAction]:
        """The actions for a picture (1, C, H, W): of each step, and each scope."""

    def render_array(self, picture: np.ndarray, actions: Sequence[ArrayAction], strength: float = 1.0,
                     out: np.ndarray | None = None) -> np.ndarray:
        """Apply actions to one picture.

        Args:
            picture: (H, W, 3) uint8, uint16 or float in [0, 1], RGB.
            actions: of `decide`.
            strength: share of the change that is applied, in [0, 1].
            out: where the result may be written; it may be the picture. None: a new array.

        Returns:
            The same shape and dtype.
        """
