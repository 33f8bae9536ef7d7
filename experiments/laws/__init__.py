"""The laws of registered parts: of the project's own in its tests, of a user's by `experiments.check_plugin`."""

from rlenhance.experiments.laws import actions, backbones, learners, models, rewards, tools
from rlenhance.experiments.laws.law import LAWS, Law, LawBroken, cases

__all__ = ["LAWS", "Law", "LawBroken", "actions", "backbones", "cases", "learners", "models", "rewards", "tools"]
