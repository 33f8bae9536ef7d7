"""The table of presets: what `--preset NAME` sets, task by task. What a preset does not name is the task's default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlenhance.experiments.core.presets import Preset

#: The reward of the shipped model natural; terms that are not named have the weights of docs/reference/rewards.md.
NATURAL_REWARD = ("exposure=10", "contrast=0", "local_exposure=0", "clipping=2")

#: The supervised networks of the earlier projects learn from pairs alone. The losses are the published ones; the
#: learning rate is higher, for runs of minutes.
_SUPERVISED: Mapping[str, Any] = {"train.learner": "supervised", "data.train_on_references": False,
                                  "learners.supervised.optimizer.learning_rate": 1e-3}

#: Settings of `rlenhance.experiments.lol_train`. The defaults of its classes are natural.
LOWLIGHT_PRESETS: Mapping[str, Preset] = {
    "natural": Preset("tone actions and controls, the recipe of the shipped model natural", {}),
    "balanced": Preset("curves per band of luminance, from references that keep highlights (scripts.fuse_scenes)", {
        "train.reward": ("exposure=0", "contrast=0", "local_exposure=0", "reference_exposure=80", "reference_color=15",
                         "shape_psnr=1", "revealed_noise=250", "clipping=4", "contrast_preference=48",
                         "color_preference=60", "highlights=35"),
        "network.actions": "bilateral", "network.gain": 0.25, "network.log_bins": 16,
    }),
    "rellie": Preset("ReLLIE's form: an agent per pixel, 27 levels, coupled channels, momentum", {
        # a term of the picture is shared by all pixels, and an action term is each pixel's own: it would outweigh them
        "train.reward": ("color=0.5", "smoothness=0.05", "effort=0", "steadiness=0"),
        "data.train_on_references": False, "data.crop": 32,
        "network.actions": "curve", "network.controls": False, "network.vary_exposure": False,
        "network.backbone": "fcn", "network.horizon": 6, "network.state_size": 0, "network.agent_stride": 1,
        "network.global_agent": False, "network.curve": "categorical", "network.channels": "coupled",
        "network.coupling": 0.1, "network.lead": 2, "network.momentum": 0.2,
        "learners.a3c.rollouts_per_image": 2, "learners.a3c.update_epochs": 1, "learners.a3c.ema_decay": 0.8,
    }),
    "curve": Preset("one curve for the picture and one per cell, the default of versions 0.1 and 0.2", {
        "train.reward": (),
        "data.train_on_references": False,
        "network.actions": "curve", "network.controls": False,
    }),
    "mrpnet": Preset("MRPNet with its Generator at scale 1, supervised: squared error", {
        **_SUPERVISED, "data.crop": 64, "train.batch_size": 16, "network.supervised_network": "mrpnet",
        "learners.supervised.l1": 0.0, "learners.supervised.mse": 1.0, "learners.supervised.ssim": 0.0,
    }),
    "gated_pixelrnn": Preset("the gated PixelRNN from picture to picture, supervised: 0.8 L1 + 0.2 (1 - SSIM)", {
        **_SUPERVISED, "train.batch_size": 4, "network.supervised_network": "gated_pixelrnn",
        "learners.supervised.l1": 0.8, "learners.supervised.ssim_radius": 3,
    }),
    "convlstm_autoencoder": Preset(
        "the ConvLSTM autoencoder from picture to picture, supervised: 0.8 MSE + 0.2 (1 - SSIM)", {
            **_SUPERVISED, "network.supervised_network": "convlstm_autoencoder",
            "learners.supervised.l1": 0.0, "learners.supervised.mse": 0.8,
        }),
}

#: Settings of `rlenhance.experiments.denoise_train`.
DENOISE_PRESETS: Mapping[str, Preset] = {
    "filters": Preset("a small U-Net that looks once, an estimate of the clean pixel, and filters towards it", {}),
    "pixelrl": Preset("PixelRL's form: dilated network and convolutional GRU, no estimate, discount 0.95, reward map", {
        "data.crop": 70,
        "network.backbone": "gru_fcn", "network.memory": "every", "network.noise_conditioned": False,
        "network.estimate": False, "network.horizon": 5,
        "learners.a3c.rollouts_per_image": 1, "learners.a3c.gamma": 0.95, "learners.a3c.clip_range": 0.0,
        "learners.a3c.update_epochs": 1, "learners.a3c.reward_map_kernel": 33,
        "learners.a3c.optimizer.learning_rate": 1e-3,
    }),
}


def for_comparison(presets: Mapping[str, Preset]) -> dict[str, Preset]:
    """Those of policies for a comparison, where learners and rewards are many: the network, the pictures, the learners'
    settings. The reward is looked up, see `preset_reward`."""
    names = {"data": "data", "network": "network", "learners": "configs"}
    return {name: Preset(preset.about, {
        f"{names[path.partition('.')[0]]}.{path.partition('.')[2]}": value for path, value in preset.settings.items()
        if path.partition(".")[0] in names}) for name, preset in presets.items()
        if "train.learner" not in preset.settings}


def prefixed(presets: Mapping[str, Preset], part: str) -> dict[str, Preset]:
    """The same for a configuration that holds the other one as a part."""
    return {name: Preset(preset.about, {f"{part}.{path}": value for path, value in preset.settings.items()})
            for name, preset in presets.items()}


def preset_reward(name: str) -> tuple[str, ...]:
    """The words of --reward of a low-light preset."""
    words: Any = LOWLIGHT_PRESETS[name].settings.get("train.reward", NATURAL_REWARD)
    return tuple(words)


def with_words(base: tuple[str, ...], words: tuple[str, ...]) -> tuple[str, ...]:
    """Words of --reward on top of others: a term that is named again has its new weight."""
    named = {word.partition("=")[0] for word in words}
    return (*(word for word in base if word.partition("=")[0] not in named), *words)
