"""JSON that is read: one strict reader with limits of size and depth, and ranges of the numbers in stored settings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rlenhance.core.errors import UnknownName, UsageError

#: Limits of a file: bytes, and lists and objects inside each other.
MAX_BYTES, MAX_DEPTH = 4 << 20, 48
_MAX_INTEGER = 2**63  # the largest that files of safetensors, numpy and torch take
#: Entries of a list or object.
MAX_ENTRIES = 256
#: Setting -> lowest and highest value; of a list, of its entries. Others lie within `OTHER`: a config.json from
#: elsewhere must not ask for more than a machine has. What is saved is checked
#: too, so that what was trained can be loaded.
RANGES: Mapping[str, tuple[float, float]] = {
    "width": (1, 2048), "widths": (1, 2048), "generator_width": (1, 2048), "channels": (1, 256), "context": (0, 4096),
    "stride": (1, 64), "strides": (1, 256), "agent_stride": (0, 256), "dilations": (1, 64), "looks": (1, 32),
    "blocks": (0, 128), "down": (0, 64), "up": (0, 64), "layers": (1, 128), "curves": (1, 64), "block": (1, 256),
    "overlap": (0, 256), "latent_dim": (1, 4096), "codes": (1, 65_536), "groups": (1, 1024), "axes": (0, 256),
    "neighbours": (1, 256), "parts": (0, 64), "horizon": (1, 1000), "num_passes": (1, 100), "num_tta_views": (1, 8),
    "decision_size": (8, 4096), "train_size": (8, 4096), "num_bins": (2, 1024), "scale": (1, 16),
    "lead_channel": (0, 2), "own_shares": (0, 1), "receptive_radius": (0, 100_000),
    "batch_size": (0, 65_536), "crop": (1, 16_384), "side": (1, 65_536), "devices": (1, 1024), "workers": (0, 1024),
    "update_epochs": (1, 1000), "codebook_size": (1, 65_536), "clusters": (1, 1024), "recursions": (0, 1000),
}
#: Of all other settings.
OTHER = (-1e12, 1e12)


def read_json(path: Path, *, max_bytes: int = MAX_BYTES, finite: bool = True) -> Any:
    """The value in a JSON file.

    Args:
        path: the file.
        max_bytes: of the file; Python's values take about 25 times as much.
        finite: refuse NaN and infinity, which JSON does not have and Python writes.

    Raises:
        UsageError: the file cannot be read, is larger or deeper than the limits, or is no JSON; it has a key twice, a
            number that is not finite or beyond 64 bits, or a text that is no Unicode or holds NUL.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: cannot be read (not a file)")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > max_bytes:
        raise UsageError(f"{path}: larger than {max_bytes:,} bytes, the limit of such a file; take another copy of it")
    return parse_json(data, path, finite=finite)


def parse_json(data: bytes | str, source: Path | str, *, finite: bool = True) -> Any:
    """The value of a JSON text; see `read_json`.

    Args:
        data: the text; bytes are UTF-8.
        source: what messages begin with.
        finite: refuse NaN and infinity, and texts with NUL; state of our own may hold them.
    """
    def refuse(problem: str) -> NoReturn:
        raise UsageError(f"{source}: {problem}")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            seen: set[str] = set()
            twice = next(name for name, _ in items if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            refuse(f"{twice!r:.60} is given twice; keep one")
        return found

    try:
        found = json.loads(data.decode() if isinstance(data, bytes) else data, object_pairs_hook=pairs)
    except UsageError:
        raise
    except RecursionError:
        refuse(f"not a JSON file (more than {MAX_DEPTH} lists and objects inside each other)")
    except ValueError as error:
        raise UsageError(f"{source}: not a JSON file ({error})") from error
    _check(found, refuse, nul=not finite)
    if finite:
        check_finite(found, source)
    return found


def _check(value: Any, refuse: Callable[[str], NoReturn], nul: bool) -> None:
    """Check the depth of a value and its texts, without recursion."""
    level = [("the number", value)]
    for _ in range(MAX_DEPTH + 1):
        for name, item in level:
            if isinstance(item, str) and not item.isascii() and any("\ud800" <= sign <= "\udfff" for sign in item):
                refuse(f"the text {item!r:.60} is no Unicode")
            if isinstance(item, str) and "\0" in item and not nul:
                refuse(f"the text {item!r:.60} holds a NUL")
            if isinstance(item, int) and abs(item) >= _MAX_INTEGER:
                refuse(f"{name:.60} must be a number of 64 bits at most; got one of {len(str(abs(item)))} digits")
        inside = [(name, item) for name, item in level if isinstance(item, dict | list)]
        if not inside:
            return
        level = []
        for name, item in inside:
            level += [("the number", key) for key in item] if isinstance(item, dict) else []
            level += item.items() if isinstance(item, dict) else ((name, part) for part in item)
    refuse(f"not a JSON file (more than {MAX_DEPTH} lists and objects inside each other)")


def read_object(path: Path, keys: Iterable[str] | None = None, *, max_bytes: int = MAX_BYTES,
                finite: bool = True) -> dict[str, Any]:
    """A JSON object; see `read_json`.

    Args:
        path: the file.
        keys: those that are allowed; None: all.
        max_bytes, finite: see `read_json`.

    Raises:
        UsageError: see `read_json`; or it is not an object, or has a key that is unknown.
    """
    found = read_json(path, max_bytes=max_bytes, finite=finite)
    if not isinstance(found, dict):
        raise UsageError(f"{path}: must hold an object, {{...}}; got {found!r:.60}")
    known = list(found if keys is None else keys)
    for key in found:
        if key not in known:
            raise UsageError(f"{path}: {UnknownName('key', key, known)}")
    return found


def check_finite(value: Any, source: Path | str) -> None:
    """Refuse NaN and infinity in a part of a file that was read with `finite=False`."""
    parts: list[tuple[str, Any]] = [("the number", value)]
    while parts:
        name, item = parts.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise UsageError(f"{source}: {name:.60} must be finite; got {item}")
        if isinstance(item, dict):
            parts += item.items()
        elif isinstance(item, list):
            parts += ((name, inner) for inner in item)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of the file before the message of a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def text(key: str, value: Any) -> str:
    """Check that a value is a string; else a UsageError names key and value."""
    if not isinstance(value, str):
        raise UsageError(f"{key} must be a text in quotes; got {value!r:.60}")
    return value


def check_stored(name: str, value: Any) -> None:
    """Check the numbers in a stored setting, and the lengths of its lists.

    Args:
        name: of the setting.
        value: a number, or lists and objects with numbers; anything else passes.

    Raises:
        UsageError: names setting, value and range.
    """
    low, high = RANGES.get(name, OTHER)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (math.isfinite(value) and low <= value <= high):
            raise UsageError(f"{name:.60} must lie in [{low:,.10g}, {high:,.10g}]; got {value}")
    elif isinstance(value, list | tuple | Mapping):
        if len(value) > MAX_ENTRIES:
            raise UsageError(f"{name:.60} must have at most {MAX_ENTRIES} entries; got {len(value):,}")
        for item in value.items() if isinstance(value, Mapping) else ((name, item) for item in value):
            check_stored(*item)
