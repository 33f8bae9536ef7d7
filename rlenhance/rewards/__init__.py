"""What "better" means: terms, each a map of its own size, and the weights the user puts on them."""

from rlenhance.rewards import action_terms, holes, no_reference, patches, reference
from rlenhance.rewards.base import TERMS, Term, Transition, action_term, state_term
from rlenhance.rewards.custom import load_terms
from rlenhance.rewards.reward import Reward, resize_map
from rlenhance.rewards.weights import RewardWeights

__all__ = [
    "TERMS", "Reward", "RewardWeights", "Term", "Transition", "action_term", "action_terms", "holes",
    "load_terms", "no_reference", "patches", "reference", "resize_map", "state_term",
]
