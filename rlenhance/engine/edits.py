"""The edits of the pointwise action sets, in NumPy: parameters of the agents, and the formula of a pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rlenhance.core.types import ArrayAction
from rlenhance.ops.plane_statistics import log_luminance, luminance_guide

#: As `rlenhance.learning.actions.base.EDGE`: keeps atanh finite in float32.
EDGE = np.float32(1 - 1e-6)


class Edits:
    """Base class; one picture, actions (1, C, h, w) per scope.

    Args:
        spec: of the action set, as config.json has it, without its name.

    Attributes:
        compiled: whether render.c has its formula.
        guided: whether the parameters depend on a luminance guide.
    """

    compiled: ClassVar[bool] = True
    guided: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, spec: Mapping[str, Any]):
        self.spec = {**self.defaults, **spec}
        self.agent_stride: int = self.spec["agent_stride"]
        self.low, self.high = float(self.spec["low"]), float(self.spec["high"])

    @classmethod
    def supports(cls, spec: Mapping[str, Any]) -> bool:
        """Whether every argument of the spec is known here."""
        return set(spec) <= set(cls.defaults)

    @property
    def scopes(self) -> tuple[str, ...]:
        return ("global",) * bool(self.spec.get("global_agent", True)) + ("local",) * bool(self.agent_stride)

    @property
    def action_dim(self) -> int:
        """Numbers that one agent chooses."""
        raise NotImplementedError

    def agent_grid(self, scope: str, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a scope's agents."""
        return (1, 1) if scope == "global" else (-(-height // self.agent_stride), -(-width // self.agent_stride))

    def parameters(self, action: ArrayAction) -> np.ndarray:
        """The parameters of every agent: (C, h, w)."""
        raise NotImplementedError

    def apply(self, planes: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """The edited picture (3, H, W) for parameters that broadcast to (C, H, W)."""
        raise NotImplementedError

    def guide(self, planes: np.ndarray) -> np.ndarray | None:
        """What the parameters of a pixel depend on beside its place: (H, W); None: nothing."""
        return luminance_guide(planes) if self.guided else None

    def flat_guide(self, planes: np.ndarray) -> np.ndarray | None:
        """The same, where every pixel is taken as one of a flat surface."""
        return log_luminance(planes).clip(0, 1) if self.guided else None

    def at_pixels(self, parameters: np.ndarray, guide: np.ndarray | None) -> np.ndarray:
        """What `apply` takes, for interpolated parameters and the guide."""
        return parameters

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        """What an explanation shows of the parameters: name -> its column."""
        return {"A": 0}

    def combined(self, action: ArrayAction) -> np.ndarray:
        """The numbers of both scopes in [-1, 1], see `rlenhance.learning.actions.curve.combine_scopes`: (C, h, w)."""
        if len(action) == 1:
            return np.asarray(next(iter(action.values()))[0].clip(-1, 1))
        raw = {scope: np.arctanh(entry[0].clip(-EDGE, EDGE)) for scope, entry in action.items()}
        return np.asarray(np.tanh(raw["global"] + raw["local"] - raw["local"].mean(axis=(1, 2), keepdims=True)))


class ToneEdits(Edits):
    """See `rlenhance.learning.actions.tone.ToneActions`."""

    defaults = {"agent_stride": 8, "low": -0.3, "high": 1.0, "contrast": 0.5, "highlights": 0.5, "saturation": 1.0}
    action_dim = 4
    shown_parameters = {"brightness": 0, "contrast": 1, "highlights": 2, "saturation": 3}

    def parameters(self, action: ArrayAction) -> np.ndarray:
        half = [(self.high - self.low) / 2, *(self.spec[name] for name in ("contrast", "highlights", "saturation"))]
        middle = [(self.low + self.high) / 2, 0, 0, 0]
        return _column(middle) + self.combined(action) * _column(half)

    def apply(self, planes: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        strength, contrast, highlights, saturation = parameters
        level, top = planes.mean(axis=0), planes.max(axis=0)
        burning = ((top**2) ** 2) ** 2
        common = strength + contrast * (2 * level - 1) - highlights * burning - saturation * level
        curve = (common + saturation * planes).clip(-1, 1)
        return np.asarray(planes + curve * (planes * (1 - planes)))


class BilateralEdits(Edits):
    """See `rlenhance.learning.actions.bilateral.BilateralActions`."""

    guided = True
    defaults = {"agent_stride": 0, "bands": 9, "low": -0.3, "high": 1.0, "saturation": 0.5}

    def __init__(self, spec: Mapping[str, Any]):
        super().__init__(spec)
        self.bands: int = self.spec["bands"]

    @property
    def action_dim(self) -> int:
        return 2 * self.bands

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        top = self.bands - 1
        return {"shadows": round(top / 4), "midtones": round(top / 2), "highlights": top,
                "saturation": self.bands + round(top / 2)}

    def parameters(self, action: ArrayAction) -> np.ndarray:
        normal = self.combined(action)
        strength = (self.low + self.high) / 2 + (self.high - self.low) / 2 * normal[: self.bands]
        return np.concatenate([strength, self.spec["saturation"] * normal[self.bands :]]).astype(np.float32)

    def at_pixels(self, parameters: np.ndarray, guide: np.ndarray | None) -> np.ndarray:
        assert guide is not None
        bands = np.arange(self.bands, dtype=np.float32)[:, None, None]
        shares = np.maximum(1 - np.abs(guide * (self.bands - 1) - bands), 0)
        return np.stack([(part * shares).sum(axis=0) for part in np.split(parameters, 2)])

    def apply(self, planes: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        strength, saturation = parameters
        curve = (strength + saturation.clip(0, None) * (planes - planes.mean(axis=0))).clip(-1, 1)
        edited = planes + curve * (planes * (1 - planes))
        return np.asarray(edited + saturation.clip(None, 0) * (edited - edited.mean(axis=0)))


class CurveEdits(Edits):
    """See `rlenhance.learning.actions.curve.CurveActions`; continuous ones."""

    defaults = {"kind": "continuous", "agent_stride": 8, "global_agent": True, "channels": "luminance", "chroma": 0.1,
                "coupling": 0.1, "lead_channel": 0, "momentum": 0.0, "low": -0.3, "high": 1.0, "num_bins": 27}

    @classmethod
    def supports(cls, spec: Mapping[str, Any]) -> bool:
        return super().supports(spec) and spec.get("kind", "continuous") == "continuous"

    @property
    def action_dim(self) -> int:
        return 1 if self.spec["channels"] == "luminance" else 3

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        return {"A": 0} if self.spec["channels"] == "luminance" else {"red": 0, "green": 1, "blue": 2}

    def parameters(self, action: ArrayAction) -> np.ndarray:
        middle, half = np.float32((self.low + self.high) / 2), np.float32((self.high - self.low) / 2)
        normal, kind = self.combined(action), self.spec["channels"]
        own = middle + half * normal
        if kind == "chroma":
            _, red, blue = normal
            own = (own[:1] + self.spec["chroma"] * np.stack([red, np.zeros_like(red), blue])).clip(-1, 1)
        elif kind == "coupled":
            lead = self.spec["lead_channel"]
            own = self.spec["coupling"] * own + (1 - self.spec["coupling"]) * own[lead : lead + 1]
        return np.asarray((1 - self.spec["momentum"]) * own, np.float32)

    def apply(self, planes: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        return np.asarray(planes + parameters * (planes * (1 - planes)))


#: By the name of the action set.
EDITS: Mapping[str, type[Edits]] = {"tone": ToneEdits, "curve": CurveEdits, "bilateral": BilateralEdits}


def _column(numbers: Sequence[float]) -> np.ndarray:
    return np.array(numbers, np.float32)[:, None, None]
