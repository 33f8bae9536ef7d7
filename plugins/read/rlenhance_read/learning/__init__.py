"""Rendered scenes with text, the environment in which they are read, policies, and what these are compared with."""
