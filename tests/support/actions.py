"""Random actions of any action set."""

import torch


def action_shapes(actions, count, height, width):
    """The shape of each entry of an action."""
    return {level: (count, actions.action_dim, *actions.agent_grid(level, height, width)) for level in actions.scopes}


def random_action(actions, image, generator):
    """Any action that an agent may choose."""
    shapes = action_shapes(actions, image.shape[0], *image.shape[-2:])
    if actions.num_choices is None:
        return {level: torch.rand(shape, generator=generator) * 2 - 1 for level, shape in shapes.items()}
    return {level: torch.randint(actions.num_choices, shape, generator=generator) for level, shape in shapes.items()}
