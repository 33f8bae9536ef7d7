"""Tools before reading: networks and filters for photographs in the chains of `rlenhance_read.ocr`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.tools.base import TOOLS, Tool
from rlenhance.tools.named import registered_tool
from rlenhance_read.ocr.engines import LAYOUTS
from rlenhance_read.ocr.filters import FILTERS, ReadChain, grey_of


class ToolFilter:
    """A tool as a filter of text. Before every filter that is grey it sees the colours.

    Args:
        tool: for photographs.

    Attributes:
        version: of the tool; readings of other versions are others.
    """

    def __init__(self, tool: Tool):
        self.tool, self.version = tool, tool.version

    def __call__(self, grey: np.ndarray) -> np.ndarray:
        """(H, W) uint8 -> (H, W) uint8."""
        return grey_of(self.on_color(np.repeat(grey[:, :, None], 3, axis=2)))

    def on_color(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8, RGB -> the same."""
        return np.rint(255 * self.tool(picture.astype(np.float32) / 255)).astype(np.uint8)


def read_chain(text: str | ReadChain) -> ReadChain:
    """The chain that a text names: filters (`rlenhance_read.ocr.filters.FILTERS`) and tools (`rlenhance.tools.TOOLS`)
    in order, and behind a comma how the engine is to look for text.

    Args:
        text: "brighten denoise-measured tophat, sparse"; as `str(chain)` has it, with > between them, too.

    Raises:
        UnknownName: there is no such filter or tool, or no such layout.

    Example:
        >>> read_chain("dark-on-light > denoise-coded-8 > tophat, sparse").layout
        'sparse'
        >>> str(read_chain("as it is"))
        'as it is'
    """
    if isinstance(text, ReadChain):
        chain = text
    else:
        words, _, layout = text.partition(",")
        names = words.replace(">", " ").split()
        chain = ReadChain(() if names in ([], ["as", "it", "is"]) else tuple(names), layout.strip() or "block")
    if chain.layout not in LAYOUTS:
        raise UnknownName("layout", chain.layout, LAYOUTS)
    add_tools(chain.filters)
    return chain


def read_chains(texts: Iterable[str | ReadChain]) -> tuple[ReadChain, ...]:
    """The chains that texts name, each once.

    Raises:
        UsageError: one is named twice; see `read_chain`.
    """
    chains = tuple(map(read_chain, texts))
    twice = next((str(chain) for place, chain in enumerate(chains) if chain in chains[:place]), None)
    if twice is not None:
        raise UsageError(f"the way to read {twice!r} is named twice; leave one out")
    return chains


def add_tools(names: Sequence[str]) -> None:
    """Make filters of those names that are tools.

    Raises:
        UnknownName: a name is neither.
    """
    for name in names:
        if name not in FILTERS:
            if name not in TOOLS:
                raise UnknownName("filter or tool", name, [*FILTERS, *TOOLS])
            FILTERS[name] = ToolFilter(registered_tool(name))
