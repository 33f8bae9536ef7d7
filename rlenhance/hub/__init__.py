"""Checkpoints: saving, loading, and the models that are shipped."""
