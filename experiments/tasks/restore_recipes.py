"""The recipes of restoration: how each network was published, or is best trained, and which settings it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

#: Terms of the loss that a run weighs, see `agents.SupervisedConfig`.
LOSS_TERMS = ("l1", "mse", "ssim", "psnr", "charbonnier", "mse_over_noise")
#: The networks that take noise away, which learn from pictures that are made noisy: by subtraction, and by filters.
DENOISING, KERNELS = "denoiser", "kernel_denoiser"
DENOISERS = (DENOISING, KERNELS)


@dataclass(frozen=True)
class RecipeDefaults:
    """The settings with which a network was published, or that serve it best, where none are asked for.

    Attributes:
        size: side of the pictures in pixels (of the small ones, where a network enlarges).
        epochs, batch_size, learning_rate: of the training.
        loss: weights of the loss's terms, see `SupervisedConfig`.
        ssim_radius, ema_decay: see `SupervisedConfig`.
        final_lr_ratio, warmup_steps, max_grad_norm: see `OptimizerConfig`.
        monitor: the validation score that chooses best/.
        ssim_padding, over_hole: see `SupervisedConfig`.
        masks: of pairs, see `CompletionSampler`; where there are none, holes are drawn.
        varied: whether parts of pictures are taken and mirrored.
        checkpoint_epochs: epochs between checkpoints that are kept.
        orthogonal: see `OptimizerConfig`.
        to_mse: see `SupervisedConfig`.
        updates: of a run without `epochs`, 0 for those of `epochs`.
        eval_interval: updates between validations, 0 for an epoch.
        val_images: validation pictures.
    """

    size: int
    epochs: int
    batch_size: int
    learning_rate: float
    loss: Mapping[str, float]
    ssim_radius: int = 5
    ema_decay: float = 0.0
    final_lr_ratio: float = 1.0
    warmup_steps: int = 100
    max_grad_norm: float = 1.0
    monitor: str = "val/psnr"
    ssim_padding: str = "reflect"
    over_hole: bool = True
    masks: str = "drawn"
    varied: bool = True
    checkpoint_epochs: int = 0
    orthogonal: bool = False
    to_mse: bool = False
    updates: int = 0
    eval_interval: int = 0
    val_images: int = 48


#: Networks that `restore_train` trains.
DEFAULTS = {
    "gated_pixelrnn": RecipeDefaults(128, 200, 4, 1e-4, {"l1": 0.8, "ssim": 0.2}, ssim_radius=3),
    "convlstm_autoencoder": RecipeDefaults(256, 20, 16, 1e-3, {"mse": 0.8, "ssim": 0.2}),
    "prior": RecipeDefaults(128, 400, 16, 1e-3, {"psnr": 1.0}, ema_decay=0.998, final_lr_ratio=0.02),
    "combined": RecipeDefaults(48, 200, 16, 1e-4, {"mse": 1.0}, ema_decay=0.999, final_lr_ratio=0.1),
    "enlarger": RecipeDefaults(32, 200, 16, 1e-3, {"l1": 1.0}, ema_decay=0.999, final_lr_ratio=0.02),
    DENOISING: RecipeDefaults(64, 0, 32, 1e-3, {"mse_over_noise": 100.0}, ema_decay=0.999, final_lr_ratio=0.0,
                             warmup_steps=200, updates=2000, eval_interval=500, val_images=16),
    KERNELS: RecipeDefaults(64, 0, 16, 1e-3, {"l1": 1.0}, ema_decay=0.999, final_lr_ratio=0.0, warmup_steps=200,
                            updates=20_000, eval_interval=1000, val_images=16),
}


@dataclass(frozen=True)
class PaperForm:
    """A network and its training as they were published.

    Attributes:
        arguments: of the network, where they differ from ours.
        recipe: of its training.
    """

    arguments: Mapping[str, Any]
    recipe: RecipeDefaults


def plain_adam(own: RecipeDefaults, **others: Any) -> RecipeDefaults:
    """The same with Adam at a constant rate: no warm-up, no decay, no clipping, no running mean of the weights.

    Args:
        own: of the network.
        others: further settings that differ.
    """
    return replace(own, ema_decay=0.0, final_lr_ratio=1.0, warmup_steps=0, max_grad_norm=0.0, **others)


_WHOLE_PAIRS: dict[str, Any] = {"over_hole": False, "masks": "given", "varied": False}
#: The networks that have a published form.
PUBLISHED = {
    "gated_pixelrnn": PaperForm(
        {"dilations": (1, 1, 1), "batch_norm": True},
        plain_adam(DEFAULTS["gated_pixelrnn"], ssim_padding="zeros", **_WHOLE_PAIRS, checkpoint_epochs=1)),
    "convlstm_autoencoder": PaperForm(  # piq's SSIM, which that project takes, leaves the border out
        {"widths": (64, 128, 256), "looks": 1, "skips": False, "sees_mask": False, "whole_output": True},
        plain_adam(DEFAULTS["convlstm_autoencoder"], ssim_padding="none", **_WHOLE_PAIRS)),
    "combined": PaperForm({"paper_form": True}, plain_adam(DEFAULTS["combined"], monitor="val/loss")),
    "enlarger": PaperForm(
        {"paper_form": True}, plain_adam(DEFAULTS["enlarger"], loss={"mse": 1.0}, monitor="val/loss")),
}
#: The shapes that `paper_config` gave in version 0.2, with our training; runs of 0.2 go on with them.
SHAPES_OF_0_2: dict[str, dict[str, Any]] = {
    "gated_pixelrnn": {"dilations": (1, 1, 1)},
    "convlstm_autoencoder": {"widths": (64, 128, 256), "looks": 1, "skips": False, "sees_mask": False},
}
#: The networks that need no hole: they clean, or enlarge.
RESTORING = ("combined", "enlarger")
#: Settings that some networks alone read: path with dots -> those networks.
READ_BY = {
    **dict.fromkeys(("data.holes", "data.masks", "data.mask_threshold"),
                    ("gated_pixelrnn", "convlstm_autoencoder", "prior")),
    **dict.fromkeys(("data.blur", "data.noise", "data.sharp", "network.scale"), ("combined", "enlarger")),
    "network.exposure": ("combined",),
    **dict.fromkeys(("data.noise_levels", "data.signal_dependent_prob", "data.quantized_prob", "data.correlated_prob",
                     "network.channels", "network.down", "network.up"), (DENOISING,)),
    **dict.fromkeys(("data.camera_jpeg", "data.camera", "data.pairs", "data.max_side"), DENOISERS),
}
#: What --widths and --blocks are called where a network is made: name -> arguments, and whether each is one number.
SHAPE_ARGUMENTS = {"gated_pixelrnn": ("width", None), "convlstm_autoencoder": ("widths", None),
                   "prior": ("widths", "blocks"), "combined": ("generator_width", "blocks"),
                   "enlarger": ("width", "blocks"), DENOISING: ("widths", None),
                   KERNELS: ("width", "layers")}
