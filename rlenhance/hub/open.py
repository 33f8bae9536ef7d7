"""Networks behind one interface of NumPy arrays: without torch where that serves, and with it elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.installation import install_line
from rlenhance.core.torch_parts import torch_part
from rlenhance.hub.info import CONFIG, MODEL, check_digests, find_checkpoint, read_config, read_info, read_weights


def open_network(folder: Path | str, device: str = "cpu") -> Any:
    """The network of a checkpoint for NumPy arrays.

    On a CPU it is computed without torch where the engine knows it: `rlenhance.engine`. Networks that it does not know
    (of runs that were not exported, of plugins), and other devices, are computed by torch: see
    `rlenhance.learning.hub.torch_network.TorchNetwork`, which has the same interface.

    Args:
        folder: see `find_checkpoint`.
        device: its name.

    Raises:
        UsageError: there is no checkpoint, or it is damaged; or torch is needed and missing.
    """
    folder = find_checkpoint(folder)
    if device == "cpu" and (network := _engine_network(folder)) is not None:
        return network
    try:
        opened = torch_part("network")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        why = f"the device {device}" if device != "cpu" else "this model, which has no export for use without it,"
        raise UsageError(f"{folder}: torch is not installed, and {why} needs it: {install_line('train')}") from error
    return opened(folder, device)


def _engine_network(folder: Path) -> Any:
    """The network as the engine computes it; None where it does not."""
    config = read_config(folder)
    spec = config.get("model")
    if config["format"] == 1 or config.get("plugins") or not isinstance(spec, Mapping):
        return None
    try:
        read_info(folder)  # every number of the spec is checked: nothing below asks for more than a machine has
        check_digests(folder, config, (MODEL,))
        opener = direct_opener(spec)
        if opener is not None:
            return opener(spec, read_weights(folder))
        from rlenhance.engine.networks import load

        return load(folder, config, read_weights(folder))
    except (UsageError, KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        if find_spec("torch") is None:  # which says more exactly what is wrong
            if isinstance(error, UsageError) and str(folder) in str(error):
                raise error from None
            raise UsageError(f"{folder / CONFIG}: its model cannot be built ({one_line(error, 400)})") from error
        return None


def direct_opener(spec: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], Any] | None:
    """What makes a network that the engine computes without an export, of its spec and weights; None for others.

    Modules are imported as they are needed: a photograph waits for none of another network.
    """
    if spec.get("name") == "tool_gains":
        from rlenhance.engine.tool_gains import ToolGains

        return ToolGains
    if spec.get("name") == "bracket_values":
        from rlenhance.engine.bracket_network import BracketNetwork

        return BracketNetwork
    if spec.get("name") == "prior":
        from rlenhance.engine.completion import ResidualCompletion

        return ResidualCompletion
    from rlenhance.engine.episode import CompactEpisode, CompactPolicy

    if CompactPolicy.supports(spec):
        return lambda spec, weights: CompactEpisode(CompactPolicy(spec, weights))
    return None
