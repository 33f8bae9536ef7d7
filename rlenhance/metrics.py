"""The former place of `rlenhance.learning.metrics`, for one more version."""

from rlenhance.core.torch_parts import moved

__getattr__ = moved("rlenhance.learning.metrics")
