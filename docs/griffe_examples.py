"""For mkdocstrings: the doctests below "Example:" are shown as code."""

import re
from typing import Any

import griffe


class ShowExamples(griffe.Extension):
    """Gives the section the name that the parser of docstrings knows."""

    def on_object(self, *, obj: griffe.Object, **others: Any) -> None:
        """Called once for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
