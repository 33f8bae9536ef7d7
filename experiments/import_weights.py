"""Published weights as runs: `python -m experiments.import_weights rellie model.npz -o runs/rellie`."""

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.scripts.import_weights import main

if __name__ == "__main__":
    raise SystemExit(run_cli(main))
