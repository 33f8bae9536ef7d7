"""Brighten photographs with a trained model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.machine import check_half
from rlenhance.core.pixels import blended, resize_planes, resized_planes, to_pixels, to_planes
from rlenhance.hub import shipped
from rlenhance.hub.info import read_info
from rlenhance.io.batch import mean_level
from rlenhance.io.files import read
from rlenhance.io.photo import Photo
from rlenhance.ops.lost_shadows import has_lost_shadows, lost_share, plain_shadows
from rlenhance.ops.white_balance import apply_gains
from rlenhance.pipelines.base import ImagePipeline, PipelineResult
from rlenhance.pipelines.decision import Decision, White, describe_change, every_other, exposure_notes
from rlenhance.pipelines.denoise import Denoiser, find_denoiser, is_grey
from rlenhance.pipelines.exposure import decide_exposed, sample_of
from rlenhance.pipelines.options import EnhanceSettings

if TYPE_CHECKING:
    from rlenhance.pipelines.looks import Look
    from rlenhance.pipelines.series import Series

_SIDE = 64  # on which a policy without a state size is asked for its exposure


class Enhancer(ImagePipeline[EnhanceSettings]):
    """A trained model that brightens photographs.

    Args:
        model: see `ImagePipeline`; None: the shipped default.
        settings: see `EnhanceSettings`. At strength 0 the model does not run, and without `denoise` the pixels stay
            as they are, bit for bit.
        denoiser: name, run folder or checkpoint of a model to denoise, which removes the noise that the change
            reveals; None: the shipped ones, where `denoise` is not 0. Without `settings`, `denoise` is 1 with it.
        reward: weights of reward terms, as shares of the training's, which become settings: see
            `rlenhance.pipelines.reward_weights.apply_reward`.
        look: a `Look` with a model, or its file, which chooses the settings anew for each picture; without `model`,
            with its own. Settings that are given by name have precedence.
        half: the network computes in 16-bit floats (CUDA only).
        options: see `ImagePipeline`.

    Attributes:
        denoiser: removes the noise, where `denoise` is not 0; the shipped ones are loaded when they are needed.

    Raises:
        UsageError: see `ImagePipeline`; or a preference that the model does not take, or outside its range; a denoiser
            that is none, or one with `denoise` 0.

    Example:
        >>> Enhancer("runs/lol/demo/best", preference={"exposure_level": 0.5})(pixels)  # doctest: +SKIP
        >>> Enhancer("runs/rellie", denoiser="runs/ffdnet")(pixels)  # doctest: +SKIP
    """

    name, suffix, purpose = "enhance", EnhanceSettings.suffix, "enhance"
    Settings = EnhanceSettings

    def __init__(self, model: Path | str | None = None, settings: EnhanceSettings | None = None, *,
                 denoiser: Path | str | None = None, reward: Mapping[str, float] | None = None,
                 look: Look | Path | str | None = None, half: bool = False, **options: Any):
        self._decision: Decision | None = None  # of every picture
        self.half = False
        if denoiser is not None:
            find_denoiser(denoiser)
            if settings is None:
                options.setdefault("denoise", 1.0)
        if isinstance(look, str | Path):
            from rlenhance.pipelines.looks import load_look

            look = load_look(Path(look))
        self.look = look
        if self.look is not None:
            if settings is not None or reward:
                raise UsageError("a look chooses the settings: leave out settings and reward, or the look")
            names = {entry.name for entry in fields(EnhanceSettings)} & set(options)
            self.look = self.look.changed({name: options.pop(name) for name in names})
            model, settings = self.look.model if model is None else model, self.look.settings
        super().__init__(model, settings, **options)
        if self.look is not None and (note := self.look.check_model(self.sha256, self.preference_ranges)):
            warnings.warn(note, stacklevel=2)
        if reward:
            self.settings = self.with_reward(reward).settings
        if denoiser is not None and self.settings.denoise == 0:
            raise UsageError(f"denoise 0 takes nothing out: leave out the denoiser {denoiser}, or set denoise above 0")
        self.half = check_half(half, self.device)
        if self.half:
            self.network = self.network.with_half(True)
        self.denoiser = Denoiser(denoiser, device=self.device)

    def _load(self) -> None:
        model = shipped.default_model() if self.named is None else self.named
        if model is None:
            raise UsageError("no model is shipped with this version: name a run, as in Enhancer('runs/lol/first/best')")
        self.folder, self.network = self._open_network(model)

    def _check_settings(self) -> None:
        steps = self.settings.steps
        self.check_preference(self.settings.preference)
        if self.settings.table is not None:
            shift = ["exposure_shift"] * bool(self.settings.exposure_shift)
            self.settings.table.check_unused([*self.settings.preference, *shift, *["steps"] * (steps is not None)])
        if self.settings.exposure_shift and "exposure_level" not in self.preference_ranges:
            self.check_preference({"exposure_level": self.settings.exposure_shift})
        if not self._acts and steps is not None:
            raise UsageError(f"{self.folder}: a network that acts in one pass has no steps; leave them out")
        if self._acts and self.network.steps != (self.network.horizon if steps is None else steps):
            self.network, self._model = self.network.with_steps(steps), None

    @property
    def _acts(self) -> bool:
        """Whether the network is a policy, with steps and preferences."""
        return self.network.horizon is not None

    def check_preference(self, preference: Mapping[str, float | None]) -> None:
        """Raise UsageError for a preference that the model does not take, or outside its range."""
        if preference and not self._acts:
            raise UsageError(f"{self.folder}: a network that acts in one pass takes no preferences; "
                             f"got {', '.join(preference)}: use a policy")
        if preference:
            from rlenhance.pipelines.preference_text import check_preferences

            check_preferences(preference, self.preference_ranges, self.auto_preferences)

    def with_settings(self, settings: EnhanceSettings | None = None, **changes: Any) -> Self:
        """See `ImagePipeline.with_settings`; changes have precedence over a look, and `settings` replace it."""
        look = None if settings is not None or self.look is None else self.look.changed(changes)
        other = super().with_settings(look.settings) if look else super().with_settings(settings, **changes)
        other.look = look
        return other

    def with_reward(self, reward: Mapping[str, float]) -> Self:
        """The same pipeline with what weights of reward terms ask for; see the class.

        Raises:
            UsageError: see `apply_reward`.
        """
        from rlenhance.pipelines.reward_weights import apply_reward

        return self.with_settings(apply_reward(self.settings, reward, self.preference_ranges,
                                               self.auto_preferences)[0])

    def for_picture(self, pixels: np.ndarray) -> Self:
        """The same pipeline with the settings that its look chooses for a picture (H, W, 3), and no look."""
        if self.look is None:
            return self
        settings, ranges = self.look.settings_for(pixels), self.preference_ranges
        return self.with_settings(settings, preference={
            name: min(max(value, ranges[name][0]), ranges[name][2]) if name in self.look.functions and value is not None
            else value for name, value in settings.preference.items()})

    def match_series(self, sources: Iterable[Path], reference: Path | None = None, *, smooth: int | None = 0,
                     **options: Any) -> Series:
        """Make the results of a series equally bright, with the same white balance: see
        `rlenhance.pipelines.series.match_series`."""
        from rlenhance.pipelines.series import match_series

        return match_series(self, sources, reference, smooth=smooth, **options)

    @property
    def preference_ranges(self) -> Mapping[str, tuple[float, float, float]]:
        """Preferences of the model: name -> (lowest, default, highest); empty for a network that acts in one pass."""
        return self.network.preferences.ranges if self._acts else {}

    @property
    def auto_preferences(self) -> Sequence[str]:
        """The preferences that the model can choose itself."""
        return self.network.preferences.auto if self._acts else ()

    @property
    def without_effect(self) -> Sequence[str]:
        """The preferences that it takes, and that change no picture visibly."""
        return () if self.folder is None else read_info(self.folder).without_effect

    @property
    def shares_decision(self) -> bool:
        """Whether actions for one picture apply to others: those of a policy with a state size do."""
        return self._acts and bool(self.network.shares_decision)

    def require_shared_decision(self) -> None:
        """Raise UsageError for a model that acts in one pass, or pixel by pixel."""
        if not self.shares_decision:
            kind, way = ("policy that decides pixel by pixel", "one with a state size") \
                if self._acts else ("network that acts in one pass", "a policy")
            raise UsageError(f"{self.folder}: a {kind} has no decision to share between pictures; use {way}")

    def decide(self, picture: np.ndarray) -> Decision:
        """What is decided on a picture (H, W, 3), which `render` carries out, on it or on others that share it."""
        settled = self.for_picture(picture)
        return settled._with_fallback(lambda: settled._decided(picture))

    def render(self, picture: np.ndarray, decision: Decision, out: np.ndarray | None = None) -> np.ndarray:
        """The result of a picture by a decision.

        Args:
            picture: (H, W, 3) uint8, uint16 or float in [0, 1].
            decision: of `decide`.
            out: an array for the result, of the same shape and dtype, which may be the picture itself; it is used where
                that saves memory.
        """
        return self._with_fallback(lambda: self._rendered(picture, decision, out)[0])

    def with_decision(self, decision: Decision) -> Self:
        """The same pipeline with the white balance and the actions of a decision for every picture.

        Raises:
            UsageError: the model cannot share its decision.
        """
        self.require_shared_decision()
        return self.with_settings(self.settings)._holding(decision)

    def _holding(self, decision: Decision) -> Self:
        other = self.with_settings()
        other._decision = decision
        return other

    def decide_for_group(self, sources: Iterable[Path],
                         open_photo: Callable[[Path], Photo] = read) -> tuple[Path, Decision]:
        """One decision for a burst or a time-lapse: the one for the picture of median exposure.

        The mean of all pictures would have a narrower histogram than any of them. A flash or a passing lamp does not
        move the median; of an even number it is the darker of the two.

        Args:
            sources: photographs; unreadable ones are left out.
            open_photo: reads a photograph.

        Returns:
            The picture of median exposure, and the decision.

        Raises:
            UsageError: none can be read; or the model cannot share its decision.
        """
        from rlenhance.pipelines.series import median_exposure

        self.require_shared_decision()
        median = median_exposure(sources, self.network.decision_size, open_photo)
        return median, self.decide(open_photo(median).visible_pixels)

    def preview(self, picture: np.ndarray, side: int) -> np.ndarray:
        """A small result, about `side` pixels long, of a picture (H, W, 3): what is decided on the whole of it, applied
        to every n-th pixel, so that it is as bright as the result. Nothing is denoised."""
        settled, step = self.for_picture(picture), max(1, max(picture.shape[:2]) // side)
        small = np.ascontiguousarray(picture[step // 2 :: step, step // 2 :: step])
        decision = settled.decide(picture if settled.shares_decision else small)
        return settled.render(small, replace(decision, noise=0.0))

    def process(self, photo: Photo, *, mask: Any = None, decision: Decision | None = None) -> PipelineResult:
        """See `ImagePipeline.process`; the decision is the mean brightness before and after, and the share of the noise
        that was removed where that is automatic; `words` says it in a line. `white` says what the white balance did, if
        it did, `shadows` where a picture holds too little to be made as bright as others, and `missed` where it has
        not got the exposure that was named.

        Args:
            photo, mask: see there.
            decision: of `decide`; None: it is decided.
        """
        settled = self.for_picture(photo.visible_pixels) if self.look is not None else self
        settled = settled if decision is None else settled._holding(decision)
        if settled is not self:
            return settled.process(photo, mask=mask)
        before, level = every_other(photo), mean_level(photo)  # the pixels of a spare photograph may be gone afterwards
        result, said = super().process(photo, mask=mask)
        levels = {"exposure_before": level, "exposure": mean_level(result)}
        words = describe_change(before, every_other(result), levels, said.get("denoise", 0))
        if self.settings.strength == 1 and self.settings.table is None and not self.settings.exposure_shift:
            named = self.settings.preference.get("exposure_level")
            chosen = mask is None and self._decision is None if named is not None else \
                "exposure_level" in self.auto_preferences
            said = {**said, **(exposure_notes(before, levels, named) if chosen else {})}
        return PipelineResult(result, {"words": words, **levels, **said})

    def _changed(self, photo: Photo, mask: Any) -> PipelineResult:
        if self.look is not None:
            return self.for_picture(photo.visible_pixels)._changed(photo, mask)
        return super()._changed(photo, mask)

    @property
    def _idle(self) -> bool:
        return self.settings.strength == 0 and not self.settings.denoise and (
            self._decision is None or self._decision.gains is None)

    def _apply(self, pixels: np.ndarray, weights: np.ndarray | None,
               photo: Photo) -> tuple[np.ndarray, Mapping[str, Any]]:
        settings = self.settings
        decision = self._decided(pixels) if settings.strength else replace(self._decision or Decision(),
                                                                           noise=settings.denoise)
        spare = photo.spare and pixels is photo.pixels and weights is None and pixels.flags.c_contiguous \
            and pixels.flags.writeable
        result, said = self._rendered(pixels, decision, pixels if spare else None)
        return result[:] if result is pixels and settings.strength else result, said

    def _decided(self, pixels: np.ndarray) -> Decision:
        decision, settings = self._decision, self.settings
        if decision is None:
            white, actions, plain = White() if is_grey(pixels) else White.of(pixels, settings.white), None, False
            if self.shares_decision:
                sample = sample_of(pixels)
                plain = has_lost_shadows(sample)
                small = resized_planes(pixels, self.network.decision_size)
                if white.named:
                    small = to_planes(white.before(to_pixels(small, np.float32)))
                actions = decide_exposed(self.network, small, white.before(sample), self._preference_for(small))
                white = white.rounded
            decision = Decision(white, actions, plain_shadows=plain)
        return replace(decision, noise=settings.denoise, table=settings.table)

    def _rendered(self, pixels: np.ndarray, decision: Decision,
                  out: np.ndarray | None) -> tuple[np.ndarray, dict[str, Any]]:
        """The result, and what was done unasked; `out` may be the pixels to overwrite."""
        noise, gains = decision.noise, decision.gains
        denoiser = self.denoiser if noise is None else self.denoiser.with_settings(strength=noise)
        if self.settings.strength == 0:
            return _levelled(denoiser(pixels), gains), {}
        white = White() if is_grey(pixels) else decision.white

        def curve(part: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            return _levelled(self._changed_by(part, decision, white, out), gains)

        known = None if decision.actions is None else curve
        plain = decision.plain_shadows and pixels.dtype == np.uint8
        gone = lost_share(pixels) if plain and noise != 0 else None
        visible = None
        if noise is None and known is not None:  # before the pixels may be written over
            visible = denoiser.visible_noise(pixels, known, gone)
        result = curve(pixels, None if noise else out)
        if noise is None and known is None:
            visible = denoiser.visible_noise(result, None)
        if noise:
            result = denoiser.denoise_enhanced(pixels, result, known, gone)
        elif visible is not None:
            result = denoiser.denoise_visible(result, visible, result if result.flags.c_contiguous else None)
        share = {"denoise": 0.0 if visible is None else round(visible.share, 3)} if noise is None else {}
        return result, {**share, **({"white": white.words} if white.words else {})}

    def _changed_by(self, pixels: np.ndarray, decision: Decision, white: White, out: np.ndarray | None) -> np.ndarray:
        """The change with the white balance and the strength, before noise is taken out."""
        strength, table = self.settings.strength, decision.table
        plain = decision.plain_shadows and pixels.dtype == np.uint8
        given = white.before(plain_shadows(pixels) if plain else pixels)
        share = strength if white.neutral and table is None and not plain else 1.0  # else both are blended at the end
        if table is not None and table.replaces_model:
            result = given
        elif decision.actions is not None:
            room = given if plain else \
                out if given is pixels and table is None and (white.neutral or strength == 1) else None
            result = np.asarray(self.network.render_array(given, decision.actions, share, room))
        else:
            planes = to_planes(given)
            made = np.asarray(self.network(planes, preference=self._preference_for(planes)) if self._acts
                              else self.network(planes))
            result = to_pixels(made if share == 1 else planes + share * (made - planes), given.dtype.type)
        if table is not None:
            result = table(result)
        result = white.after(result)
        if result.dtype == np.uint16 and pixels.dtype == np.uint8:
            result = cv2.convertScaleAbs(result, alpha=1 / 257)
        return blended(pixels, result, strength if share == 1 else 1.0)

    def _preference_for(self, planes: np.ndarray) -> Mapping[str, float | None] | None:
        """The preferences of the settings for (1, 3, H, W), with the exposure shifted."""
        chosen = self.settings.preference
        if not self.settings.exposure_shift:
            return chosen or None
        low, level, high = self.preference_ranges["exposure_level"]
        if (named := chosen.get("exposure_level")) is not None:
            level = named
        elif "exposure_level" in self.auto_preferences:
            level = self._automatic_exposure(planes)
        return {**chosen, "exposure_level": min(max(level + self.settings.exposure_shift, low), high)}

    def automatic_exposure(self, pixels: np.ndarray) -> float:
        """The mean brightness in [0, 1] that the model gives a picture (H, W, 3) where no exposure is named, before
        `exposure_shift`."""
        small = resized_planes(pixels, self.network.decision_size or _SIDE)
        return self._with_fallback(lambda: self._automatic_exposure(small))

    def _automatic_exposure(self, planes: np.ndarray) -> float:
        size = self.network.decision_size or _SIDE
        chosen = {**self.settings.preference, "exposure_level": None}
        return float(self.network(resize_planes(planes, size), preference=chosen).mean())

    def _move(self, device: str) -> None:
        self.half = False
        super()._move(device)
        self.denoiser._move(device)


def _levelled(picture: np.ndarray, gains: np.ndarray | None) -> np.ndarray:
    return picture if gains is None else apply_gains(picture, gains)
