"""Tools: what an agent may pick to repair a picture (a filter, a network, a codec, a function, a command)."""

from rlenhance.tools.base import TOOLKITS, TOOLS, Tool, toolkit
from rlenhance.tools.cache import ToolCache
from rlenhance.tools.command import Command
from rlenhance.tools.named import measure_cost, registered_tool, tool_of
from rlenhance.tools.opencv import OPENCV
from rlenhance.tools.own import own_tools
from rlenhance.tools.photo import PHOTO
from rlenhance.tools.rl_restore import rl_restore_tool

__all__ = [
    "OPENCV", "PHOTO", "TOOLKITS", "TOOLS", "Command", "Tool", "ToolCache", "measure_cost", "own_tools",
    "registered_tool", "rl_restore_tool", "tool_of", "toolkit",
]
