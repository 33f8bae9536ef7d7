"""Networks that act: policies, unrolled policies, and the supervised baseline.

A *model* is one thing everywhere: `(image, mask=None, preference=None) -> image`.
"""

from rlenhance.models.base import MODELS, Model, Policy, as_model
from rlenhance.models.policy import Observation, PixelPolicy, observe
from rlenhance.models.restorer import Restorer
from rlenhance.models.unrolled import Episode, UnrolledPolicy

__all__ = [
    "MODELS", "Episode", "Model", "Observation", "PixelPolicy", "Policy", "Restorer", "UnrolledPolicy", "as_model",
    "observe",
]
