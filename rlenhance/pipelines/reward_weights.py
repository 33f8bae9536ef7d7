"""Reward weights at use time: what they ask of a policy that was trained for preferences.

A term with a preference (contrast, color, highlights) had preference x weight in the training's reward. So a weight, as
a share of the training's, is the preference itself: 0 leaves the term out, 1 is all of it. `exposure` was trained with
the share 1, whatever the level; a weight w asks for a level that is w - 1 higher than the model would choose.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.preferences import check_weight, parse_weights
from rlenhance.core.torch_parts import torch_part
from rlenhance.pipelines.options import PREFERENCE_FLAGS, EnhanceSettings
from rlenhance.pipelines.preference_text import check_preferences

#: Reward term -> the preference that stands for its weight at use time. Other terms need the registry, and with it
#: torch, to be distinguished from words that name none.
PREFERENCES_OF_TERMS: Mapping[str, str] = {
    "exposure": "exposure_level", "contrast": "contrast", "color": "color", "revealed_noise": "exposure_level_auto",
    "contrast_preference": "contrast", "color_preference": "color", "highlights": "highlights"}


def parse_reward(words: Sequence[str]) -> dict[str, float]:
    """The named weights of `--reward name=weight ...`.

    Raises:
        UsageError: see `RewardWeights.parse`.

    Example:
        >>> parse_reward(["exposure=1.2", "color=0.5"])
        {'exposure': 1.2, 'color': 0.5}
    """
    weights = parse_weights(words, _current_name)
    return {name: check_weight(name, weight) for name, weight in weights.items()}


def _current_name(typed: str) -> str:
    """The name of a term; torch is imported for those that no preference stands for.

    Raises:
        UnknownName: there is no such term.
    """
    if typed in PREFERENCES_OF_TERMS:
        return typed
    try:
        current: str = torch_part("reward_term")(typed)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnknownName("reward term", typed, PREFERENCES_OF_TERMS) from error
    return current


def apply_reward(settings: EnhanceSettings, reward: Mapping[str, float],
                 ranges: Mapping[str, Sequence[float]], auto: Container[str] = ()) -> tuple[EnhanceSettings, list[str]]:
    """The settings with what weights ask for.

    Args:
        settings: explicit ones; a preference that they and a weight set is refused.
        reward: term -> weight, as a share of the training's.
        ranges, auto: the preferences of the model, see `check_preferences`.

    Returns:
        The settings, and a line for each weight: "exposure 1.2 -> --exposure-shift +0.20".

    Raises:
        UsageError: a weight that is not a number of at least 0, or outside the range of the preference; a term that the
            model takes no preference for. The message has the training that makes a model of these weights.

    Example:
        >>> ranges = {"exposure_level": (0.2, 0.475, 0.7), "color": (-1, 0, 1)}
        >>> found, lines = apply_reward(EnhanceSettings(), {"exposure": 1.2, "color": 0.5}, ranges, ["exposure_level"])
        >>> lines
        ['exposure 1.2 -> --exposure-shift +0.20', 'color 0.5 -> --color +0.50']
    """
    reward = {_current_name(term): check_weight(term, weight) for term, weight in reward.items()}
    chosen: dict[str, float | None] = dict(settings.preference)
    changes: dict[str, Any] = {}
    lines = []
    for term, weight in reward.items():
        name = PREFERENCES_OF_TERMS.get(term)
        if name is None or name not in ranges:
            raise UsageError(_not_conditioned(term, reward, ranges))
        if name == "exposure_level":
            changes["exposure_shift"] = round(weight - 1, 6)
            lines.append(f"{term} {weight:g} -> --exposure-shift {weight - 1:+.2f}")
            continue
        if name in chosen:
            raise UsageError(f"the preference {name} and the weight {term}={weight:g} ask for the same: leave out "
                             f"one of them")
        chosen[name] = weight
        lines.append(f"{term} {weight:g} -> {PREFERENCE_FLAGS[name]} {weight:+.2f}")
    check_preferences(chosen, ranges, auto)
    return replace(settings, preference=chosen, **changes), lines


def _not_conditioned(term: str, reward: Mapping[str, float], ranges: Mapping[str, Sequence[float]]) -> str:
    known = [name for name, preference in PREFERENCES_OF_TERMS.items() if preference in ranges]
    able = f"; at use time it takes {', '.join(f'{name}=W' for name in known)}" if known else ""
    words = " ".join(f"{name}={weight:g}" for name, weight in reward.items())
    return (f"the training of this model has settled its weights, and {term}={reward[term]:g} cannot be set{able}. "
            f"A policy of these weights is trained by python -m rlenhance.experiments.lol_train --reward {words}; "
            f"`rlenhance models` has those that take preferences")
