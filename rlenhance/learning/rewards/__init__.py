"""Rewards: terms, each a cost map of its own size, and the weights that the user gives them."""

from rlenhance.learning.rewards import terms
from rlenhance.learning.rewards.base import TERMS, RewardTerm, Transition, action_term, state_term
from rlenhance.learning.rewards.custom import load_terms
from rlenhance.learning.rewards.reward import Reward, resize_map, term_means
from rlenhance.learning.rewards.weights import RewardWeights

__all__ = [
    "TERMS", "Reward", "RewardTerm", "RewardWeights", "Transition", "action_term", "load_terms", "resize_map",
    "state_term", "term_means", "terms",
]
