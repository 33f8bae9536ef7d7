"""Measures of a picture: full-reference, completion, blocking, style."""
