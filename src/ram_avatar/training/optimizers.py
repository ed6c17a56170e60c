"""Adam's parameter groups."""

from collections import defaultdict
from typing import Any

from torch import nn

from ..config import TrainingConfig
from ..networks.avatar_network import AvatarNetwork
from ..networks.layers import Equalized


def parameter_groups(network: AvatarNetwork, config: TrainingConfig) -> list[dict[str, Any]]:
    """Group all parameters of a network by learning rate and weight decay.

    Equalized layers keep unit-size weights and scale them at use (`networks.layers`). Weight decay applies to the
    weights as used: half the squared norm of `scale * weight` has the gradient `scale ** 2 * weight`, so the decay of
    the unit weight is multiplied by `scale ** 2`. In full it would outweigh every other gradient. Other parameters
    (texels, style codes, gains, biases) are not decayed: most are seen in few steps, and would be forgotten in between.
    """
    scales = {id(module.weight): module.scale for module in network.modules() if isinstance(module, Equalized)}
    texels = {id(parameter) for parameter in network.neural_texture.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for parameter in network.parameters():
        rate = config.texture_learning_rate if id(parameter) in texels else config.learning_rate
        groups[rate, config.weight_decay * scales.get(id(parameter), 0.0) ** 2].append(parameter)
    return [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]
