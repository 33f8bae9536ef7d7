"""The codebook: clean codes, their groups, and the axes along which the codes of outputs differ from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import LatentActions
from rlenhance.learning.data import Batch
from rlenhance.learning.nn.latent import PatchAutoencoder, measured_noise

_EPSILON = 0.05  # of the finite difference
_LEAST = 1e-6  # of the largest eigenvalue: directions that show nothing


@dataclass
class Codes:
    """Codes of the patches of pictures.

    Attributes:
        clean: of the references, (M, C, 8).
        output: of what one pass makes of the noisy pictures, the same.
    """

    clean: Tensor
    output: Tensor


@torch.no_grad()
def code_all(autoencoder: PatchAutoencoder, batches: Sequence[Batch]) -> Codes:
    """The codes of pictures, in the order of the batches."""
    clean: list[Tensor] = []
    output: list[Tensor] = []
    for batch in batches:
        if batch.target is None:
            raise UsageError("clean codes come from clean pictures, and these have none")
        made = autoencoder.enhance(batch.image, batch.image, measured_noise(batch.image)).clamp(0, 1)
        for codes, picture in ((clean, batch.target), (output, made)):
            codes.append(autoencoder.encode(autoencoder.blocks.extract(picture))[0])
    return Codes(torch.cat(clean), torch.cat(output))


def group_codes(batches: Sequence[Tensor], groups: int, seed: int = 0) -> Tensor:
    """Centres of groups of codes, running means over the batches: (M, C, 8) each -> (groups, C, 8).

    Source: mini-batch k-means (Sculley 2010), of scikit-learn.
    """
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(groups, random_state=seed, n_init=3)
    for batch in batches:
        means.partial_fit(batch.flatten(1).numpy())
    return torch.from_numpy(means.cluster_centers_).float().unflatten(1, batches[0].shape[1:])


@torch.no_grad()
def error_axes(autoencoder: PatchAutoencoder, codes: Codes, centres: Tensor, count: int) -> Tensor:
    """The axes along which the codes of outputs differ most from clean ones, by what they show, in each group.

    An axis has the length of its standard deviation: (groups, count, C, 8).
    """
    groups = torch.cdist(codes.output.flatten(1), centres.flatten(1)).argmin(dim=1)
    found = []
    for number, centre in enumerate(centres):
        error = (codes.clean - codes.output)[groups == number].flatten(1).double()
        if len(error) < 2 * error.shape[1]:  # too few: those of all groups
            error = (codes.clean - codes.output).flatten(1).double()
        shown = _shown_by(autoencoder, centre)
        values, vectors = torch.linalg.eigh(shown.mT @ shown)
        values = values.clamp(min=_LEAST * float(values.max()))
        root, back = (vectors @ torch.diag(values**power) @ vectors.mT for power in (0.5, -0.5))
        size, direction = torch.linalg.eigh(root @ (error.mT @ error / len(error)) @ root)
        most = slice(len(size) - count, None)
        axes = (back @ direction[:, most] * size[most].clamp(min=0).sqrt()).mT.flip(0)
        found.append(axes.float().unflatten(1, centre.shape))
    return torch.stack(found)


def _shown_by(autoencoder: PatchAutoencoder, centre: Tensor) -> Tensor:
    """The Jacobian of the decoder at a centre: (values of a patch, entries of a code)."""
    steps = _EPSILON * torch.eye(centre.numel()).unflatten(1, centre.shape)
    change = autoencoder.decode(centre + steps) - autoencoder.decode(centre[None])
    return (change.flatten(1) / _EPSILON).mT.double()


def fill_bank(actions: LatentActions, batches: Sequence[Batch], seed: int = 0) -> Codes:
    """Fill the codebook of an action set with the clean codes of training pictures.

    Args:
        actions: its autoencoder has been trained.
        batches: noisy pictures and their references.
        seed: of the groups, and of which codes are kept.
    """
    codes = code_all(actions.autoencoder, batches)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(codes.clean)))
    shuffled = Codes(codes.clean[order], codes.output[order])
    centres = group_codes(shuffled.clean.split(1024), len(actions.bank.centres), seed)
    axes = error_axes(actions.autoencoder, shuffled, centres, actions.axes)
    actions.bank.set(shuffled.clean, centres, axes)
    return codes
