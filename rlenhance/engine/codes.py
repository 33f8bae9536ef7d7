"""Codes of patches in NumPy: their decoder, and moves toward clean codes and along the axes of a model's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlenhance.core.arrays import NUM_D4, d4_inverse, d4_products

#: From RGB to Y, U and V (ITU-R BT.601).
YUV = ((0.299, 0.587, 0.114), (-0.14713, -0.28886, 0.436), (0.615, -0.51499, -0.10001))


class Codes:
    """The decoder of an equivariant `rlenhance.learning.nn.latent.PatchAutoencoder`, and its `Codebook`.

    Args:
        actions: spec of the `rlenhance.learning.actions.LatentActions`.
        weights: state dict of the policy.
    """

    def __init__(self, actions: Mapping[str, Any], weights: Mapping[str, np.ndarray]):
        of, bank = "actions.autoencoder.", "actions.bank."
        self.parts, self.axes, self.reach = int(actions["parts"]), int(actions["axes"]), float(actions.get("reach", 1))
        self.neighbours, side = int(actions["neighbours"]), int(actions["block"])
        channels = int(actions["latent_dim"]) // NUM_D4
        self.part_of = np.arange(channels) * self.parts // channels
        self.centres = weights[f"{bank}centres"].reshape(len(weights[f"{bank}centres"]), -1)
        self.bank_axes = weights[f"{bank}axes"]
        codes = weights[f"{bank}codes"]
        self.known = np.concatenate([codes[..., row] for row in d4_products()]).reshape(-1, channels * NUM_D4)
        self._lengths = np.square(self.known).sum(axis=1)
        self._yuv = np.array(YUV, np.float32)
        back, numbers = np.linalg.inv(self._yuv), np.arange(3 * side * side).reshape(3, side, side)
        self._hidden = weights[f"{of}nonlinear_decoder.0.weight"].T, weights[f"{of}nonlinear_decoder.0.bias"]
        layers = [(weights[f"{of}{name}.weight"], weights[f"{of}{name}.bias"])
                  for name in ("decoder", "nonlinear_decoder.2")]

        def in_rgb(rows: np.ndarray) -> np.ndarray:
            """Rows of Y, U and V of a patch's pixels as rows of R, G and B."""
            return np.asarray(np.einsum("kc,cpi->kpi", back, rows.reshape(3, side * side, -1))).reshape(
                3 * side * side, -1)

        turned = [d4_inverse(numbers, way).ravel() for way in range(NUM_D4)]
        self._out = [np.concatenate([in_rgb(weight[place] / NUM_D4) for place in turned], axis=1).T.astype(np.float32)
                     for weight, _ in layers]
        level = sum(bias[place] / NUM_D4 for _, bias in layers for place in turned)
        level = np.asarray(level) + np.repeat([0.5, 0, 0], side * side)
        self._level, self._shape = in_rgb(level)[:, 0].astype(np.float32), (-1, 3, side, side)

    def yuv(self, patches: np.ndarray) -> np.ndarray:
        """RGB as Y - 0.5, U and V: (M, 3, b, b)."""
        planes = (self._yuv @ patches.reshape(len(patches), 3, -1)).reshape(patches.shape)
        planes[:, 0] -= 0.5
        return np.asarray(planes)

    def decode(self, code: np.ndarray) -> np.ndarray:
        """Patches from their codes alone: (M, C, 8) -> (M, 3, b, b) in RGB, not clipped."""
        entries = np.ascontiguousarray(code.swapaxes(1, 2))
        hidden = entries @ self._hidden[0] + self._hidden[1]
        hidden /= 1 + np.exp(-hidden)  # SiLU
        shown = entries.reshape(len(code), -1) @ self._out[0]
        shown += hidden.reshape(len(code), -1) @ self._out[1]
        return np.asarray((shown + self._level).reshape(self._shape))

    def moved(self, code: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """Codes (M, C, 8) after moves (M, parts + axes), see `LatentActions`."""
        result = code
        if self.parts:
            toward = np.float32(0.25 * self.reach) * moves[:, : self.parts][:, self.part_of, None]
            result = result + toward * (self.nearest_mean(code) - code)
        if self.axes:
            along = np.float32(0.5 * self.reach) * moves[:, self.parts :]
            result = result + np.einsum("ma,macw->mcw", along, self.bank_axes[self.clusters(code)])
        return np.asarray(result)

    def clusters(self, code: np.ndarray) -> np.ndarray:
        """The cluster of each code, by the nearest centre: (M, C, 8) -> (M,)."""
        flat = code.reshape(len(code), -1)
        return np.asarray((np.square(self.centres).sum(axis=1) - 2 * flat @ self.centres.T).argmin(axis=1))

    def nearest_mean(self, code: np.ndarray) -> np.ndarray:
        """The mean of the nearest clean codes: (M, C, 8) -> the same."""
        distance = self._lengths - 2 * (code.reshape(len(code), -1) @ self.known.T)
        nearest = np.argpartition(distance, self.neighbours - 1, axis=1)[:, : self.neighbours]
        return np.asarray(self.known[nearest].mean(axis=1).reshape(code.shape))
