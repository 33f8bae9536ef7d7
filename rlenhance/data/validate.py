"""A look at every file before the first step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from rlenhance.core.errors import UsageError
from rlenhance.data.examples import Example
from rlenhance.data.image_cache import ImageCache
from rlenhance.data.splits import Splits

_SHOWN = 20


def _fault(example: Example, cache: ImageCache) -> str | None:
    """What is wrong with an example, or None; decodes its files, which fills the cache."""
    try:
        sizes = [cache.info(path).size for path in example.paths]
    except UsageError as error:
        return str(error)
    if len(set(sizes)) > 1:
        (height, width), (other_height, other_width) = sizes[0], sizes[-1]
        return (f"{example.image}: {width}x{height}, but its reference {example.target} is "
                f"{other_width}x{other_height}")
    return None


def validate_splits(splits: Splits, cache: ImageCache, on_bad_image: str = "stop") -> tuple[Splits, list[str]]:
    """Decode every file once, and name each that is unreadable, unmatched or mis-sized.

    Args:
        on_bad_image: "stop" raises with the list; "skip" leaves those examples out.

    Returns:
        The splits without the bad examples, and a line for each of those.

    Raises:
        UsageError: on "stop", when there is a bad file; or when nothing is left of a split.
    """
    if on_bad_image not in ("stop", "skip"):
        raise UsageError(f"--on-bad-image is stop or skip; got {on_bad_image!r}")
    faults: list[str] = list(splits.unmatched)
    kept: dict[str, Sequence[Example]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, part in splits.parts.items():
            found = list(pool.map(lambda example: _fault(example, cache), part))
            faults += [fault for fault in found if fault]
            kept[name] = [example for example, fault in zip(part, found, strict=True) if not fault]
    if faults and on_bad_image == "stop":
        shown = "\n  ".join(faults[:_SHOWN])
        rest = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise UsageError(f"{splits.source}: {len(faults)} bad files:\n  {shown}{rest}\n"
                         f"mend them, or leave them out with --on-bad-image skip")
    for name in ("train", "val"):
        if not kept[name]:
            raise UsageError(f"{splits.source}: no usable picture is left in the {name} split")
    return replace(splits, train=kept["train"], val=kept["val"], test=kept["test"], unmatched=()), faults
