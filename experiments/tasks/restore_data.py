"""The pictures of restoration: with holes, shrunk, or in pairs; what a network makes of them, and without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.agents import SupervisedConfig
from rlenhance.agents.supervised import supervised_losses
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.core.fit import Evaluator
from rlenhance.experiments.tasks.restore_config import RestoreConfig, recipe_of, training_of
from rlenhance.learning.data import (
    Batch,
    CompletionSampler,
    Downscale,
    Example,
    ImageCache,
    SuperResolutionSampler,
    evenly_spread,
    join_splits,
    load_completion,
    load_super_resolution,
    open_clean,
    open_completion,
    open_super_resolution,
    validate_splits,
    without_near_duplicates,
)
from rlenhance.learning.metrics.full_reference import masked_psnr, psnr
from rlenhance.learning.ops.masked_tensors import harmonic_fill


@dataclass(kw_only=True)
class RestoreDataset(Dataset):
    """Pictures to restore.

    Attributes:
        sample: (update, pictures) -> training batch.
        prepare: example -> validation batch.
    """

    sample: Callable[[int, int], Batch]
    prepare: Callable[[Example], Batch]

    def validation(self, limit: int) -> list[Batch]:
        """Pictures that choose best/, evenly spread over the split."""
        return [self.prepare(example) for example in evenly_spread(self.splits.val, limit)]

    def evaluator(self, limit: int, settings: SupervisedConfig) -> Evaluator:
        """The evaluation on those pictures: see `validate`."""
        pictures = self.validation(limit)
        return lambda network: validate(network, pictures, settings)


def open_pictures(config: RestoreConfig) -> RestoreDataset:
    """Pictures with holes, made anew in each update or those of pairs, and validated on the true holes of pairs; of
    `combined`, pairs, or good pictures that are shrunk when they are drawn.
    """
    own, pictures, seed, cache = training_of(config), config.data, config.train.seed, ImageCache()
    size = own.size
    if recipe_of(config).pictures == "small":
        downscale = Downscale(config.network.scale, pictures.blur[1], pictures.blur[0], pictures.noise, pictures.sharp)
        splits = open_clean(None) if pictures.data is None else join_splits(
            [open_super_resolution(folder) for folder in (pictures.data, *pictures.more)])
        splits, skipped = validate_splits(splits, cache, pictures.on_bad_image, downscale.scale)
        splits, about = (splits, "") if pictures.data is None else without_near_duplicates(splits, cache)
        return RestoreDataset(
            splits, cache, skipped, about,
            sample=SuperResolutionSampler(splits.train, cache, size, downscale, seed=seed).batch,
            prepare=lambda example: load_super_resolution(example, cache, downscale))
    splits = open_completion(pictures.data, 0)
    more = [example for folder in pictures.more for example in open_completion(folder, 0).train]
    splits = replace(splits, train=[*splits.train, *(replace(example, image=None) for example in more)])
    splits, skipped = validate_splits(splits, cache, pictures.on_bad_image)
    splits, about = (splits, "") if pictures.data is None else without_near_duplicates(splits, cache)
    paired = all(example.image is not None for example in splits.train)
    masks = own.masks if paired or pictures.masks else "drawn"
    whole: dict[str, Any] = {} if own.varied else {"least": 1.0, "mirrored": False}
    return RestoreDataset(
        splits, cache, skipped, about,
        sample=CompletionSampler(splits.train, cache, size, holes=pictures.holes, seed=seed, masks=masks,
                                 threshold=pictures.mask_threshold, **whole).batch,
        prepare=lambda example: load_completion(example, cache, size, threshold=pictures.mask_threshold))


def baseline_output(batch: Batch) -> Tensor:
    """The result without a network: the membrane, the bicubic enlargement, or the picture itself."""
    if batch.mask is not None:
        return harmonic_fill(batch.image, batch.mask)
    assert batch.target is not None
    if batch.target.shape == batch.image.shape:
        return batch.image
    return F.interpolate(batch.image, batch.target.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)


def run_eval(network: nn.Module, batch: Batch) -> Tensor:
    """The network's result on its device in evaluation mode, on the CPU."""
    device, training = next(network.parameters()).device, network.training
    network.eval()
    with torch.no_grad():
        parts = [batch.image] if batch.mask is None else [batch.image, batch.mask]
        known = {} if batch.noise_std is None else {"noise_std": batch.noise_std.to(device)}
        result = network(*(part.to(device) for part in parts), **known).float().cpu()
    network.train(training)
    return result


def mean_psnr(model: Callable[[Batch], Tensor], pictures: Sequence[Batch]) -> float:
    """Mean PSNR in dB over pictures: of the hole alone where there is one."""
    scores = []
    for batch in pictures:
        assert batch.target is not None
        output = model(batch)
        found = psnr(output, batch.target) if batch.mask is None else masked_psnr(output, batch.target, batch.mask)
        scores.append(float(found.mean()))
    return sum(scores) / len(scores)


def validate(network: nn.Module, pictures: Sequence[Batch], settings: SupervisedConfig) -> dict[str, float]:
    """Mean PSNR in dB (of the holes, where there are any), and the mean of the loss that is trained."""
    outputs = [run_eval(network, batch) for batch in pictures]
    losses = []
    for output, batch in zip(outputs, pictures, strict=True):
        terms, _ = supervised_losses(settings, output, batch)
        losses.append(sum(float(term) for term in terms.values()))
    made = iter(outputs)
    return {"val/psnr": mean_psnr(lambda batch: next(made), pictures), "val/loss": sum(losses) / len(losses)}
