"""Reading text in photographs: the command `rlenhance read`, the environment `rlenhance/Read-v0`, and their training.

Only `rlenhance_read.learning` and what trains (`train`, `compare`, `scripts`) import torch.
"""
