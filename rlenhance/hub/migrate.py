"""Checkpoints of format 1, as rlenhance 0.1 wrote them, in the words of format 2.

A name that is written in config.json or among the weights' names is changed here and nowhere else: one table for
config.json, one for the names of weights. Numbers do not change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")

#: Kind of recipe -> old name in its registry -> new name.
NAMES: dict[str, dict[str, str]] = {}
#: (kind, new name) -> old constructor argument -> new one.
ARGUMENTS: dict[tuple[str, str], dict[str, str]] = {
    ("model", "restorer"): {"planes": "channels"},
    ("model", "filter_policy"): {"planes": "channels"},
    ("model", "pixelrl"): {"planes": "channels"},
    ("model", "touch_up_policy"): {"most": "max_change"},
    ("action set", "touch_up"): {"most": "max_change"},
    ("action set", "curve"): {"picture_agent": "global_agent", "lead": "lead_channel", "levels_per_head": "num_bins"},
}
#: (kind, new name, new argument) -> old value -> new one.
VALUES: dict[tuple[str, str, str], dict[Any, Any]] = {}
#: Arguments of a model that are recipes themselves -> their kind.
PARTS = {"backbone": "backbone", "actions": "action set", "prior": "model"}
#: Patterns in names of weights -> what stands there now, applied in this order.
WEIGHTS = {
    r"\b(heads|values)\.picture\.": r"\1.global.",
    r"\blog_std_picture$": "log_std_global",
}

_PURPOSES = {"rellie": "enhance", "zero_dce": "enhance", "filter_policy": "denoise", "pixelrl": "denoise",
             "ffdnet": "denoise", "denoiser": "denoise", "patch_denoiser": "denoise"}


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of format 1 with the fields of format 2, and today's names in its recipe; `format` stays 1.

    Raises:
        KeyError, TypeError, AttributeError: what it holds is no config of format 1.
    """
    spec = upgrade_spec(config["model"])
    purpose = _purpose(spec)
    return {"format": 1, "purpose": purpose, "scale": spec.get("scale", 1),
            "channels": spec.get("channels", 3),
            "needs_mask": purpose == "completion" or bool(spec.get("masked")), **_preferences(spec),
            "receptive_radius": None, "model": spec, "about": config.get("about") or {}}


def upgrade_spec(spec: Mapping[str, Any], kind: str = "model") -> dict[str, Any]:
    """A recipe, with those inside it, in today's names.

    Args:
        spec: of format 1: `name` in its registry, and the arguments.
        kind: what the registry holds: "model", "backbone" or "action set".
    """
    name = NAMES.get(kind, {}).get(spec["name"], spec["name"])
    renamed, result = ARGUMENTS.get((kind, name), {}), {"name": name}
    for old, value in spec.items():
        argument = renamed.get(old, old)
        if old == "name":
            continue
        if isinstance(value, Mapping) and argument in PARTS:
            value = upgrade_spec(value, PARTS[argument])
        elif isinstance(value, str):
            value = VALUES.get((kind, name, argument), {}).get(value, value)
        result[argument] = value
    return result


def upgrade_weights(tensors: Mapping[str, T]) -> dict[str, T]:
    """Weights of format 1 under today's names."""
    return {_upgrade_name(name): value for name, value in tensors.items()}


def upgrade_training(state: Any) -> Any:
    """A training state of format 1, a nest of mappings and lists, under today's names of scopes and weights."""
    if isinstance(state, Mapping):
        return {"global" if key == "picture" else _upgrade_name(key) if isinstance(key, str) else key:
                upgrade_training(value) for key, value in state.items()}
    return [upgrade_training(value) for value in state] if isinstance(state, list) else state


def _upgrade_name(name: str) -> str:
    for pattern, new in WEIGHTS.items():
        name = re.sub(pattern, new, name)
    return name


def _purpose(spec: Mapping[str, Any]) -> str:
    name = spec["name"]
    if name == "pixel_policy":
        return "denoise" if spec["actions"]["name"] == "latent" else "enhance"
    if name == "restorer":
        return "enhance" if spec.get("statistics", True) else "denoise"
    if name == "combined":
        return "upscale" if spec["scale"] != 1 else "enhance" if spec["exposure"] else "denoise"
    return _PURPOSES.get(name, "completion")


def _preferences(spec: Mapping[str, Any]) -> dict[str, Any]:
    if spec["name"] == "filter_policy" and spec.get("told_noise", True) and spec.get("noise"):
        low, high = spec["noise"]
        if low < high and spec["backbone"].get("memory", "none") != "none":
            return {"preferences": {"noise": [low, (low + high) / 2, high]}, "auto_preferences": ["noise"]}
    return {"preferences": spec.get("preferences") or {}, "auto_preferences": list(spec.get("auto") or ())}
