"""Looks that are learned: from pairs of pictures before and after, or from a few picks."""
