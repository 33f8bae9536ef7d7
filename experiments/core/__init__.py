"""What all experiments share: training, comparing, runs, statistics."""
