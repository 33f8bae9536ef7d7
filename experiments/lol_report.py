"""Is reinforcement learning worth it on these pictures? `python -m experiments.lol_report --data DIR`."""

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.lowlight_report import LowLightReportConfig, report

if __name__ == "__main__":
    raise SystemExit(run_cli(report, LowLightReportConfig, prog="rlenhance.experiments.lol_report"))
