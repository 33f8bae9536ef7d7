"""Self-enhancement: each agent changes the latent code of a patch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from rlenhance.core.errors import UsageError
from rlenhance.envs.pixel_env import PixelEnv, check_numbers
from rlenhance.hub.info import find_checkpoint
from rlenhance.hub.shipped import locate
from rlenhance.learning.actions import ACTION_SETS, ActionSet, LatentActions
from rlenhance.learning.data import ImageCache, Sampler, open_noisy, validate_splits
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.rewards import Reward, RewardWeights

#: How much the squared error of a patch falls: 0.2 dB at 29 dB are about 0.4.
SELF_ENHANCE_REWARD = {"squared_error": 6500.0}
#: Gaussian noise of variance 0.02, as published: its deviation in 255ths.
PUBLISHED_NOISE = "36.0624"


class SelfEnhanceEnv(PixelEnv):
    """Remove noise by changing the latent codes of overlapping patches.

    ## Action Space

    `Box(-1, 1, (heads, h, w))`, an agent per patch (h = ceil(H / stride)): how far each of three parts of its code goes
    toward the mean of the nearest clean codes, how far the code goes along each of the learned axes of its group, and
    two gates, -1 none, 1 all: how much is taken of the autoencoder's output for the current patch, and of its output
    for the initial patch under another symmetry of the square (see `rlenhance.learning.actions.LatentActions`).

    ## Observation Space

    `Dict(image=Box(0, 1, (3, H, W)), remaining=Box(0, 1, (1,)), initial_image=Box(0, 1, (3, H, W)))`, float32: the
    current image (RGB, sRGB-encoded), the share of the horizon that is left, and the noisy image with which the
    episode began. Nothing of the clean image.

    ## Rewards

    `info["reward_map"]` (1, H, W): for every pixel, the squared error before the step minus that after it, times 6500
    (mean of the channels). The reward is the mean of the map. It telescopes: its sum over an episode is 6500 times what
    the squared error has fallen by.

    ## Starting State

    A random crop of a random image, with noise of its own, clipped and rounded as a file has it, after one pass of
    the autoencoder: the stream is seeded by `reset(seed=)` and the number of the image. With no `data`, the sample
    photographs.
    `reset(options={"batch": Batch})` begins with the caller's images and their clean references.

    ## Episode End

    Termination after `horizon` steps, always; never truncation. The problem has a finite horizon and the steps left
    are observed, so no value is bootstrapped after the end. With `early_stop_psnr` an image that has reached this PSNR
    to its clean one stays as it is for the rest of the episode, and earns nothing more.

    ## Arguments

    data: folder of good images, or of pairs (see docs/howto/denoising.md), or None for the sample photographs. noise:
    as for `rlenhance/Denoise-v0`, by default of variance 0.02. size: side of the square images in pixels (64). horizon:
    steps (4). model: a shipped model or a run whose networks and clean codes the actions use ("": new ones with weights
    drawn from a fixed seed). early_stop_psnr: in dB (None). device: of the tensors ("cpu"). render_mode: None or
    "rgb_array". info_terms: "active", or "all": the reward terms of weight 0 are worked out and stand in `info` too.

    ## Vectorized environment

    `gymnasium.make_vec("rlenhance/SelfEnhance-v0", num_envs=8)` holds 8 images in NumPy (`TorchToNumpy`), with
    NEXT_STEP autoreset, as Gymnasium's own vector environments. With `output="torch"` it is this class: torch tensors
    on `device`, with SAME_STEP autoreset. `gymnasium.make("rlenhance/SelfEnhance-v0")` holds one image in NumPy.

    ## Version History

    v0: the first.

    Source: RSE-RL, the action in latent space that its text describes.
    """

    def __init__(self, num_envs: int = 1, *, data: str | Path | None = None, noise: str = PUBLISHED_NOISE,
                 size: int = 64, horizon: int = 4, model: str | Path = "", early_stop_psnr: float | None = None,
                 device: torch.device | str = "cpu", render_mode: str | None = None,
                 info_terms: str = "active", autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP):
        check_numbers(num_envs, size, horizon)
        cache = ImageCache()
        splits, _ = validate_splits(open_noisy(data, noise, eight_bit=True), cache)
        if not splits.has_references:
            raise UsageError(f"{data}: self-enhancement needs clean references; name good images, or pairs")
        super().__init__(
            load_latent_actions(model).to(device), Reward(RewardWeights.only(**SELF_ENHANCE_REWARD)),
            horizon=horizon, source=Sampler(splits.train, cache, size, crop="native"), num_envs=num_envs,
            size=(size, size), device=device, render_mode=render_mode, info_terms=info_terms,
            autoreset_mode=autoreset_mode,
        )
        self.early_stop_psnr = early_stop_psnr


def load_latent_actions(model: str | Path) -> Any:
    """The latent actions of a shipped model or a run; "": new ones.

    Raises:
        UsageError: another kind of model.
    """
    if not model:
        with torch.random.fork_rng(devices=[]):  # the same ones each time: a seeded episode repeats in another process
            torch.manual_seed(0)
            return ACTION_SETS.create("latent")
    actions: ActionSet | None = getattr(load_network(find_checkpoint(locate(str(model)))), "actions", None)
    if not isinstance(actions, LatentActions):
        raise UsageError(f"{model}: its agents do not change latent codes; name a model of experiments.rse_train")
    return actions
