"""Agents of other libraries on one problem whose best return is known: `python -m benchmarks.outside`."""
