"""Build an Enhancer from preferences, a reference or a look.

A preference has precedence over the reference, the reference over a preset, and the preset over the model's default.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.core.errors import UsageError
from rlenhance.io import Photo, read
from rlenhance.pipelines.options import EnhanceSettings, from_json
from rlenhance.pipelines.preference_text import describe_preferences, format_preferences

if TYPE_CHECKING:
    from rlenhance.pipelines.enhance import Enhancer
    from rlenhance.pipelines.looks import Look


def build_enhancer(model: Path | str, given: Mapping[str, Any], *, denoiser: str | None = None,
                   reward: Mapping[str, float] | None = None, look: Look | None = None, reference: Path | None = None,
                   open_photo: Callable[[Path], Photo] = read, device: str = "cpu",
                   on_note: Callable[[str], None] = print,
                   on_measured: Callable[[Mapping[str, float | None]], None] | None = None,
                   on_weighed: Callable[[str], None] = print) -> Enhancer:
    """The Enhancer of a command.

    Args:
        model: name, run folder or checkpoint.
        given: explicit settings, as JSON holds them; they have precedence.
        denoiser: see `Enhancer`.
        reward: weights of terms, see `rlenhance.pipelines.reward_weights`; they have precedence over the preset's.
        look: one with a model chooses the settings for each picture, in the place of weights and a reference; the
            preferences, weights and strength of a preset apply where nothing else sets them.
        reference: a picture whose look is matched: preferences are measured in it.
        device: see `Enhancer`.
        open_photo: reads the reference.
        on_note: called for each measured preference that is clamped to the model's range.
        on_measured: called with the preferences measured in the reference.
        on_weighed: called with a line for each weight: what it asks for.

    Raises:
        UsageError: see `Enhancer`.
    """
    from rlenhance.pipelines.enhance import Enhancer

    settings = from_json(EnhanceSettings, given)
    named: dict[str, Any] = {name: getattr(settings, name) for name in given}
    if look is not None and look.model:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            enhancer = Enhancer(model, look=look, denoiser=denoiser, device=device, **named)
        for warning in heard:
            on_note(str(warning.message))
        return enhancer
    enhancer = Enhancer(model, denoiser=denoiser, device=device)
    if denoiser is not None and named.setdefault("denoise", 1.0) == 0:
        raise UsageError(f"denoise 0 takes nothing out: leave out the denoiser {denoiser}, or set denoise above 0")
    weights = {**(look.reward if look else {}), **(reward or {})}
    if weights:
        from rlenhance.pipelines.reward_weights import apply_reward

        settings, lines = apply_reward(settings, weights, enhancer.preference_ranges, enhancer.auto_preferences)
        for line in lines:
            on_weighed(line)
        named |= {"preference": settings.preference, "exposure_shift": settings.exposure_shift} \
            if "exposure" in weights else {"preference": settings.preference}
    chosen = dict(settings.preference)
    if reference is not None:
        measured = _from_reference(reference, chosen, enhancer, on_note, open_photo)
        if measured and on_measured:
            on_measured(measured)
        chosen = named["preference"] = {**measured, **chosen}
    if look is None:
        return enhancer.with_settings(**named)
    if "exposure_level" in chosen:
        named.setdefault("exposure_shift", 0.0)
    _check_preset(look, named, enhancer)
    return enhancer.with_settings(look.changed(named).settings)


def _check_preset(preset: Look, named: Mapping[str, Any], enhancer: Enhancer) -> None:
    """Refuse the settings of a preset, but those that are named, that a model does not take; where it takes some, the
    message has those."""
    settings = preset.settings
    wanted = {name: value for name, value in settings.preference.items() if name not in named.get("preference", ())}
    shift = 0.0 if "exposure_shift" in named else settings.exposure_shift
    takes_shift = "exposure_level" in enhancer.preference_ranges
    try:
        enhancer.check_preference({**({"exposure_level": shift} if shift and not takes_shift else {}), **wanted})
    except UsageError as error:
        taken = {name: value for name, value in wanted.items() if _takes(enhancer, {name: value})}
        rest = format_preferences(taken, settings.strength, shift if takes_shift else 0.0)
        raise UsageError(f"preset {preset.name}: {error}{rest and f'; what it does take of it: {rest}'}") from error


def _takes(enhancer: Enhancer, preference: Mapping[str, float | None]) -> bool:
    try:
        enhancer.check_preference(preference)
    except UsageError:
        return False
    return True


def _from_reference(path: Path, chosen: Mapping[str, float | None], enhancer: Enhancer,
                    on_note: Callable[[str], None], open_photo: Callable[[Path], Photo]) -> dict[str, float | None]:
    """The preferences measured in a picture but for `chosen`."""
    from rlenhance.ops.style import clamp_to_ranges, measure

    measured, ranges = measure(open_photo(path).visible_pixels), enhancer.preference_ranges
    values, moved = clamp_to_ranges({name: value for name, value in measured.items() if name not in chosen}, ranges)
    if not set(measured) & set(ranges):
        raise UsageError(f"{path}: {', '.join(measured)} is measured in a reference, and this model takes "
                         f"{describe_preferences(ranges, enhancer.auto_preferences)}")
    for sentence in moved:
        on_note(f"{path}: {sentence}")
    return dict(values)
