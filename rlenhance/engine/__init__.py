"""Inference without torch: what photographs need of the trained models, in NumPy, OpenCV and compiled C.

The torch modules are the definition. The engine reads their weights, or a graph that was exported from them, and tests
hold its results to theirs.
"""
