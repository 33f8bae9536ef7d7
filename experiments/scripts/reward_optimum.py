"""The pictures that a reward asks for, without a network:
`python -m experiments.scripts.reward_optimum --data DIR --reward ...`.

A learner that converges to bad pictures may be a bad learner, or a good one with a bad reward. Here every picture's
actions are optimized by themselves, on the reduced picture, by gradient ascent on the return; then they are applied to
the whole picture and scored. What comes out is what the reward means by "better".
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import torch
import tyro
from torch import Tensor

from rlenhance.agents.base import make_env
from rlenhance.core.errors import UsageError
from rlenhance.envs import PixelEnv
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.scores import mean_scores
from rlenhance.experiments.tasks.lowlight_baselines import fit_baselines
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig, load_pictures
from rlenhance.experiments.tasks.lowlight_evaluate import score_picture
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig, make_policy
from rlenhance.learning.actions import Action
from rlenhance.learning.data import Batch
from rlenhance.learning.models import GreedyEpisode
from rlenhance.learning.ops.image import resize
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE

_RATE, _DECAY, _HEAD_START = 0.08, 0.97, 0.3  # of Adam; share of the iterations in which the picture's agents are alone
_SHOWN = ("psnr", "ssim", "gt_mean_psnr", "sharpness", "clipped", "mean")


@dataclass(frozen=True)
class Arguments:
    """Score the optimum of a reward on training pictures."""

    reward: tuple[str, ...] = ()
    """name=weight; terms that are not named have the weights of docs/reference/rewards.md."""
    exposure_level: float = DEFAULT_EXPOSURE
    """Asked exposure."""
    count: int = 48
    """How many pictures, evenly spread."""
    split: str = "train"
    """train or val. A reward is never chosen on a test split."""
    side: int = 128
    """Longer side at which the results are scored."""
    iterations: int = 80
    """Steps of the ascent."""
    pictures: Annotated[LowLightDataConfig, tyro.conf.arg(name="")] = field(default_factory=LowLightDataConfig)
    policy: Annotated[PolicyConfig, tyro.conf.arg(name="")] = field(default_factory=PolicyConfig)


def objective(reward: Reward, terms: Mapping[str, Tensor], level: str, levels: Sequence[str]) -> Tensor:
    """The return of one scope of agents: (N,). Local agents beside a global one get the terms that are maps, as in
    training (`rlenhance.agents.rollout.scope_rewards`)."""
    kept = {name: value for name, value in terms.items()
            if TERMS[name].kind == "action" or value.shape[-2:] != (1, 1) or level == "global" or len(levels) == 1}
    return reward.total(kept) if kept else next(iter(terms.values())).new_zeros(1)


def optimize(env: PixelEnv, batch: Batch, preference: Tensor, iterations: int,
             start: Sequence[Action] = ()) -> list[Action]:
    """The actions of every step that maximise the return of each picture by itself.

    Args:
        batch: pictures of the size on which a policy decides; preference: encoded, (N, P).
        start: actions of every step from which all scopes go on together; without them, the neutral actions, from which
            the picture's agents have a head start.

    Returns:
        One action per step, in [-1, 1].
    """
    count, size = len(batch), batch.image.shape[-2:]
    neutral = env.actions.noop(count, *size)
    begun = start or [neutral] * env.horizon
    raw = {level: torch.atanh(torch.stack([action[level] for action in begun]).clamp(-0.99, 0.99)).requires_grad_()
           for level in neutral}
    optimizers = {level: torch.optim.Adam([value], lr=_RATE) for level, value in raw.items()}
    for iteration in range(iterations):
        for level, optimizer in optimizers.items():
            if level == "local" and "global" in raw and not start and iteration < _HEAD_START * iterations:
                continue
            env.reset(options={"batch": batch, "preference": preference})
            gain = batch.image.new_zeros(count)
            for step in range(env.horizon):
                action = {name: torch.tanh(value[step] if name == level else value[step].detach())
                          for name, value in raw.items()}
                *_, info = env.step(action)
                gain = gain + objective(env.reward, info["term_maps"], level, list(raw))
            if not gain.requires_grad:  # no term depends on these agents
                continue
            optimizer.zero_grad()
            (-gain.sum()).backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= _DECAY
    return [{level: torch.tanh(value[step]).detach() for level, value in raw.items()} for step in range(env.horizon)]


def main(arguments: Arguments) -> dict[str, float]:
    """Optimize, score, print; returns the mean scores of the optimum."""
    if arguments.split not in ("train", "val"):
        raise UsageError(f"--split is train or val; got {arguments.split!r}: rewards are not chosen on test pictures")
    weights = RewardWeights.parse(arguments.reward, exposure_level=arguments.exposure_level)
    policy = make_policy(arguments.policy, weights)
    if policy.actions.num_choices is not None or not policy.decision_size:
        raise UsageError("an optimum is sought for continuous agents on a reduced picture: "
                         "leave out --curve categorical and --state-size 0")
    pictures = load_pictures(arguments.pictures)
    chosen = list(pictures.load(arguments.split, limit=arguments.count, side=arguments.side))
    small = Batch.stack([batch.map(partial(resize, size=policy.decision_size)) for batch in chosen])
    env = make_env(policy, Reward(weights), "cpu")
    actions = optimize(env, small, policy.preferences.encode(None, len(small)), arguments.iterations)
    model, rows = GreedyEpisode(policy), []
    for number, batch in enumerate(chosen):
        own = [{level: entry[number : number + 1] for level, entry in action.items()} for action in actions]
        rows.append(score_picture(model.render(batch.image, own), batch))
    stop = fit_baselines(pictures.load("train", limit=96, side=arguments.side), arguments.exposure_level)["stop"]
    means = mean_scores(rows)
    strengths = torch.stack([policy.actions.magnitude(action) for action in actions])
    means["spatial_std"] = strengths.std(dim=(-2, -1), correction=0).mean().item()
    rule = mean_scores([score_picture(stop(batch), batch) for batch in chosen])
    print(f"{len(chosen)} {arguments.split} pictures at {arguments.side} pixels; {weights}")
    for label, scores in ((stop.name, rule), ("optimum of the reward", means)):
        print(f"{label:<24}", *(f"{name} {scores[name]:.4g}" for name in _SHOWN if name in scores), sep="  ")
    print(json.dumps(means))
    return means


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))
