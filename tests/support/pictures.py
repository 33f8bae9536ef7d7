"""Made-up pictures that several rooms of tests use."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from rlenhance.learning.data import Batch, parse_noise
from rlenhance.ops.masks import MASK_GENERATORS


def smooth(count, size, generator):
    """Smooth pictures."""
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    return F.interpolate(coarse, size, mode="bicubic", align_corners=True).clamp(0, 1)


def room(seed=0, height=96, width=96):
    """A bright picture with edges and some grain, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(60, 230, (5, 5, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    soft[height // 2 :, : width // 3] //= 2
    return np.clip(soft + rng.normal(0, 4, soft.shape), 40, 255).astype(np.uint8)


def square(height=96, width=96, top=20, left=30, side=28):
    mask = np.zeros((height, width), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def holed(count=2, size=24, seed=0):
    """A batch whose holes are black, with originals."""
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    target = torch.rand(count, 3, size, size, generator=generator) * 0.8 + 0.1
    masks = [MASK_GENERATORS["square"](size, size, rng) for _ in range(count)]
    mask = torch.from_numpy(np.stack(masks))[:, None].float()
    return Batch(target * (1 - mask), target, mask)


def scene(seed=0, size=(48, 56)):
    """A grey picture of flat parts and edges, (H, W) uint8."""
    coarse = np.random.default_rng(seed).integers(40, 216, (-(-size[0] // 8), -(-size[1] // 8)))
    return np.kron(coarse, np.ones((8, 8)))[: size[0], : size[1]].astype(np.uint8)


def noisy(count=2, level="25", size=(24, 32), planes=1):
    """Scenes with noise, and without."""
    noise = parse_noise(level)
    clean = [np.repeat(scene(index, size)[:, :, None], planes, axis=2) for index in range(count)]
    return Batch(*(torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2).float() for part in (
        [noise(picture, np.random.default_rng(index)) for index, picture in enumerate(clean)],
        [picture / 255 for picture in clean])))
