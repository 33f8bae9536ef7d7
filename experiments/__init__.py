"""Recipes, the one training loop, comparisons: what is published."""

from rlenhance.core.installation import TRAINING, require_extra

require_extra("train", TRAINING, "training")
