"""Random actions of any action set."""

import torch


def action_shapes(actions, count, height, width):
    """The shape of each entry of an action."""
    return {level: (count, actions.heads, *actions.grid(level, height, width)) for level in actions.levels}


def random_action(actions, image, generator):
    """Any action that an agent may choose."""
    shapes = action_shapes(actions, image.shape[0], *image.shape[-2:])
    if actions.choices is None:
        return {level: torch.rand(shape, generator=generator) * 2 - 1 for level, shape in shapes.items()}
    return {level: torch.randint(actions.choices, shape, generator=generator) for level, shape in shapes.items()}
