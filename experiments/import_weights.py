"""Published weights as runs: `python -m experiments.import_weights rellie model.npz -o runs/rellie`."""

from __future__ import annotations

import sys

from experiments.core.cli import run_cli
from experiments.scripts.import_weights import Arguments, main

if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))
