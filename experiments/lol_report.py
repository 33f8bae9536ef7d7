"""Is reinforcement learning worth it on these pictures? `python -m experiments.lol_report --data DIR`."""

from experiments.core.cli import run_cli
from experiments.tasks.lowlight_report import LowLightReportConfig, report

if __name__ == "__main__":
    raise SystemExit(run_cli(report, LowLightReportConfig, prog="experiments.lol_report"))
