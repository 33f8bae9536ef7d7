"""The folder of the completion projects with made-up bedrooms: black boxes in pairs, and a test without originals."""

import cv2
import numpy as np

from rlenhance.io import write

BOXES = ((10, 12, 40, 40), (60, 56, 50, 50))  # top, left, height, width of two boxes in 112 x 112 pixels


def bedroom(seed=0, side=112):
    """A bright picture with edges and grain, (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(70, 230, (5, 5, 3), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft + rng.normal(0, 4, soft.shape), 50, 255).astype(np.uint8)


def boxes(*places, side=112):
    mask = np.zeros((side, side), bool)
    for top, left, height, width in places:
        mask[top : top + height, left : left + width] = True
    return mask


def occlude(picture, mask, quality=90):
    """Painted black, and coded as JPEG."""
    painted = np.where(mask[..., None], 0, picture).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", painted, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def make_bedrooms(folder):
    """train/occluded_images, train/original_images, and occluded_test/ without originals; two boxes in each picture."""
    root, mask = folder / "dataset", boxes(*BOXES)
    for index in range(8):
        picture = bedroom(index)
        write(picture, root / "train/original_images" / f"bed_{index}.png")
        write(occlude(picture, mask), root / "train/occluded_images" / f"occluded_bed_{index}.png")
    for index in range(8, 10):
        write(occlude(bedroom(index), mask), root / "occluded_test" / f"occluded_bed_{index}.png")
    return root
