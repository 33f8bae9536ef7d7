"""The names of logged numbers, of this version and of 0.1: runs of both are read, and runs of 0.1 go on."""

from __future__ import annotations

import re

_SCOPES = {"picture": "global"}
#: Name in version 0.1 -> name now; of names that end with a scope of agents, what stands before it.
_SCOPED = {
    "policy": "loss/policy", "value": "loss/value", "critic": "loss/critic", "q": "critic/q_target",
    "entropy": "policy/entropy", "entropy_bonus": "loss/entropy", "entropy_coefficient": "policy/entropy_coef",
    "kl": "policy/approx_kl", "clipped": "policy/clip_fraction", "explained_variance": "value/explained_variance",
    "deviation": "advantage/std", "watch/entropy": "collapse/entropy",
}
_WHOLE = {
    "return": "rollout/return", "strength/spread": "action/spatial_std", "gradient_norm": "optim/grad_norm",
    "critic_gradient_norm": "optim/critic_grad_norm", "learning_rate": "optim/lr", "skipped": "optim/skipped",
    "staleness": "async/staleness", "density": "policy/log_prob", "temperature": "sac/alpha", "trust_kl": "sac/kl",
    "trust_price": "sac/kl_multiplier", "trust_region": "loss/kl", "value_first": "loss/value_warmup",
    "kl_to_start": "loss/kl_ref", "psnr": "train/psnr", "l1_mean": "train/l1", "ssim_mean": "train/ssim",
    "psnr_loss": "loss/psnr", "coded": "loss/camera", "divergence": "loss/kl", "contrast": "loss/contrastive",
    "val/gain": "val/psnr_gain", "val/psnr-coded": "val/psnr/camera", "watch/constant_psnr": "collapse/constant_psnr",
    "watch/dominant": "collapse/top_choice_share", "tools/largest_share": "collapse/top_choice_share",
    "watch/distinct": "collapse/num_choices", "tools/in_use": "collapse/num_choices",
    "watch/spread_cells": "collapse/spatial_std", "watch/spread_pictures": "collapse/image_std",
}
_PATTERNS = (
    (r"(val/)?term/asked_(contrast|color)", r"\1reward/\2_preference"),
    (r"(val/)?term/(.+)", r"\1reward/\2"), (r"strength/step(\d+)", r"action/magnitude/step\1"),
    (r"val/psnr-(15|25|50)", r"val/psnr/sigma\1"), (r"val/psnr-(\d+)", r"val/psnr/pass\1"),
    (r"watch/(head\d+)", r"collapse/top_choice_share/\1"), (r"gate/own(\d+)", r"action/gate_self/step\1"),
    (r"gate/new(\d+)", r"action/gate_view/step\1"),
    (r"(l1|mse|ssim|squared|code|smoothness|effort|steadiness)", r"loss/\1"),
)


def current_name(name: str) -> str:
    """What a logged number is called now: names of version 0.1 become those of this one, others stay.

    Example:
        >>> current_name("entropy/picture"), current_name("val/psnr")
        ('policy/entropy/global', 'val/psnr')
    """
    start, _, scope = name.rpartition("/")
    if start in _SCOPED and scope in ("picture", "local"):
        return f"{_SCOPED[start]}/{_SCOPES.get(scope, scope)}"
    for pattern, new in _PATTERNS:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, new, name)
    return _WHOLE.get(name, name)
