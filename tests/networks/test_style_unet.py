import torch

from ram_avatar.networks.feature_unet import FeatureUNet
from ram_avatar.networks.style_unet import StyleUNet


def unet() -> StyleUNet:
    return StyleUNet({"body": 3, "face": 2}, outputs=4, widths=(8, 12, 16), style_dim=6)


def stir(network: torch.nn.Module) -> None:
    """Perturb all parameters, so that layers that start at zero have an effect."""
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(parameter.shape))


def test_the_image_starts_at_zero():
    image = unet()({"body": torch.randn(2, 12, 16, 24), "face": torch.randn(2, 8, 16, 24)}, torch.randn(2, 6))
    assert image.shape == (2, 4, 32, 48)
    assert not image.any()


def test_the_image_depends_on_the_style_and_on_every_map():
    network = unet()
    stir(network)
    body, face, style = torch.randn(1, 12, 8, 8), torch.randn(1, 8, 8, 8), torch.randn(1, 6)
    image = network({"body": body, "face": face}, style)
    assert not torch.allclose(image, network({"body": body, "face": face}, torch.randn(1, 6)))
    assert not torch.allclose(image, network({"body": body, "face": torch.randn_like(face)}, style))


def test_a_missing_map_counts_as_zero():
    network = unet()
    stir(network)
    body, style = torch.randn(1, 12, 8, 8), torch.randn(1, 6)
    torch.testing.assert_close(
        network({"body": body}, style), network({"body": body, "face": torch.zeros(1, 8, 8, 8)}, style)
    )


def test_samples_of_a_batch_are_independent():
    network = unet()
    stir(network)
    maps = {"body": torch.randn(3, 12, 8, 8), "face": torch.randn(3, 8, 8, 8)}
    style = torch.randn(3, 6)
    alone = [network({name: x[i : i + 1] for name, x in maps.items()}, style[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(network(maps, style), torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_face_and_hand_networks_have_five_layers_and_full_size():
    network = FeatureUNet(inputs=5, outputs=6, widths=(8, 16))
    assert len(list(network.children())) == 5
    assert network(torch.randn(2, 5, 16, 24)).shape == (2, 4 * 6, 8, 12)
