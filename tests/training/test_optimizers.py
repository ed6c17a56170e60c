from dataclasses import replace

import torch

from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.networks.layers import EqualizedConv2d
from ram_avatar.training.optimizers import parameter_groups


def test_weight_decay_applies_to_the_scaled_weights(tiny):
    """The groups' decay matches the gradient, by autograd, of half the squared norm of the scaled weights."""
    config = replace(tiny.training, weight_decay=0.3)
    network = AvatarNetwork(tiny.network)
    shares = {id(p): g["weight_decay"] for g in parameter_groups(network, config) for p in g["params"]}
    layers = [module for module in network.modules() if isinstance(module, EqualizedConv2d)]
    assert len(layers) > 5
    for layer in layers:
        penalty = 0.3 / 2 * (layer.scale * layer.weight).square().sum()
        (gradient,) = torch.autograd.grad(penalty, layer.weight)
        assert torch.allclose(gradient, shares[id(layer.weight)] * layer.weight, rtol=1e-4)


def test_parameters_that_few_frames_show_are_not_decayed(tiny):
    network = AvatarNetwork(tiny.network)
    groups = parameter_groups(network, replace(tiny.training, weight_decay=0.3))
    shares = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert shares.keys() == {id(p) for p in network.parameters()}
    for parameter in (network.neural_texture.planes, network.styles.codes, network.alpha.belief):
        assert shares[id(parameter)] == 0


def test_the_texture_has_its_own_learning_rate(tiny):
    network = AvatarNetwork(tiny.network)
    rates = {id(p): g["lr"] for g in parameter_groups(network, tiny.training) for p in g["params"]}
    assert rates[id(network.neural_texture.planes)] == tiny.training.texture_learning_rate
    assert rates[id(network.style_unet.across.weight)] == tiny.training.learning_rate
