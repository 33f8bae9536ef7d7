"""Runs of version 0.2: what their settings and weights are now."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from rlenhance.experiments.core.config import RunConfig, from_json, hints_of, plain_type

#: Of the folder of a run; in config.json since version 0.2.
FORMAT = 2
#: Class of settings (or a class that it derives from) -> settings that runs of 0.2 may not hold, and what they were
#: made with.
BEFORE: dict[str, dict[str, Any]] = {
    "A3CConfig": {"dual_clip": 0.0, "target_kl": 0.0, "ema_decay": 0.0},
    "TrainConfig": {"patience": 0},
    "LowLightTrainConfig": {"preset": "", "reward": ()},
    "LowLightDataConfig": {"sample_set": "four", "train_on_references": False},
    "PolicyConfig": {"actions": "curve", "controls": False},
    "DenoiseTrainConfig": {"preset": ""},
    "RestoreNetworkConfig": {"paper_training": False},
    "RSENetworkConfig": {"own_share": None},
}


def load_config(kind: type[RunConfig], stored: Mapping[str, Any]) -> Any:
    """The configuration that a run's config.json holds, of this version or of 0.2."""
    arguments = stored["arguments"]
    if "denoising" in arguments.get("learners", {}):
        arguments = denoiser_settings(arguments)
    return from_json(kind, _with_older_defaults(kind, arguments))


def denoiser_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run of the task "denoiser" of version 0.2, as those of a denoiser of the task "restore"."""
    data, noise = dict(arguments["data"]), dict(arguments["learners"]["denoising"])
    folders, optimizer, average = data.pop("data"), noise.pop("optimizer", {}), noise.pop("ema_decay", None)
    renamed = {"crop": "size", "noise": "noise_levels"}
    pictures = {renamed.get(name, name): value for name, value in {**data, **noise}.items()}
    return {"train": {**arguments["train"], "learner": "supervised"},
            "data": {"data": folders[0] if folders else None, "more": folders[1:], **pictures},
            "network": {"model": "denoiser", **arguments["network"]},
            "learners": {"ema_decay": average, **optimizer}}


def migrate_state(state: Mapping[str, Any], network: nn.Module) -> Mapping[str, Any]:
    """The state of a learner as this version has it: of version 0.2 the trained weights of a denoiser are those of its
    inner network.

    Args:
        state: of a checkpoint.
        network: the one that is trained.
    """
    trained, names = state.get("trained", {}), set(network.state_dict())
    inner = {f"network.{name}": value for name, value in trained.items()}
    return {**state, "trained": inner} if trained and set(trained) != names == set(inner) else state


def _with_older_defaults(kind: Any, part: Any) -> Any:
    """The JSON of a class's fields, with those of `BEFORE` where they are missing."""
    if not dataclasses.is_dataclass(kind) or not isinstance(part, Mapping):
        return part
    mro: Any = getattr(kind, "__mro__", ())
    before = {name: value for base in reversed(mro) for name, value in BEFORE.get(base.__name__, {}).items()}
    hints = hints_of(kind)
    inner = {name: _with_older_defaults(plain_type(hints[name]), value) if name in hints else value
             for name, value in part.items()}
    return {**{name: value for name, value in before.items() if name in hints}, **inner}
