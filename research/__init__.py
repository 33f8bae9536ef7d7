"""Studies and comparisons behind the pages of results: not in the wheel."""
