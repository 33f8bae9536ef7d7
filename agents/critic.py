"""Action values as maps: Q of each agent's action, given its neighbours' actions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.actions import Action
from rlenhance.learning.models.policy import Observation, PixelPolicy, backbone_input, global_head, resample_to_agents
from rlenhance.learning.nn.backbones import BACKBONES, Backbone


class Critic(nn.Module):
    """Q maps, one per scope of agents: scope -> (N, 1, 1, 1) or (N, 1, h, w).

    Local actions enter as planes beside the image, so that a convolution sees the neighbours'; the global action
    enters with the context.

    Args:
        policy: whose actions are valued; it gives the action set and the context.
        backbone: name of a backbone that carries no state.
    """

    def __init__(self, policy: PixelPolicy, backbone: str = "compact"):
        super().__init__()
        actions = policy.actions
        self.actions, self.uses_mask, self.sees_initial_image = actions, policy.uses_mask, policy.sees_initial_image
        context = policy.context_size + actions.action_dim * ("global" in actions.scopes)
        channels = policy.input_channels + actions.action_dim * ("local" in actions.scopes)
        self.backbone: Backbone = BACKBONES.create(backbone, channels=channels, context=context)
        width = self.backbone.width
        self.heads = nn.ModuleDict({
            scope: global_head(width + context, 1) if scope == "global"
            else nn.Conv2d(width, 1, 3, padding=1, padding_mode="replicate")
            for scope in actions.scopes
        })

    def forward(self, observation: Observation, context: Tensor, action: Action) -> dict[str, Tensor]:
        """Values of an action.

        Args:
            observation: of the policy. context: `policy.global_features(observation)`. action: continuous, per scope.
        """
        image = observation["image"]
        planes = [backbone_input(observation, self.uses_mask, self.sees_initial_image)]
        if "local" in action:
            planes.append(F.interpolate(action["local"], image.shape[-2:], mode="nearest"))
        if "global" in action:
            context = torch.cat([context, action["global"].flatten(1)], dim=1)
        features, _ = self.backbone(torch.cat(planes, dim=1), context)
        values = {}
        for scope, head in self.heads.items():
            if scope == "global":
                values[scope] = head(torch.cat([features.mean(dim=(2, 3)), context], dim=1)[:, :, None, None]).float()
            else:
                values[scope] = head(resample_to_agents(features,
                                                        self.actions.agent_grid(scope, *image.shape[-2:]))).float()
        return values


class TwinCritic(nn.Module):
    """Two critics, of whose values the lower one counts. Source: TD3 (Fujimoto et al. 2018), section 4.2."""

    def __init__(self, policy: PixelPolicy, backbone: str = "compact"):
        super().__init__()
        self.critics = nn.ModuleList(Critic(policy, backbone) for _ in range(2))

    def forward(self, observation: Observation, context: Tensor, action: Action) -> list[dict[str, Tensor]]:
        """The values of both."""
        return [critic(observation, context, action) for critic in self.critics]


def min_q(q_values: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The lower of the values of two critics, scope by scope."""
    one, other = q_values
    return {scope: torch.minimum(one[scope], other[scope]) for scope in one}
