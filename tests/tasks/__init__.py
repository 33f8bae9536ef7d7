"""Laws of the experiments."""
