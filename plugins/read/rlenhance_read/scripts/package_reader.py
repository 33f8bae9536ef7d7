"""Write a policy that reads as plain arrays, which `rlenhance read` takes without torch:
`python -m rlenhance_read.scripts.package_reader RUN`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.hub.shipped import locate
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance_read.learning.policy import ReadPolicy
from rlenhance_read.ocr.filters import CHAINS
from rlenhance_read.ocr.planner import POLICY


@dataclass(frozen=True)
class Arguments:
    """Write a run's best policy as the arrays that come with the package."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run of `rlenhance_read.train` with a range of prices."""
    out: Path = POLICY
    """The file."""


def main(arguments: Arguments) -> Path:
    """Write the arrays; weights are kept in 16 bits.

    Raises:
        UsageError: a run of another kind, or of other chains.
    """
    policy = load_network(locate(str(arguments.run)))
    if not isinstance(policy, ReadPolicy) or not len(policy.preferences):
        raise UsageError(f"{arguments.run}: no policy of rlenhance_read.train with a range of prices")
    if policy.tools != tuple(map(str, CHAINS)):
        raise UsageError(f"{arguments.run}: chooses among other chains than those of now; train it again")
    layers: list[Any] = [policy.hidden[0], policy.hidden[3], policy.scores]
    weights = {f"{part}{number}": tensor for number, layer in enumerate(layers)
               for part, tensor in (("w", layer.weight), ("b", layer.bias))}
    arrays: dict[str, Any] = {
        **{name: tensor.detach().numpy().astype(np.float16) for name, tensor in weights.items()},
        "center": policy.center.numpy(), "spread": policy.spread.numpy(),
        "prices": np.array(policy.preferences.ranges["price"]),
        "filters": np.array([" ".join(chain.filters) for chain in CHAINS]),
        "layouts": np.array([chain.layout for chain in CHAINS])}
    np.savez_compressed(arguments.out, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    return arguments.out


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))
