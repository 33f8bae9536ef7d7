"""The plugins of the page on parts of one's own."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own_parts.md"


def page_files():
    """Name of the file -> its text, as the page has it."""
    block = re.compile(r"^## [^\n]*: (\w+\.py)\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return dict(block.findall(PAGE.read_text()))
