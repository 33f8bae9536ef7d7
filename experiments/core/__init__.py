"""The parts that all tasks share: training, comparing, runs, statistics."""
