"""rlenhance: enhance pictures by reinforcement learning.

Every pixel (or cell of a coarser grid) is an agent that bends its tone curve step by step; the user weights the reward.

    >>> import rlenhance
    >>> rlenhance.__version__
    '0.1.0'
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Loaded on first use: the command's help must not wait three seconds for torch.
_HOMES = {
    "Batch": "rlenhance.data",
    "Enhancer": "rlenhance.pipelines.enhance",
    "Reward": "rlenhance.rewards",
    "RewardWeights": "rlenhance.rewards",
    "load_model": "rlenhance.hub.checkpoint",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rlenhance' has no attribute {name!r}; it offers {', '.join(__all__)}")
