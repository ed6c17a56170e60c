"""Adam's parameter groups."""

from collections import defaultdict

from torch import nn

from ..config import TrainingConfig
from ..networks.avatar_network import AvatarNetwork


def parameter_groups(network: AvatarNetwork, config: TrainingConfig) -> list[dict]:
    """Every parameter of a network, with its learning rate and its weight decay.

    Equalized layers keep weights of unit size and scale them where they are used (`networks.layers`). Weight
    decay is meant for the weights that are used: half the squared norm of `scale * weight` has the gradient
    `scale ** 2 * weight`, so that is the share of it that a unit weight gets. In full it would outweigh every
    other gradient. What is no weight of a layer (texels, style codes, gains, biases) is not pulled to zero: most
    of it is seen in few steps, and would be forgotten in the others.
    """
    scales = {id(module.weight): module.scale for module in network.modules() if hasattr(module, "scale")}
    texels = {id(parameter) for parameter in network.neural_texture.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for parameter in network.parameters():
        rate = config.texture_learning_rate if id(parameter) in texels else config.learning_rate
        groups[rate, config.weight_decay * scales.get(id(parameter), 0.0) ** 2].append(parameter)
    return [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]
