"""Denoising: every pixel chooses one of a few filters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from gymnasium.vector import AutoresetMode

from rlenhance.core.errors import UsageError
from rlenhance.envs.pixel_env import PixelEnv, check_numbers
from rlenhance.learning.actions import ACTION_SETS, PIXELRL_TOOLS
from rlenhance.learning.data import ImageCache, Sampler, open_noisy, validate_splits
from rlenhance.learning.rewards import Reward, RewardWeights

#: The reward of PixelRL: how much the squared error of a pixel falls, on the scale of 255.
DENOISING_REWARD = {"squared_error": 255.0}


class DenoiseEnv(PixelEnv):
    """Remove noise by filtering, each pixel with a tool of its own.

    ## Action Space

    `MultiDiscrete` (1, H, W): every pixel names a tool, by its place in `tools`. The default ones are PixelRL's: 0
    subtracts 1/255, 1 does nothing, 2 adds 1/255; 3 Gaussian of 5x5 pixels with sigma 0.5, 4 bilateral (diameter 5,
    sigma_color 0.1, sigma_space 5), 5 median of 5x5, 6 Gaussian with sigma 1.5, 7 bilateral with sigma_color 1.0,
    8 mean of 5x5.
    The pixel takes the value that its tool gives there; all tools are applied to the image before the step.

    ## Observation Space

    `Dict(image=Box(-1, 2, (C, H, W)), remaining=Box(0, 1, (1,)))`, float32: the current image (sRGB-encoded; C = 1,
    grey, or 3) and the share of the horizon that is left. Noise that is not rounded may leave [0, 1] by up to 1, where
    it is clipped.

    ## Rewards

    `info["reward_map"]` (1, H, W): for every pixel, the squared error before the step minus that after it, times 255
    (mean of the channels). The reward is the mean of the map. It telescopes: its sum over an episode is 255 times what
    the squared error has fallen by.

    ## Starting State

    A random crop of a random image, with noise of its own: the stream is seeded by `reset(seed=)` and the number of
    the image. With no `data`, the sample photographs. `reset(options={"batch": Batch})` begins with the caller's
    images and their clean references, (N, 1, H, W) or (N, 3, H, W).

    ## Episode End

    Termination after `horizon` steps, always; never truncation. The problem has a finite horizon and the steps left
    are observed, so no value is bootstrapped after the end.

    ## Arguments

    data: folder of good images, or of pairs (see docs/howto/filter_policies.md), or None for the sample photographs.
    noise: "25" (Gaussian, deviation in 255ths), a range ("5-55"), "blind" (that range), "poisson_gaussian",
    "salt_pepper", "jpeg", each with ":LEVEL" or ":LOW-HIGH", or "real" (pairs bring their own). eight_bit: noisy
    images are clipped and rounded as files are (False). color: work in colour (False: grey, one plane). size: side of
    the square images in pixels (64). horizon: steps (5). tools: names of filters, also of the caller's registered
    ones. device: of the tensors ("cpu"). render_mode: None or "rgb_array". info_terms: "active", or "all": the reward
    terms of weight 0 are worked out and stand in `info` too.

    ## Vectorized environment

    `gymnasium.make_vec("rlenhance/Denoise-v0", num_envs=8)` holds 8 images in NumPy (`TorchToNumpy`), with
    NEXT_STEP autoreset, as Gymnasium's own vector environments. With `output="torch"` it is this class: torch tensors
    on `device`, with SAME_STEP autoreset. `gymnasium.make("rlenhance/Denoise-v0")` holds one image in NumPy.

    ## Version History

    v0: the first.

    Source: PixelRL (Furuta et al. 2019), section 5.1.
    """

    def __init__(self, num_envs: int = 1, *, data: str | Path | None = None, noise: str = "25", eight_bit: bool = False,
                 color: bool = False, size: int = 64, horizon: int = 5, tools: Sequence[str] = PIXELRL_TOOLS,
                 device: torch.device | str = "cpu", render_mode: str | None = None,
                 info_terms: str = "active", autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP):
        check_numbers(num_envs, size, horizon)
        cache = ImageCache()
        splits, _ = validate_splits(open_noisy(data, noise, eight_bit), cache)
        if not splits.has_references:
            raise UsageError(f"{data}: denoising needs clean references; name good images, or pairs")
        self.num_channels = 3 if color else 1
        super().__init__(
            ACTION_SETS.create("filters", tools=tuple(tools)),
            Reward(RewardWeights.only(**DENOISING_REWARD)),
            horizon=horizon, source=Sampler(splits.train, cache, size, crop="native", planes=self.num_channels),
            num_envs=num_envs, size=(size, size), device=device, render_mode=render_mode,
            info_terms=info_terms, autoreset_mode=autoreset_mode,
        )
