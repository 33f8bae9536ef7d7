"""Runs and command lines of version 0.1: what their settings are called now."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.config import RunConfig, from_json, hints_of, is_flat, plain_type

#: Of the folder of a run; in config.json since version 0.2.
FORMAT = 2

#: Class of settings (or a class that it derives from), as it is called now: old name -> new name. Runs of version 0.1
#: resume with it, and the old command-line options work until version 0.3.
RENAMED: dict[str, dict[str, str]] = {
    "TrainConfig": {"evaluate_every": "eval_interval", "select": "monitor"},
    "LowLightDataConfig": {"well_exposed": "train_on_references", "relit": "relight", "light": "extra_references",
                              "judge_relit_alone": "reward_relit_only"},
    "LowLightCompareConfig": {"evaluate_every": "eval_interval"},
    "EvaluateConfig": {"obey": "controllability", "adapt": "adaptivity"},
    "LowLightReportConfig": {"judged": "learner"},
    "CompareConfig": {"against": "baseline"},
    "DenoiseCompareConfig": {"also_eight_bit": "also_quantized", "rules": "baselines", "shares": "filter_usage",
                             "views": "tta_views"},
    "CompletionCompareConfig": {"rules": "baselines"},
    "PolicyConfig": {"knobs": "controls", "picture_agent": "global_agent"},
    "DenoiseNetworkConfig": {"told_noise": "noise_conditioned", "views": "tta_views"},
    "RestoreDataConfig": {
        "crop": "size", "coded": "camera_jpeg", "denoising.noise": "noise_levels",
        "denoising.uneven": "signal_dependent_prob", "denoising.signal_dependent_prob": "signal_dependent_prob",
        "denoising.coded": "quantized_prob", "denoising.quantized_prob": "quantized_prob",
        "denoising.correlated": "correlated_prob", "denoising.correlated_prob": "correlated_prob"},
    "RestoreLearnerConfigs": {
        "denoising.average": "ema_decay", "denoising.ema_decay": "ema_decay",
        "denoising.optimiser.learning_rate": "learning_rate", "denoising.optimizer.learning_rate": "learning_rate",
        "denoising.optimiser.warmup": "warmup_steps", "denoising.optimizer.warmup_steps": "warmup_steps",
        "denoising.optimiser.final": "final_lr_ratio", "denoising.optimizer.final_lr_ratio": "final_lr_ratio",
        "denoising.optimiser.gradient_norm": "max_grad_norm", "denoising.optimizer.max_grad_norm": "max_grad_norm",
        "denoising.optimizer.orthogonal": "orthogonal"},
    "CompletionTrainConfig": {"validate_on": "val_images"},
    "CompletionNetworkConfig": {"keep": "keep_bias", "smooth": "smooth_weights"},
    "RestoreTrainConfig": {"validate_on": "val_images", "keep_every": "checkpoint_epochs"},
    "RestoreNetworkConfig": {"published": "paper_config"},
    "RSETrainConfig": {"rl_evaluate_every": "rl_eval_interval", "bank_from": "codebook_images",
                       "validate_on": "val_images", "validate_side": "val_size", "test_on": "test_images",
                       "test_side": "test_size", "beside": "compare_with"},
    "RSEDataConfig": {"visits": "crops_per_image"},
    "RSENetworkConfig": {"codes": "codebook_size", "groups": "clusters", "parts": "code_splits"},
    "OptimizerConfig": {"warmup": "warmup_steps", "final": "final_lr_ratio", "gradient_norm": "max_grad_norm"},
    "A3CConfig": {"value_weight": "value_coef", "clip": "clip_range", "epochs": "update_epochs", "advantage_clip":
                  "max_advantage", "advantage_floor": "min_advantage_std", "log_std_picture": "log_std_global",
                  "answerable": "credit_neighbors", "value_first": "value_warmup_updates", "kl_to_start":
                  "kl_ref_coef", "preference_share": "preference_sampling_prob", "optimiser": "optimizer"},
    "SACConfig": {"capacity": "buffer_size", "episodes": "batch_size", "critic_first": "critic_warmup_updates",
                  "trace": "td_lambda", "temperature": "init_alpha", "temperature_rate": "alpha_lr", "correlation":
                  "noise_block_size", "trust_region": "max_kl", "critic_optimiser": "critic_optimizer",
                  "preference_share": "preference_sampling_prob", "optimiser": "optimizer"},
    "DirectConfig": {"preference_share": "preference_sampling_prob", "optimiser": "optimizer"},
    "SupervisedConfig": {"average": "ema_decay", "optimiser": "optimizer"},
    "AutoencoderConfig": {"code": "code_weight", "divergence": "kl_weight", "contrast": "contrastive_weight",
                          "recursion": "self_training_prob", "depth": "max_generation", "kept": "buffer_size",
                          "average": "ema_decay", "optimiser": "optimizer"},
}
#: Class of settings -> settings that runs of 0.1 and 0.2 may not hold, and what they were made with.
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
#: Parts of a configuration in version 0.1, whose names do not count.
_PARTS = ("pictures", "paths", "budget", "network", "policy", "learners", "comparison", "configs")


def renamed_in(kind: type) -> dict[str, str]:
    """Old name -> new name of the settings of a class."""
    return {old: new for base in reversed(kind.__mro__) for old, new in RENAMED.get(base.__name__, {}).items()}


def names_of(kind: type, name: str) -> list[str]:
    """The names that a setting of a class had, the present one last."""
    return [*(old for old, new in renamed_in(kind).items() if new == name), name]


def migrate(kind: type[RunConfig], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The `arguments` of a run of version 0.1 as this version has them.

    Options never share a name on the command line, so that it is enough to know each one's name.
    """
    flat: dict[str, Any] = {}
    for name, value in stored.items():
        flat |= _without_parts(value) if name in _PARTS and isinstance(value, Mapping) else {name: value}
    flat.pop("resume", None)
    made = {name: _taken(plain_type(hint), flat) for name, hint in hints_of(kind).items()}
    if flat:
        raise UsageError(f"config.json names {', '.join(sorted(flat)):.200}, which this version does not know: resume "
                         f"with the version that began the run")
    return made


def _without_parts(part: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a part, and of the parts in it."""
    flat: dict[str, Any] = {}
    for name, value in part.items():
        flat |= _without_parts(value) if name in _PARTS and isinstance(value, Mapping) else {name: value}
    return flat


def _taken(kind: Any, flat: dict[str, Any]) -> dict[str, Any]:
    """The settings of a class, removed from `flat`."""
    made: dict[str, Any] = {}
    for name, hint in hints_of(kind).items():
        old = next((called for called in names_of(kind, name) if called in flat), None)
        if old is None:
            continue
        value, inner = flat.pop(old), plain_type(hint)
        if dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
            rest = dict(value)
            made[name] = {**_taken(inner, rest), **rest}
        else:
            made[name] = None if _admits_none(inner) and value in (0, "") else value  # 0 stood for "the task's own"
    return made


def _admits_none(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType) and type(None) in typing.get_args(kind)


def load_config(kind: type[RunConfig], stored: Mapping[str, Any]) -> Any:
    """The configuration that a run's config.json holds, of this version or of an older one."""
    arguments = stored["arguments"]
    if isinstance({**arguments, **arguments.get("learners", {})}.get("denoising"), Mapping):
        current = migrate(kind, denoiser_settings(arguments))
    else:
        current = arguments if stored.get("format") == FORMAT else migrate(kind, arguments)
    return from_json(kind, _with_older_defaults(kind, current))


def denoiser_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run of the task "denoiser" of versions 0.1 and 0.2, as those of a denoiser of the task
    "restore" by their names."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        flat |= value if isinstance(value, Mapping) and name != "denoising" else {name: value}
    folders = flat.pop("data")
    flat |= {"data": folders[0] if folders else None, "more": folders[1:], "model": "denoiser", "learner": "supervised"}
    noise = flat.pop("denoising")
    optimizers = {part: noise[part] for part in ("optimiser", "optimizer") if part in noise}
    flat |= {f"denoising.{name}": value for name, value in noise.items() if name not in optimizers}
    return flat | {f"denoising.{part}.{name}": value for part, settings in optimizers.items()
                   for name, value in settings.items()}


def migrate_state(state: Mapping[str, Any], network: nn.Module) -> Mapping[str, Any]:
    """The state of a learner as this version has it: of versions 0.1 and 0.2 the trained weights of a denoiser are
    those of its inner network.

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


def old_flags(kind: Any, old: str = "", new: str = "") -> Iterator[tuple[str, str]]:
    """Old and new command-line options of a configuration, without their hyphens.

    Args:
        kind: its class.
        old, new: how the options of this part begin.
    """
    for name, hint in hints_of(kind).items():
        for called in names_of(kind, name):
            inner, flags = plain_type(hint), (f"{old}{_flag(called)}", f"{new}{_flag(name)}")
            if dataclasses.is_dataclass(inner):
                yield from old_flags(inner, old, new) if is_flat(hint) else old_flags(inner, *(f"{f}." for f in flags))
            elif flags[0] != flags[1]:
                yield flags
                if inner is bool:
                    yield f"{old}no-{_flag(called)}", f"{new}no-{_flag(name)}"


def _flag(name: str) -> str:
    return name.replace("_", "-")
