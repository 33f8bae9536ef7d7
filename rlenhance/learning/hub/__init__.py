"""Checkpoints of torch modules: saved, loaded, exported, and computed by torch."""
