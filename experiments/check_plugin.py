"""Check user-defined parts against the laws of the project: `python -m experiments.check_plugin my_module.py`."""

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.scripts.check_plugin import check

if __name__ == "__main__":
    raise SystemExit(run_cli(check))
