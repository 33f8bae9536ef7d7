"""The edits of the pointwise action sets: parameters of the agents, and the formula of a pixel.

One text for NumPy arrays and torch tensors. `rlenhance.learning.actions` adds what learners need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from rlenhance.core.arrays import Array, brightness, constants, max_channel, multiply_add, namespace_of
from rlenhance.core.errors import UsageError
from rlenhance.ops.plane_statistics import log_luminance, luminance_guide

EDGE = 1 - 1e-6  # keeps atanh finite in float32
_Action = TypeVar("_Action", bound=Mapping[str, Any])


class Edits:
    """How actions change pixels. Actions are (N, C, h, w) per scope, see `rlenhance.core.ArrayAction`.

    Attributes:
        compiled: whether render.c has its formula.
        band_heads: numbers of an agent per band of the luminance guide; 0: the parameters depend on none.
        agent_stride: pixels per local agent along each side; 0: there are no local agents.
        global_agent: whether one agent acts on the whole picture.
    """

    compiled: ClassVar[bool] = False
    band_heads: int = 0
    agent_stride: int
    global_agent: bool = True

    @classmethod
    def supports(cls, spec: Mapping[str, Any]) -> bool:
        """Whether every argument of the spec is known here."""
        made: Any = cls
        return set(spec) <= {field.name for field in fields(made)} and spec.get("kind", "continuous") == "continuous"

    @property
    def scopes(self) -> tuple[str, ...]:
        return ("global",) * self.global_agent + ("local",) * bool(self.agent_stride)

    @property
    def action_dim(self) -> int:
        """Numbers that one agent chooses."""
        raise NotImplementedError

    def agent_grid(self, scope: str, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a scope's agents."""
        return (1, 1) if scope == "global" else (-(-height // self.agent_stride), -(-width // self.agent_stride))

    def parameters(self, action: Mapping[str, Any]) -> Any:
        """The parameters of every agent: (N, C, h, w)."""
        raise NotImplementedError

    def apply_parameters(self, image: Array, parameters: Array) -> Array:
        """The edited picture (..., 3, H, W) for parameters that broadcast to (..., C, H, W)."""
        raise NotImplementedError

    def guide(self, first: Array, small: Array | None = None, flat: bool = False) -> Array | None:
        """By what the parameters of a pixel are chosen beside its place, (..., 1, H, W) in [0, 1]; None: by nothing.

        Args:
            first: (..., 3, H, W), the first picture of the episode.
            small: the same at `rlenhance.ops.plane_statistics.GUIDE_SIDE`, where it is known already.
            flat: every pixel is taken as one of a flat surface.
        """
        return None

    def at_pixels(self, parameters: Array, guide: Array | None) -> Array:
        """What `apply_parameters` takes, for the interpolated numbers of agents (..., C, H, W) and the `guide`."""
        return parameters

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        """What an explanation shows of the parameters: name -> its column."""
        return {"A": 0}


def combine_scopes(action: Mapping[str, Any]) -> Any:
    """The sum of global and local actions: (N, C, h, w) in [-1, 1].

    They are added before the squashing, without the mean of the local ones: only the global agent changes the mean.

    Args:
        action: "global" (N, C, 1, 1) and "local" (N, C, h, w), in [-1, 1]; or one of them.
    """
    if len(action) == 1:
        return next(iter(action.values())).clip(-1, 1)
    xp = namespace_of(action["local"])
    whole, own = (xp.atanh(action[scope].clip(-EDGE, EDGE)) for scope in ("global", "local"))
    return xp.tanh(whole + own - own.mean(axis=(-2, -1), keepdims=True))


def attenuate_local(action: _Action, smoothness: Any) -> _Action:
    """Multiply the local actions by 1 - smoothness before the squashing: at 1 only the global agent acts.

    Args:
        action: continuous entries of both scopes; others are returned unchanged.
        smoothness: in [0, 1], one number or (N, 1, 1, 1); None: 0.
    """
    if smoothness is None or (isinstance(smoothness, float) and not smoothness) or set(action) != {"global", "local"}:
        return action
    local = action["local"]
    xp = namespace_of(local)
    if not xp.isdtype(local.dtype, "real floating"):
        return action
    return {**action, "local": xp.tanh((1 - smoothness) * xp.atanh(local.clip(-EDGE, EDGE)))}  # type: ignore[return-value]


def check_range(low: float, high: float) -> None:
    """Refuse a range of A that does not hold 0, or leaves [-1, 1], with a UsageError."""
    if not -1 <= low < 0 < high <= 1:
        raise UsageError(f"A must range from below 0 to above 0 within [-1, 1]; got {low} to {high}")


def _check_stride(agent_stride: int) -> None:
    if agent_stride < 0:
        raise UsageError(f"agent_stride must not be negative; got {agent_stride}")


@dataclass(frozen=True)
class ToneEdits(Edits):
    """See `rlenhance.learning.actions.ToneActions`."""

    agent_stride: int = 8
    low: float = -0.3
    high: float = 1.0
    contrast: float = 0.5
    highlights: float = 0.5
    saturation: float = 1.0

    compiled: ClassVar[bool] = True
    action_dim: ClassVar[int] = 4  # type: ignore[misc]
    shown_parameters: ClassVar[Mapping[str, int]] = {  # type: ignore[misc]
        "brightness": 0, "contrast": 1, "highlights": 2, "saturation": 3}

    def __post_init__(self) -> None:
        _check_stride(self.agent_stride)
        check_range(self.low, self.high)
        if not (0 <= self.contrast <= 0.5 and 0 <= self.highlights <= 0.5 and 0 <= self.saturation <= 1):
            raise UsageError(f"contrast and highlights lie in [0, 0.5], saturation in [0, 1]; "
                             f"got {self.contrast}, {self.highlights} and {self.saturation}")

    def parameters(self, action: Mapping[str, Any]) -> Any:
        """A, K, H and S of every agent: (N, 4, h, w)."""
        normal = combine_scopes(action)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        scale = constants((half, self.contrast, self.highlights, self.saturation), (4, 1, 1), normal)
        return multiply_add(constants((middle, 0.0, 0.0, 0.0), (4, 1, 1), normal), normal, scale)

    def apply_parameters(self, image: Array, parameters: Array) -> Array:
        """The edited picture for A, K, H and S of every pixel."""
        level = brightness(image)
        strength, contrast, highlights, saturation = (parameters[..., head : head + 1, :, :] for head in range(4))
        burning = ((max_channel(image) ** 2) ** 2) ** 2  # squares cost less than a power
        common = strength + contrast * (2 * level - 1) - highlights * burning - saturation * level
        curve = (common + saturation * image).clip(-1, 1)
        return image + curve * (image * (1 - image))


@dataclass(frozen=True)
class BilateralEdits(Edits):
    """See `rlenhance.learning.actions.BilateralActions`."""

    agent_stride: int = 0
    bands: int = 9
    low: float = -0.3
    high: float = 1.0
    saturation: float = 0.5
    gain: float = 0.0

    compiled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_stride(self.agent_stride)
        if not 2 <= self.bands <= 32:
            raise UsageError(f"bands must lie between 2 and 32; got {self.bands}")
        check_range(self.low, self.high)
        if not 0 <= self.saturation <= 1:
            raise UsageError(f"saturation lies in [0, 1]; got {self.saturation}")
        if not 0 <= self.gain <= 1:
            raise UsageError(f"gain lies in [0, 1], in stops; got {self.gain}")

    @property
    def band_heads(self) -> int:  # type: ignore[override]
        return 3 if self.gain else 2

    @property
    def action_dim(self) -> int:
        return self.band_heads * self.bands

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        top = self.bands - 1
        return {"shadows": round(top / 4), "midtones": round(top / 2), "highlights": top,
                "saturation": self.bands + round(top / 2)}

    def parameters(self, action: Mapping[str, Any]) -> Any:
        """A of every band, then S, then, where there are gains, g^4 - 1, of every agent: (N, 2 or 3 bands, h, w)."""
        normal = combine_scopes(action)
        strength, saturation, *gain = self._by_kind(normal)
        return namespace_of(normal).concat([
            (self.low + self.high) / 2 + (self.high - self.low) / 2 * strength, self.saturation * saturation,
            *(2 ** (4 * self.gain * part) - 1 for part in gain)], axis=-3)

    def guide(self, first: Array, small: Array | None = None, flat: bool = False) -> Array | None:
        return log_luminance(first).clip(0, 1) if flat else self._base_layer(first, small)

    def _base_layer(self, first: Any, small: Any) -> Any:
        return luminance_guide(first)

    def at_pixels(self, parameters: Array, guide: Array | None) -> Array:
        """A, S and, where there are gains, g^4 - 1 of every pixel, (..., 2 or 3, H, W), between its two bands.

        Source: slicing of a bilateral grid, Chen, Paris and Durand 2007, section 3.1.
        """
        assert guide is not None
        bands = constants(tuple(map(float, range(self.bands))), (self.bands, 1, 1), guide)
        shares = (1 - abs(guide * (self.bands - 1) - bands)).clip(0)
        return namespace_of(guide).concat([(part * shares).sum(axis=-3, keepdims=True)
                                           for part in self._by_kind(parameters)], axis=-3)

    def _by_kind(self, numbers: Any) -> list[Any]:
        """The bands' numbers of A, of S and, where there are gains, of these."""
        return [numbers[..., first : first + self.bands, :, :] for first in range(0, self.action_dim, self.bands)]

    def apply_parameters(self, image: Array, parameters: Array) -> Array:
        """The edited picture for what `at_pixels` gives."""
        strength, saturation = parameters[..., :1, :, :], parameters[..., 1:2, :, :]
        curve = (strength + saturation.clip(min=0) * (image - brightness(image))).clip(-1, 1)
        edited = image + curve * (image * (1 - image))
        edited = edited + saturation.clip(max=0) * (edited - brightness(edited))
        if not self.gain:
            return edited
        more = parameters[..., 2:, :, :]
        return edited * ((1 + more) / (1 + more * (max_channel(edited) ** 2) ** 2)) ** 0.25


CHANNELS = ("luminance", "chroma", "coupled")


@dataclass(frozen=True)
class CurveEdits(Edits):
    """See `rlenhance.learning.actions.CurveActions`; continuous ones."""

    kind: str = "continuous"
    agent_stride: int = 8
    global_agent: bool = True
    channels: str = "luminance"
    chroma: float = 0.1
    coupling: float = 0.1
    lead_channel: int = 0
    momentum: float = 0.0
    low: float = -0.3
    high: float = 1.0
    num_bins: int = 27

    compiled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.kind not in ("continuous", "categorical"):
            raise UsageError(f"curve kind is continuous or categorical; got {self.kind!r}")
        if self.channels not in CHANNELS:
            raise UsageError(f"curve channels is one of {', '.join(CHANNELS)}; got {self.channels!r}")
        if self.agent_stride < 0 or not (self.agent_stride or self.global_agent):
            raise UsageError(f"agent_stride must be at least 1, or 0 beside a global agent; got {self.agent_stride}")
        check_range(self.low, self.high)
        if not (0 <= self.coupling <= 1 and 0 <= self.momentum < 1 and 0 <= self.chroma <= 0.5):
            raise UsageError(f"coupling lies in [0, 1], momentum in [0, 1), chroma in [0, 0.5]; got {self.coupling}, "
                             f"{self.momentum}, {self.chroma}")
        if self.lead_channel not in (0, 1, 2) or self.num_bins < 2:
            raise UsageError(f"lead_channel is 0, 1 or 2 and num_bins at least 2; got {self.lead_channel} and "
                             f"{self.num_bins}")

    @property
    def action_dim(self) -> int:
        return 1 if self.channels == "luminance" else 3

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        return {"A": 0} if self.channels == "luminance" else {"red": 0, "green": 1, "blue": 2}

    def _normal(self, entry: Any) -> Any:
        """One scope's entry as numbers in [-1, 1]: (N, heads, h, w)."""
        return entry.clip(-1, 1)

    def magnitude(self, action: Mapping[str, Any]) -> Any:
        """A of every agent: (N, 1, h, w) for "luminance", (N, 3, h, w) in RGB otherwise."""
        entries = action if self.kind == "continuous" else {scope: self._normal(each) for scope, each in action.items()}
        numbers = combine_scopes(entries) if len(action) > 1 or self.kind == "continuous" else \
            next(iter(entries.values()))
        own = (self.low + self.high) / 2 + (self.high - self.low) / 2 * numbers
        if self.channels == "chroma":
            xp, red, blue = namespace_of(own), numbers[..., 1:2, :, :], numbers[..., 2:3, :, :]
            return (own[..., :1, :, :] + self.chroma * xp.concat([red, xp.zeros_like(red), blue], axis=-3)).clip(-1, 1)
        if self.channels == "coupled":
            lead = own[..., self.lead_channel : self.lead_channel + 1, :, :]
            return self.coupling * own + (1 - self.coupling) * lead
        return own

    def parameters(self, action: Mapping[str, Any]) -> Any:
        """A of every agent times 1 - momentum: (N, 1 or 3, h, w)."""
        return (1 - self.momentum) * self.magnitude(action) if self.momentum else self.magnitude(action)

    def apply_parameters(self, image: Array, parameters: Array) -> Array:
        """The edited picture for A of every pixel."""
        return image + parameters * (image * (1 - image))


#: By the name of the action set.
EDITS: Mapping[str, type[Edits]] = {"tone": ToneEdits, "curve": CurveEdits, "bilateral": BilateralEdits}
