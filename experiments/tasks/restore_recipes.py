"""The networks that `network_train` trains: for each, one entry with its training, the settings that it reads, and its
published form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

#: Terms of the loss that a run weighs, see `agents.SupervisedConfig`.
LOSS_TERMS = ("l1", "mse", "ssim", "psnr", "charbonnier", "mse_over_noise")


@dataclass(frozen=True)
class Training:
    """How a network is trained where nothing else is asked for.

    Attributes:
        size: side of the pictures in pixels (of the small ones, where a network enlarges).
        epochs, batch_size, learning_rate: of the training.
        loss: weights of the loss's terms, see `SupervisedConfig`.
        ssim_radius, ssim_padding, ema_decay, over_hole, to_mse: see `SupervisedConfig`.
        final_lr_ratio, warmup_steps, max_grad_norm, orthogonal: see `OptimizerConfig`.
        monitor: the validation score that chooses best/.
        masks: of pairs, see `CompletionSampler`; where there are none, holes are drawn.
        varied: whether parts of pictures are taken and mirrored.
        checkpoint_epochs: epochs between checkpoints that are kept.
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


@dataclass(frozen=True)
class PublishedForm:
    """How a network and its training were published, where that differs from ours.

    Attributes:
        arguments: of the network.
        training: other settings; Adam has a constant rate, without warm-up, clipping and running mean.
        arguments_of_0_2: those that `paper_config` gave in version 0.2, with our training; runs of 0.2 go on with them.
    """

    arguments: Mapping[str, Any]
    training: Mapping[str, Any]
    arguments_of_0_2: Mapping[str, Any] = field(default_factory=dict)


#: The settings of pictures with holes, of good pictures that are shrunk, and of photographs by simulated cameras.
HOLES = ("data.holes", "data.masks", "data.mask_threshold")
SHRUNK = ("data.blur", "data.noise", "data.sharp")
CAMERA = ("data.camera_jpeg", "data.camera", "data.pairs", "data.max_side")


@dataclass(frozen=True)
class Recipe:
    """A network and its training.

    Attributes:
        pictures: what it learns from: holes to fill, small pictures to restore or enlarge, or noisy ones.
        training: ours.
        reads: settings that not every network reads, as paths with dots; those in `arguments` need not be named.
        arguments: setting -> what it is called where the network is made.
        widths, blocks: of --widths and --blocks, what they are called there, and how many numbers they are; 0: one for
            each level.
        published: None where it has no published form.
    """

    pictures: Literal["holes", "small", "noisy"]
    training: Training
    reads: tuple[str, ...]
    arguments: Mapping[str, str] = field(default_factory=dict)
    widths: tuple[str, int] = ("width", 1)
    blocks: tuple[str, int] | None = None
    published: PublishedForm | None = None

    def training_of(self, published: bool) -> Training:
        """Ours, or the published one."""
        if not published or self.published is None:
            return self.training
        return replace(self.training, ema_decay=0.0, final_lr_ratio=1.0, warmup_steps=0, max_grad_norm=0.0,
                       **self.published.training)


_SIZE = {"data.size": "train_size"}
_WHOLE_PAIRS: dict[str, Any] = {"over_hole": False, "masks": "given", "varied": False}
RECIPES: Mapping[str, Recipe] = {
    "gated_pixelrnn": Recipe(
        "holes", Training(128, 200, 4, 1e-4, {"l1": 0.8, "ssim": 0.2}, ssim_radius=3), HOLES, _SIZE,
        published=PublishedForm({"dilations": (1, 1, 1), "batch_norm": True},
                                {"ssim_padding": "zeros", **_WHOLE_PAIRS, "checkpoint_epochs": 1},
                                arguments_of_0_2={"dilations": (1, 1, 1)})),
    "convlstm_autoencoder": Recipe(
        "holes", Training(256, 20, 16, 1e-3, {"mse": 0.8, "ssim": 0.2}), HOLES, _SIZE, widths=("widths", 3),
        published=PublishedForm(  # piq's SSIM, which that project takes, leaves the border out
            {"widths": (64, 128, 256), "looks": 1, "skips": False, "sees_mask": False, "whole_output": True},
            {"ssim_padding": "none", **_WHOLE_PAIRS},
            arguments_of_0_2={"widths": (64, 128, 256), "looks": 1, "skips": False, "sees_mask": False})),
    "prior": Recipe(
        "holes", Training(128, 400, 16, 1e-3, {"psnr": 1.0}, ema_decay=0.998, final_lr_ratio=0.02), HOLES, _SIZE,
        widths=("widths", 0), blocks=("blocks", 0)),
    "combined": Recipe(
        "small", Training(48, 200, 16, 1e-4, {"mse": 1.0}, ema_decay=0.999, final_lr_ratio=0.1), SHRUNK,
        {"network.scale": "scale", "network.exposure": "exposure"}, ("generator_width", 1), ("blocks", 1),
        PublishedForm({"paper_form": True}, {"monitor": "val/loss"})),
    "enlarger": Recipe(
        "small", Training(32, 200, 16, 1e-3, {"l1": 1.0}, ema_decay=0.999, final_lr_ratio=0.02), SHRUNK,
        {"network.scale": "scale"}, blocks=("blocks", 1),
        published=PublishedForm({"paper_form": True}, {"loss": {"mse": 1.0}, "monitor": "val/loss"})),
    "denoiser": Recipe(
        "noisy", Training(64, 0, 32, 1e-3, {"mse_over_noise": 100.0}, ema_decay=0.999, final_lr_ratio=0.0,
                          warmup_steps=200, updates=2000, eval_interval=500, val_images=16),
        ("data.noise_levels", "data.signal_dependent_prob", "data.quantized_prob", "data.correlated_prob", *CAMERA),
        {"network.channels": "channels", "network.down": "down", "network.up": "up"}, ("widths", 0)),
    "kernel_denoiser": Recipe(
        "noisy", Training(64, 0, 16, 1e-3, {"l1": 1.0}, ema_decay=0.999, final_lr_ratio=0.0, warmup_steps=200,
                          updates=20_000, eval_interval=1000, val_images=16), CAMERA, blocks=("layers", 1)),
}


def readers() -> dict[str, list[str]]:
    """The settings that not every network reads -> the networks that do."""
    found: dict[str, list[str]] = {}
    for name, recipe in RECIPES.items():
        for path in (*recipe.reads, *recipe.arguments):
            if path not in _SIZE:
                found.setdefault(path, []).append(name)
    return found
