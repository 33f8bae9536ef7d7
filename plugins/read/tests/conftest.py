"""What all tests share: one thread, an engine and fonts that are on every machine."""

import os

for _name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before torch is imported
    os.environ.setdefault(f"{_name}_NUM_THREADS", "1")


import pytest  # noqa: E402

from made_up_reading import ENGINE  # noqa: E402
from rlenhance_read.learning.rendered_text import bundled_fonts  # noqa: E402


@pytest.fixture(autouse=True)
def _no_engine_is_needed(monkeypatch):
    """Where no engine is named, a made-up one reads, and fonts are those that are everywhere: the same on all machines.
    """
    monkeypatch.setattr("rlenhance_read.learning.scenes.default_engine", lambda first: ENGINE)
    monkeypatch.setattr("rlenhance_read.learning.env.find_fonts", bundled_fonts)
