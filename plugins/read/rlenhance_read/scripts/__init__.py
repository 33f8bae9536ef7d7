"""Commands for maintainers: the shipped policy, and the gate against noise."""
