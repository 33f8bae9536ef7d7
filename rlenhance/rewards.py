"""The former place of `rlenhance.learning.rewards`, for one more version."""

from rlenhance.core.torch_parts import moved

__getattr__ = moved("rlenhance.learning.rewards")
