"""What training costs, measured side by side in one run: `python -m benchmarks` (docs/results/benchmarks.md)."""
