"""The compiled part of the package, which setup.py makes of the C files in rlenhance/engine."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from typing import Any

_NEWEST = "shrink_band"  # a function that libraries compiled from earlier versions of the files are without


@cache
def compiled_functions() -> Any:
    """The functions, which leave the interpreter free while they work; None where the package was installed without a C
    compiler: then NumPy does the same, many times slower."""
    spec = find_spec("rlenhance.engine._compiled")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    return library if hasattr(library, _NEWEST) else None
