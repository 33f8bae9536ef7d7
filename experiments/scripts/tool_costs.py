"""Measure what tools cost: `python -m experiments.scripts.tool_costs --rl-restore DIR`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.learning.models.published.rl_restore import RL_RESTORE
from rlenhance.tools import TOOLS, Tool, measure_cost, rl_restore_tool, tool_of
from rlenhance.tools.base import COSTS, measured_costs


def main(rl_restore: Path | None = None, out: Path = COSTS, tool: tuple[str, ...] = (),
         side: int = 768) -> dict[str, float]:
    """Measure the seconds of processor time per megapixel of tools on one thread, and keep them as the figures that
    prices and budgets use.

    A picture of 0.59 megapixels with gradients, edges and noise goes through each tool: once to load it, then three
    times; the smallest time counts.

    Args:
        rl_restore: Folder of RL-Restore's tools, which are left as they are without it.
        out: The file of the figures; tools that are not measured keep theirs.
        tool: Measure and print these alone, and write nothing: names, module:function, or commands with {in}
            and {out}.
        side: Pixels along the picture.
    """
    torch.set_num_threads(1)
    if tool:
        tools: list[Tool] = [tool_of(text, path=rl_restore) for text in tool]
    else:
        tools = [tool_of(name) for name in TOOLS if name not in RL_RESTORE]
        if rl_restore:
            tools += [rl_restore_tool(number, rl_restore) for number in range(1, len(RL_RESTORE) + 1)]
    found = {tool.name: float(f"{measure_cost(tool, side):.3g}") for tool in tools}
    rows = [[tool.name, tool.label, f"{found[tool.name]:.3g}", "all" if tool.radius is None else str(tool.radius)]
            for tool in tools]
    print("\n".join(markdown_table(["tool", "what it does", "s/MP", "radius"], rows)))
    if not tool:
        kept = {**measured_costs(), **found}
        out.write_text(json.dumps({name: kept[name] for name in sorted(kept)}, indent=1) + "\n")
    return found


if __name__ == "__main__":
    sys.exit(run_cli(main))
