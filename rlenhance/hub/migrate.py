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
#: (kind, new name, new argument) -> old value -> new one.
VALUES: dict[tuple[str, str, str], dict[Any, Any]] = {}
#: Arguments of a model that are recipes themselves -> their kind.
PARTS = {"backbone": "backbone", "actions": "action set", "prior": "model"}
#: Patterns in names of weights -> what stands there now, applied in this order.
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
#: SHA-256 of the shipped weights as version 0.1 stored them -> the model that holds the same numbers, for recipes.
SHIPPED_0_1 = {
    "38ac3f623306ad347feff32a582ea69c39cbb3117d0a5ff1a2ceccd89700fdf0": "completer",
    "997ac9974de439f45076a0bda6d302476251817f1aa3e51f4ab70203a5f1567b": "denoiser-grey",
    "2abe7e88400208c3712d23c74d03e4a1136c8635e697929be0d1d0e4f32595cd": "denoiser-photo",
    "a0e596a7adc140292298e1352ad880add2385474b6414907232770d4e2d433ee": "denoiser",
    "c2198f86761947ce88ee165bd3b834ea846ac15a83898d035f84a592b408c43d": "filters-grey",
    "6ff9249ae0022432922de3a19f9ff0e2cfd030e1c4af5a5aef9e61e88ce57d54": "natural-direct",
    "c2c5664a174e77b615b40e6c7256c18d963091a96d725e31f5515288aa66ce57": "natural",
    "637b776e51c99e21734d61ffb1437fb16f7081a888e80f45dc225069a6c2b619": "reference-direct",
    "c3032620b9b7628851278a8bb9795c001ed9dc38ace55c989aa50f45db4957a7": "reference",
    "d6ab7938bddb40985d8aa1d0807c173b2e6eeccb59d1dfeface8b52db6309140": "relight",
    "4519bdbda57d53fb18171d70ffb48c6b5264dccaf7b93de305dcef448795caab": "rse-faces",
    "07293406b6719e8f2fe872f1cb487054c9a76896fcdbb9e1a6c46c4276175af6": "supervised",
    "95964b608d256f567d64649ee819ac9308571a16fa09661fa1e10693088f8609": "upscale",
}


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of format 1 with the fields of format 2, and today's names in its recipe; `format` stays 1.

    Raises:
        KeyError, TypeError, AttributeError: what it holds is no config of format 1.
    """
    spec = upgrade_spec(config["model"])
    purpose = _purpose(spec)
    return {"format": 1, "purpose": purpose, "scale": spec.get("scale", 1),
            "channels": spec.get("channels", 3),
            "needs_mask": purpose == "completion" or bool(spec.get("uses_mask")), **_preferences(spec),
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
    if spec["name"] == "filter_policy" and spec.get("noise_conditioned", True) and spec.get("noise"):
        low, high = spec["noise"]
        if low < high and spec["backbone"].get("memory", "none") != "none":
            return {"preferences": {"noise": [low, (low + high) / 2, high]}, "auto_preferences": ["noise"]}
    return {"preferences": spec.get("preferences") or {}, "auto_preferences": list(spec.get("auto") or ())}
