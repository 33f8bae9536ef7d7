"""Made-up data folders: pairs, SIDD's layout, TFRecord files."""

import struct
from pathlib import Path

import numpy as np
import torch
from scipy.io import savemat

from rlenhance.io import write
from rlenhance.learning.data.tfrecords import masked_crc

NOISY, CLEAN = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"


def make_sidd(folder, scenes=4, instances=2, shots=("010", "011"), small=False, size=(24, 30)):
    """Scene instances as SIDD_Medium has them (`small`: names without the instance's number, as SIDD_Small)."""
    rng = np.random.default_rng(0)
    number = 0
    for scene in range(1, scenes + 1):
        for _ in range(instances):
            number += 1
            home = folder / f"{number:04d}_{scene:03d}_S6_00100_00060_3200_L"
            for shot in shots:
                clean = rng.integers(40, 200, (*size, 3), dtype=np.uint8)
                noisy = np.clip(clean + 20 * rng.standard_normal(clean.shape), 0, 255).astype(np.uint8)
                lead = "" if small else f"{number:04d}_"
                write(clean, home / f"{lead}GT_SRGB_{shot}.png")
                write(noisy, home / f"{lead}NOISY_SRGB_{shot}.png")
    return folder


def make_blocks(folder, pictures=3, blocks=2, side=16, **options):
    """Both .mat files, and what is in them."""
    rng = np.random.default_rng(1)
    clean = rng.integers(0, 256, (pictures, blocks, side, side, 3), dtype=np.uint8)
    noisy = clean // 2 + 30
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"{NOISY}.mat", {NOISY: noisy}, **options)
    savemat(folder / f"{CLEAN}.mat", {CLEAN: clean}, **options)
    return noisy, clean


def make_pairs(folder: Path, scenes: int = 6, size: tuple[int, int] = (40, 48)) -> Path:
    """A folder with low/ and high/: `scenes` scenes of two frames each, dark beside bright."""
    rng = np.random.default_rng(0)
    for scene in range(scenes):
        coarse = rng.uniform(0.1, 0.9, (4, 4, 3)).astype(np.float32)
        bright = np.clip(np.kron(coarse, np.ones((size[0] // 4, size[1] // 4, 1), np.float32)), 0, 1)
        for frame in range(2):
            dark = bright * (0.2 + 0.1 * frame)
            name = f"s{scene:03d}_{frame:04d}.png"
            write((bright * 255).astype(np.uint8), folder / "high" / name)
            write((dark * 255).astype(np.uint8), folder / "low" / name)
    return folder


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def message(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(picture, packed=True, label=None, shape=None, data=None):
    """A tf.train.Example of a picture (H, W, 3), serialised as CelebA-HQ has it."""
    shape = (3, *picture.shape[:2]) if shape is None else shape
    numbers = b"".join(map(varint, shape))
    shape_list = message(1, numbers) if packed else b"".join(varint(1 << 3) + varint(n) for n in shape)
    data = picture.transpose(2, 0, 1).tobytes() if data is None else data
    features = {"data": message(1, message(1, data)), "shape": message(3, shape_list)}
    if label is not None:
        features["label"] = message(3, message(1, varint(label)))
    return message(1, b"".join(message(1, message(1, name.encode()) + message(2, f)) for name, f in features.items()))


def framed(data):
    """One record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def faces(count, seed=0, side=16):
    """Made-up pictures."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def make_records(path, pictures, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(framed(example(picture, **options)) for picture in pictures))
    return path


def noise_picture(seed, size=(20, 24)):
    """A picture of nothing but noise, (H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def assert_same_batch(one, other):
    """Pictures and references are equal, bit by bit."""
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.target, other.target)
