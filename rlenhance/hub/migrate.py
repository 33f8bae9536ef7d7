"""Conversion of checkpoints of format 1, written by rlenhance 0.1, to format 2.

All renamed entries of config.json and names of weights are listed here. Numbers do not change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")

#: (kind, name in its registry) -> old constructor argument -> new one.
ARGUMENTS: dict[tuple[str, str], dict[str, str]] = {
    ("model", "pixel_policy"): {"state_size": "decision_size", "masked": "uses_mask", "start": "initial_strength",
                                "deviation": "std_mode", "told_start": "sees_initial_image"},
    ("model", "restorer"): {"planes": "channels", "passes": "num_passes", "margin": "range_margin",
                            "told_noise": "noise_conditioned"},
    ("model", "filter_policy"): {"planes": "channels", "told_noise": "noise_conditioned", "views": "num_tta_views"},
    ("model", "denoiser"): {"unseen": "noise_floor"},
    ("model", "patch_denoiser"): {"passes": "num_passes"},
    ("model", "pixelrl"): {"planes": "channels"},
    ("model", "gated_pixelrnn"): {"side": "train_size"},
    ("model", "convlstm_autoencoder"): {"side": "train_size", "told_mask": "sees_mask"},
    ("model", "prior"): {"side": "train_size", "mirrored": "flip_ensemble"},
    ("model", "completion_restorer"): {"side": "train_size"},
    ("model", "completion_policy"): {"side": "train_size", "keep": "keep_bias", "smooth": "smooth_weights"},
    ("model", "touch_up_policy"): {"side": "train_size", "most": "max_change", "deviation": "std_mode"},
    ("action set", "touch_up"): {"most": "max_change"},
    ("action set", "curve"): {"picture_agent": "global_agent", "lead": "lead_channel", "levels_per_head": "num_bins"},
}
#: Arguments of a model that are specs themselves -> their kind.
PARTS = {"backbone": "backbone", "actions": "action set", "prior": "model"}
#: Patterns in names of weights -> replacement, applied in order.
WEIGHTS = {
    r"\b(heads|values)\.picture\.": r"\1.global.",
    r"\blog_std_picture$": "log_std_global",
    r"\benter\.": "stem.",
    r"\bexit\.": "head.",
    r"\bgenerator\.leave\.": "generator.fuse.",
    r"\bdescending\.": "encoder.",
    r"\bascending\.": "decoder.",
    r"\bbackbone\.down\.(?=\d)": "backbone.encoder.",
    r"\bbackbone\.up\.(?=\d)": "backbone.decoder.",
    r"\breducing\.": "downsample.",
    r"\benlarging\.": "upsample.",
    r"\bglance\.": "linear_encoder.",
    r"\b(network|autoencoder)\.bend\.": r"\1.nonlinear_decoder.",
}

_PURPOSES = {"rellie": "enhance", "zero_dce": "enhance", "filter_policy": "denoise", "pixelrl": "denoise",
             "ffdnet": "denoise", "denoiser": "denoise", "patch_denoiser": "denoise"}
#: SHA-256 of weights shipped with version 0.1 -> the shipped model with the same numbers, for recipes.
SHIPPED_0_1 = {
    "38ac3f623306ad347feff32a582ea69c39cbb3117d0a5ff1a2ceccd89700fdf0": "completer",
    "2abe7e88400208c3712d23c74d03e4a1136c8635e697929be0d1d0e4f32595cd": "denoiser-photo",
    "c2198f86761947ce88ee165bd3b834ea846ac15a83898d035f84a592b408c43d": "filters-grey",
    "6ff9249ae0022432922de3a19f9ff0e2cfd030e1c4af5a5aef9e61e88ce57d54": "natural-direct",
    "c2c5664a174e77b615b40e6c7256c18d963091a96d725e31f5515288aa66ce57": "natural",
    "637b776e51c99e21734d61ffb1437fb16f7081a888e80f45dc225069a6c2b619": "reference-direct",
    "c3032620b9b7628851278a8bb9795c001ed9dc38ace55c989aa50f45db4957a7": "reference",
    "d6ab7938bddb40985d8aa1d0807c173b2e6eeccb59d1dfeface8b52db6309140": "relight",
    "07293406b6719e8f2fe872f1cb487054c9a76896fcdbb9e1a6c46c4276175af6": "supervised",
    "95964b608d256f567d64649ee819ac9308571a16fa09661fa1e10693088f8609": "upscale",
}


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of format 1 with the fields and names of format 2; `format` stays 1.

    Raises:
        KeyError, TypeError, AttributeError: not a config of format 1.
    """
    spec = upgrade_spec(config["model"])
    purpose = _purpose(spec)
    return {"format": 1, "purpose": purpose, "scale": spec.get("scale", 1), "channels": spec.get("channels", 3),
            "needs_mask": purpose == "completion" or bool(spec.get("uses_mask")), **_preferences(spec),
            "receptive_radius": None, "model": spec, "about": config.get("about") or {}}


def upgrade_spec(spec: Mapping[str, Any], kind: str = "model") -> dict[str, Any]:
    """A spec of format 1, and the specs inside it, in the names of format 2.

    Args:
        spec: `name` in its registry, and the arguments.
        kind: of the registry: "model", "backbone" or "action set".
    """
    renamed, result = ARGUMENTS.get((kind, spec["name"]), {}), {}
    for old, value in spec.items():
        name = renamed.get(old, old)
        result[name] = upgrade_spec(value, PARTS[name]) if isinstance(value, Mapping) and name in PARTS else value
    return result


def upgrade_weights(tensors: Mapping[str, T]) -> dict[str, T]:
    """Weights of format 1 under the names of format 2."""
    return {_upgrade_name(name): value for name, value in tensors.items()}


def upgrade_training(state: Any) -> Any:
    """A training state of format 1, nested mappings and lists, under the names of format 2."""
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
    if spec["name"] == "filter_policy" and spec.get("noise_conditioned", True) and spec.get("noise"):
        low, high = spec["noise"]
        if low < high and spec["backbone"].get("memory", "none") != "none":
            return {"preferences": {"noise": [low, (low + high) / 2, high]}, "auto_preferences": ["noise"]}
    return {"preferences": spec.get("preferences") or {}, "auto_preferences": list(spec.get("auto") or ())}
