"""Pictures with noise, and what they were without it."""

from __future__ import annotations

from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.data.clean import open_clean
from rlenhance.data.examples import Example
from rlenhance.data.folders import open_dataset
from rlenhance.data.noise import Noise, parse_noise
from rlenhance.data.samples import sample_photographs
from rlenhance.data.splits import Splits

#: The word for noise that pairs bring with them.
REAL = "real"


def noise_of(text: str, eight_bit: bool = False) -> Noise | None:
    """What `parse_noise` makes of the words, or None where pairs bring their own."""
    return None if text == REAL else parse_noise(text, eight_bit)


def open_noisy(folder: Path | str | None, noise: str, eight_bit: bool = False) -> Splits:
    """The splits of a denoising experiment.

    Args:
        folder: good pictures, or pairs; None: the sample photographs in their roles.
        noise: see `parse_noise`; or "real": pairs (input/ and gt/, low/ and high/) are taken as they are.
        eight_bit: noisy pictures are clipped and rounded as a file has them.

    Raises:
        UsageError: noise that cannot be; "real" without pairs; see `open_clean`.
    """
    made = noise_of(noise, eight_bit)
    if made is None:
        if folder is None:
            raise UsageError(f"noise {REAL!r} is what pairs bring with them: name their folder, with input/ (noisy) "
                             f"and gt/ (clean)")
        splits = open_dataset(folder)
        if not splits.has_references:
            raise UsageError(f"{folder}: noise {REAL!r} needs pairs, input/ (noisy) and gt/ (clean); for good pictures "
                             f"alone name the noise to make, as in 25")
        return splits
    if folder is not None:
        return open_clean(folder, made)
    found = sample_photographs()
    train, val = ([Example(name, name, None, path, made) for name, path in {e.scene: e.target for e in part}.items()]
                  for part in (found.train, found.val))
    return Splits(train, val, (), "sample photographs (a demonstration on four photographs)")
