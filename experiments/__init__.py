"""Recipes, the one training loop, comparisons: what is published."""
