"""Measure `rlenhance restore` on held-out photographs: `python -m experiments.photo_restore_compare --data photos`."""

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.photo_restore_compare import Config, main

if __name__ == "__main__":
    raise SystemExit(run_cli(main, Config))
