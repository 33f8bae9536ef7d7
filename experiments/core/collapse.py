"""Signs that training goes wrong: a policy that has become a constant, saturated agents, steps that are too large, a
loss that jumps."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rlenhance.agents.base import make_env
from rlenhance.agents.rollout import Rollout, collect_rollout
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import Policy
from rlenhance.learning.ops.image import resize
from rlenhance.learning.rewards import Reward, RewardWeights

#: Above this PSNR between a policy's outputs and the best single tone curve through them, it is taken for a constant.
COLLAPSE_DB = 45.0
#: Share of agents of a scope that may be saturated.
SATURATION = 0.25
#: KL of an update, in nat per agent: several times what `A3CConfig.target_kl` allows.
LARGE_KL = 0.1
#: A loss this many times the usual one has jumped.
JUMP = 100.0
_SATURATED = 3.0  # before the squashing: the slope of tanh is below 0.01 there
_WINDOW, _FEW = 50, 10  # updates over which the usual loss is the median; updates with a large KL before it is an alarm


def fit_single_curve(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs under the one tone curve per channel that brings them nearest to the outputs, over all pictures.

    The curve is free: 256 values per channel, each the mean of the outputs at that input level. It is nearer than any
    curve of a family.

    Args:
        inputs, outputs: pictures (1, 3, H, W), of any sizes.
    """
    index = [(image * 255).round().long().clamp(0, 255) for image in inputs]
    total, count = torch.zeros(3, 256), torch.zeros(3, 256)
    for level, output in zip(index, outputs, strict=True):
        for channel in range(3):
            flat = level[:, channel].flatten()
            total[channel].scatter_add_(0, flat, output[:, channel].flatten())
            count[channel].scatter_add_(0, flat, torch.ones_like(flat, dtype=torch.float32))
    curve = total / count.clamp(min=1)
    return [torch.stack([curve[channel][level[:, channel]] for channel in range(3)], dim=1) for level in index]


def distance_to_single_curve(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> float:
    """Mean PSNR in dB between outputs and `fit_single_curve`: high for a constant, low for what adapts to pictures."""
    fitted = fit_single_curve(inputs, outputs)
    distances = [psnr(*pair).item() for pair in zip(fitted, outputs, strict=True)]
    return sum(distances) / len(distances)


def action_counts(policy: Policy, rollouts: Sequence[Rollout]) -> Tensor:
    """How often each action was taken, over all agents, steps and pictures: (heads, choices).

    Continuous agents are counted in 27 levels of A, the heads being the channels of A.
    """
    actions = policy.actions
    if actions.num_choices is None:
        low, high = getattr(actions, "low", -1.0), getattr(actions, "high", 1.0)
        heads = [s.transpose(0, 1).flatten(1) for rollout in rollouts for s in rollout.action_magnitudes]
        return torch.stack([torch.histc(head.float().cpu(), 27, low, high) for head in torch.cat(heads, dim=1)])
    counts = []
    for level in actions.scopes:
        taken = [a[level].transpose(0, 1).flatten(1) for rollout in rollouts for a in rollout.actions]
        counts += [torch.bincount(head.cpu(), minlength=actions.num_choices) for head in torch.cat(taken, dim=1)]
    return torch.stack(counts).float()


def collapse_metrics(policy: Policy, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Signs that a policy has become a constant, over several greedy episodes.

    Args:
        rollouts: of one picture each, or of several of one size.

    Returns:
        `constant_psnr`, see `distance_to_single_curve`; `top_choice_share`, the share of agents that take the
        commonest action, in the head where it is smallest (a policy is a constant when every head is);
        `num_choices`, actions that at least 1 % of the agents take, in the head that has most; `spatial_std` and
        `image_std`, deviation of A over the agents of a picture, and of a picture's mean A over the pictures. Of
        continuous agents also `saturation/SCOPE`, see `saturation`.
    """
    counts = action_counts(policy, rollouts)
    share = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    steps = list(zip(*([s.cpu() for s in rollout.action_magnitudes] for rollout in rollouts), strict=True))
    cells = [torch.cat([s.std(dim=(-2, -1), correction=0).flatten() for s in step]).mean().item() for step in steps]
    means = [torch.cat([s.mean(dim=(1, 2, 3)) for s in step]).std(correction=0).item() for step in steps]
    begun = [picture for rollout in rollouts for picture in rollout.observations[0]["image"].cpu().split(1)]
    ended = [picture for rollout in rollouts for picture in rollout.final_image.cpu().split(1)]
    return {
        "constant_psnr": distance_to_single_curve(begun, ended),
        "top_choice_share": share.max(dim=1).values.min().item(),
        "num_choices": float((share >= 0.01).sum(dim=1).max()),
        "spatial_std": sum(cells) / len(cells),
        "image_std": sum(means) / len(means),
        **{f"saturation/{scope}": share for scope, share in saturation(policy, rollouts).items()},
    }


def saturation(policy: Policy, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """The share of a scope's agents with a number beyond 3 before the squashing, in several greedy episodes.

    There tanh is flat: such an agent hardly acts otherwise when it is moved, and hardly learns.
    """
    if policy.actions.num_choices is not None:
        return {}
    edge = math.tanh(_SATURATED)
    shares = {scope: torch.cat([(action[scope].abs() > edge).any(dim=1).float().flatten() for rollout in rollouts
                                for action in rollout.actions]) for scope in policy.actions.scopes}
    return {scope: share.mean().item() for scope, share in shares.items()}


def policy_collapse_metrics(policy: Policy, pictures: Sequence[Batch]) -> dict[str, float]:
    """`collapse_metrics` as `collapse/...`, on episodes of the size on which the policy decides.

    Also `collapse/top_choice_share/headK`, the share of agents that take the commonest action of head K, and
    `collapse/entropy/SCOPE` in nat per agent, the sum over its heads.
    """
    device = next(policy.parameters()).device
    env = make_env(policy, Reward(RewardWeights()), device)
    rollouts, entropies = [], dict[str, list[float]]()
    with torch.no_grad():
        for batch in pictures:
            state = Batch(resize(batch.image, policy.decision_size) if policy.decision_size else batch.image).to(device)
            rollouts.append(collect_rollout(policy, env, state, policy.preferences.encode(None, 1, device), None))
            memory = None
            for observation in rollouts[-1].observations:
                distribution, _, memory = policy(observation, memory)
                for level, entropy in distribution.entropy().items():
                    entropies.setdefault(level, []).append(entropy.mean().item())
    counts = action_counts(policy, rollouts)
    heads = (counts.max(dim=1).values / counts.sum(dim=1)).tolist()
    return {
        **{f"collapse/{name}": value for name, value in collapse_metrics(policy, rollouts).items()},
        **{f"collapse/top_choice_share/head{index}": share for index, share in enumerate(heads)},
        **{f"collapse/entropy/{level}": sum(values) / len(values) for level, values in entropies.items()},
    }


def share_metrics(shares: Tensor) -> dict[str, float]:
    """`collapse/...` of the shares (K,) with which a policy takes its K choices."""
    return {"collapse/top_choice_share": shares.max().item(), "collapse/num_choices": float((shares >= 0.01).sum())}


def collapse_warning(scores: Mapping[str, float]) -> str | None:
    """A line for the user when the policy looks like a constant: what it is seen by, and what to do."""
    distance, dominant = scores.get("collapse/constant_psnr", 0.0), scores.get("collapse/top_choice_share", 0.0)
    signs = []
    if distance > COLLAPSE_DB:
        signs.append(f"one tone curve reproduces its outputs at {distance:.1f} dB (alarm above {COLLAPSE_DB:.0f})")
    if dominant > 0.99:
        signs.append(f"{dominant:.1%} of the agents take one action (alarm above 99 %)")
    if not signs:
        return None
    return (f"the policy looks like a constant: {', '.join(signs)}; let it explore more (docs/reference/training.md), "
            f"or weigh the reward differently")


def saturation_warnings(scores: Mapping[str, float]) -> dict[str, str]:
    """A line for each scope in which too many agents are saturated: name of the score -> text."""
    return {name: f"{share:.0%} of the {name.rpartition('/')[2]} agents choose numbers beyond {_SATURATED:g} before "
                  f"the squashing (alarm above {SATURATION:.0%}), where tanh is flat and they hardly learn: lower the "
                  f"learner's optimizer.learning-rate, or raise the weight of effort"
            for name, share in scores.items() if name.startswith("collapse/saturation/") and share > SATURATION}


class TrainingWatch:
    """Warnings about a run in words: each cause is reported once."""

    def __init__(self) -> None:
        self._told = set[str]()
        self._losses = deque[float](maxlen=_WINDOW)
        self._divergences: dict[str, deque[float]] = {}

    def after_update(self, numbers: Mapping[str, float]) -> list[str]:
        """New warnings, by the numbers of an update: a loss that jumps, a KL that stays large."""
        causes = {}
        loss = abs(numbers.get("loss", math.nan))
        if len(self._losses) >= _FEW and loss > JUMP * statistics.median(self._losses) > 0:
            causes["loss"] = (f"the loss jumped to {loss:.3g}, {loss / statistics.median(self._losses):.0f} times the "
                              f"median of the last {len(self._losses)} updates: lower the learner's "
                              f"optimizer.learning-rate; best/ holds the best network so far")
        if not math.isnan(loss):
            self._losses.append(loss)
        for name, value in numbers.items():
            if name.startswith("policy/approx_kl/"):
                seen = self._divergences.setdefault(name, deque(maxlen=_FEW))
                seen.append(value)
                if len(seen) == _FEW and statistics.median(seen) > LARGE_KL:
                    causes[name] = (f"updates move the {name.rpartition('/')[2]} agents by a KL of "
                                    f"{statistics.median(seen):.2g} nat (median of {_FEW} updates, alarm above "
                                    f"{LARGE_KL:g}), and most of what they learn is clipped: lower the learner's "
                                    f"optimizer.learning-rate, or give a3c a target_kl (0.015)")
        return self._new(causes)

    def after_validation(self, scores: Mapping[str, float]) -> list[str]:
        """New warnings, by the scores of a validation: a policy that is a constant, saturated agents."""
        constant = collapse_warning(scores)
        return self._new({**({"constant": constant} if constant else {}), **saturation_warnings(scores)})

    def _new(self, causes: Mapping[str, str]) -> list[str]:
        new = [text for cause, text in causes.items() if cause not in self._told]
        self._told |= set(causes)
        return new
