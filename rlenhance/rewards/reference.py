"""State terms against a reference. Refused at the start where there is none."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rlenhance.metrics.full_reference import ssim_map
from rlenhance.rewards.base import Transition, state_term


def _target(transition: Transition) -> Tensor:
    assert transition.target is not None  # `Reward` has refused such terms before
    return transition.target


@state_term("squared_error", reference=True)
def squared_error(image: Tensor, transition: Transition) -> Tensor:
    """Squared difference to the reference, mean of the channels: (N, 1, H, W)."""
    error = F.mse_loss(image, _target(transition), reduction="none")
    return error if error.shape[1] == 1 else error.mean(dim=1, keepdim=True)


@state_term("shape", reference=True)
def shape(image: Tensor, transition: Transition) -> Tensor:
    """Difference to the reference after the picture was scaled to its mean: (N, 1, H, W), its mean is the RMS.

    The level is taken out: what counts is the light of one place beside another, contrast and colours.
    """
    target = _target(transition)
    gain = target.mean(dim=(1, 2, 3), keepdim=True) / image.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    error = ((image * gain - target) ** 2).mean(dim=1, keepdim=True)
    return error / (error.mean(dim=(2, 3), keepdim=True) + 1e-6).sqrt()


@state_term("l1", reference=True)
def l1(image: Tensor, transition: Transition) -> Tensor:
    """Absolute difference to the reference, mean of the channels: (N, 1, H, W)."""
    return (image - _target(transition)).abs().mean(dim=1, keepdim=True)


@state_term("ssim", reference=True, reach=3)  # of the window's weights 0.96 lie so near
def ssim(image: Tensor, transition: Transition) -> Tensor:
    """1 - SSIM to the reference, mean of the channels: (N, 1, H, W). Source: Wang et al. 2004."""
    return 1 - ssim_map(image, _target(transition)).mean(dim=1, keepdim=True)


@state_term("psnr", reference=True)
def psnr(image: Tensor, transition: Transition) -> Tensor:
    """Minus the PSNR to the reference: (N, 1, 1, 1), in dB, so that the reward is the gain in dB."""
    error = ((image - _target(transition)) ** 2).mean(dim=(1, 2, 3), keepdim=True)
    return 10 * (error + 1e-10).log10()
