"""Signs that a policy has become a constant: one action everywhere, one curve for every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from agents.base import make_env
from agents.rollout import Rollout, collect_rollout
from rlenhance.core.image import resize
from rlenhance.data import Batch
from rlenhance.metrics.full_reference import psnr
from rlenhance.models import Policy
from rlenhance.rewards import Reward, RewardWeights

#: Above this PSNR between a policy's outputs and the best single tone curve through them, it is taken for a constant.
COLLAPSE_DB = 45.0


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
        `image_std`, deviation of A over the agents of a picture, and of a picture's mean A over the pictures.
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
    }


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
    """A line for the user when the policy looks like a constant."""
    distance, dominant = scores.get("collapse/constant_psnr", 0.0), scores.get("collapse/top_choice_share", 0.0)
    if distance <= COLLAPSE_DB and dominant <= 0.99:
        return None
    return (f"the policy looks like a constant: one tone curve reproduces its outputs at {distance:.1f} dB (alarm "
            f"above {COLLAPSE_DB:.0f}), {dominant:.1%} of the agents take one level; let it explore "
            f"more (docs/reference/training.md), or weigh the reward differently")
