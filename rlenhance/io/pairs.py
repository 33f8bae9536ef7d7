"""Pairs of files by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

#: The part that a file plays in its pair, before the number that both share: train_00001.png beside gt_00001.png.
_PREFIX = re.compile(r"^(low|high|normal|input|gt|target|train|val|test|noisy|clean)[ _-]?(?=\d)", re.IGNORECASE)
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
#: What two files of a pair share, the strictest first: the name, the name without its part, and without leading zeros.
_SHARED: tuple[Callable[[str], str], ...] = (
    str, lambda stem: _PREFIX.sub("", stem), lambda stem: _ZEROS.sub("", _PREFIX.sub("", stem)))


def pair_files(inputs: Sequence[Path], targets: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pair the files of two folders by name: equal names first, then `train_1` with `gt_1`, then `1` with `00001`.

    Args:
        inputs, targets: in the order of their names.

    Returns:
        The pairs in the order of the inputs, and a line for each file that has no partner, or the same as another.
    """
    found: dict[Path, Path] = {}
    rest = [list(inputs), list(targets)]
    for shared in _SHARED:
        theirs = {shared(path.stem): path for path in reversed(rest[1])}  # the first of a name
        for path in rest[0]:
            if partner := theirs.pop(shared(path.stem), None):
                found[path] = partner
        rest = [[path for path in rest[0] if path not in found],
                [path for path in rest[1] if path not in set(found.values())]]
    lines: list[list[str]] = []
    for part, whole, others in ((rest[0], list(found), targets), (rest[1], list(found.values()), inputs)):
        taken = {_SHARED[-1](path.stem): path for path in whole}
        twins = [taken.get(_SHARED[-1](path.stem)) for path in part]
        missing = f"no picture of that name in {others[0].parent if others else 'the other folder'}"
        lines.append([f"{path}: {f'pairs by the same name as {twin}' if twin else missing}"
                      for path, twin in zip(part, twins, strict=True)])
    both = [line for pair in zip_longest(*lines) for line in pair if line]  # the first ones show both ways of naming
    return [(path, found[path]) for path in inputs if path in found], both
