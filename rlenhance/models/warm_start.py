"""A policy that begins with what a supervised model has learned to see."""

from __future__ import annotations

import json

import torch

from rlenhance.errors import UsageError
from rlenhance.models.combined import Combined
from rlenhance.models.filling import Filling
from rlenhance.models.filter_policy import FilterPolicy
from rlenhance.models.policy import PixelPolicy
from rlenhance.models.restorer import Restorer

_OWN = ("channels", "context")  # of a backbone's recipe: they follow from who uses it


def warm_start(policy: PixelPolicy | FilterPolicy,
               restorer: Restorer | Combined | Filling) -> PixelPolicy | FilterPolicy:
    """Copy a supervised network's backbone into a policy, in place; heads stay neutral, but for a `FilterPolicy`'s
    estimate.

    A policy's backbone is told more of the whole picture (preferences, steps left) than a restorer's: those inputs
    begin without effect, the picture's statistics, which both are told, keep theirs. What a restorer that looks once
    has not trained of its backbone stays as it is in the policy.

    Raises:
        UsageError: the backbones differ, or one takes a mask and the other none.
    """
    # by way of JSON, as one of them has come from a file, where tuples are lists
    asked, given = (json.loads(json.dumps({key: value for key, value in network.backbone.spec.items()
                                           if key not in _OWN})) for network in (policy, restorer))
    if asked != given:
        raise UsageError(f"a warm start needs the same backbone: the policy has {asked}, the supervised run {given}")
    told_mask = isinstance(restorer, Filling)
    if policy.masked != told_mask:
        raise UsageError(f"a policy that takes a mask begins from a model that takes one, others from one that takes "
                         f"none; the policy takes {'one' if policy.masked else 'none'}")
    if isinstance(policy, FilterPolicy) and not isinstance(restorer, Restorer):
        raise UsageError(f"a policy over filters begins from a restorer; got a {type(restorer).__name__}")
    if isinstance(policy, FilterPolicy) and policy.planes != restorer.planes:
        raise UsageError(f"a warm start needs the same pictures: the policy takes {policy.planes} planes, the "
                         f"supervised run {restorer.planes}")
    target, source = policy.backbone.state_dict(), restorer.backbone.state_dict()
    for name, value in source.items():
        if getattr(restorer, "passes", 2) == 1 and name.partition(".")[0] in policy.backbone.later_parts:
            continue
        if target[name].shape == value.shape:
            target[name].copy_(value)
        else:  # FiLM: the statistics are the last inputs
            with torch.no_grad():
                target[name].zero_()
                target[name][:, -value.shape[1]:] = value
    policy.backbone.load_state_dict(target)
    if isinstance(restorer, Restorer) and isinstance(policy, FilterPolicy) and policy.residual is not None:
        policy.residual.load_state_dict(restorer.head.state_dict())
    return policy
