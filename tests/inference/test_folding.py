from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch
from inference.graph_safe import GraphSafe
from inference.twin import shake

from ram_avatar.config import NetworkConfig
from ram_avatar.inference.folding import PART_REACH, FoldedNetwork, Windows
from ram_avatar.networks.avatar_network import AvatarNetwork, ConditionMaps
from ram_avatar.networks.painting import Painting
from ram_avatar.rendering.condition_maps import MeshMaps
from ram_avatar.rendering.rectangles import Window, crop

SIZE = 128
SMALL = NetworkConfig(
    image_size=SIZE,
    texture_channels=3,
    texture_resolution=16,
    attention_channels=4,
    attention_widths=(6, 8),
    face_channels=3,
    hand_channels=2,
    feature_widths=(4, 8),
    unet_widths=(8, 12, 16, 16),
    style_dim=8,
    styles=3,
    novelty=True,
)
VARIANTS = {
    "all parts": {},
    "no distance function": {"attention_distance_power": 0.0},
    "no temporal branch": {"temporal_attention": False},
    "no spatial branch": {"spatial_attention": False},
    "no attention": {"temporal_attention": False, "spatial_attention": False},
    "no face": {"face": False},
    "no face, no hands": {"face": False, "hands": False},
    "no novelty": {"novelty": False},
    "hands kept": {"keep_hands": True},
    "no warm start": {"warm_start": False, "sharpness": False, "novelty": False},
    "as published": {"alpha": False, "warm_start": False, "sharpness": False, "novelty": False},
}
PERSON, FACE, HANDS = Window(20, 50, 110, 80), Window(24, 60, 34, 70), [Window(70, 50, 76, 56), Window(4, 120, 9, 128)]


def clip(frames: int, seed: int = 0) -> list[MeshMaps]:
    """Make maps of a person in `PERSON`, with a face in `FACE` and hands in `HANDS`."""
    generator = torch.Generator().manual_seed(seed)

    def noise(channels: int, *windows: Window) -> torch.Tensor:
        shown = torch.zeros(1, channels, SIZE, SIZE)
        for window in windows:
            rows, columns = window.slices
            shown[:, :, rows, columns] = torch.rand(1, channels, window.height, window.width, generator=generator)
        return shown.contiguous(memory_format=torch.channels_last)

    def position(window: Window) -> torch.Tensor:
        shown = noise(4, window)
        mask = (shown[:, 3:] > 0.3).float()
        return torch.cat([(2 * shown[:, :3] - 1) * mask, mask], 1)

    return [
        MeshMaps(
            position=position(PERSON),
            expanded=position(PERSON.grown(2, SIZE)),
            face=noise(3, FACE),
            hands=noise(5, *HANDS),
            color=noise(3, PERSON),
            novelty=noise(1, PERSON),
        )
        for _ in range(frames)
    ]


def windows(person: Window) -> Windows:
    around = lambda window: window.grown(2 * PART_REACH, SIZE).fitted(4, SIZE)
    return Windows(person, {"face": [around(FACE)], "hands": [around(hand) for hand in HANDS]})


@torch.no_grad()
def by_the_training_network(network: AvatarNetwork, maps: list[MeshMaps]) -> list[torch.Tensor]:
    """Paint every frame, stacked; see `Painting.stack`."""
    before = [maps[0], *maps]
    given = [ConditionMaps(previous=b.position, **vars(frame)) for frame, b in zip(maps, before, strict=False)]
    return [network.paint(each).stack() for each in given]


@torch.no_grad()
def by(folded: FoldedNetwork, maps: list[MeshMaps], where: Windows | None = None) -> list[torch.Tensor]:
    before = [None, *(frame.position for frame in maps)]
    return [folded(frame, previous, where) for frame, previous in zip(maps, before, strict=False)]


@torch.no_grad()
def composed(network: AvatarNetwork | FoldedNetwork, painted: torch.Tensor, maps: MeshMaps, **how) -> torch.Tensor:
    """Return colour and alpha [1, 4, S, S]."""
    painting = Painting.of(painted) if isinstance(network, AvatarNetwork) else painted
    rendering = network.compose(painting, torch.cat([maps.color, maps.position[:, 3:]], 1), **how)
    return torch.cat([rendering.color, rendering.alpha], 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_equals_the_training_network(variant):
    network = shake(AvatarNetwork(replace(SMALL, **VARIANTS[variant])))
    maps = clip(3)
    wanted, folded = by_the_training_network(network, maps), FoldedNetwork(network)
    assert wanted[0].std() > 0.05
    for name, made in (("whole", by(folded, maps)), ("windows", by(folded, maps, windows(Window.whole(SIZE))))):
        for one, other in zip(wanted, made, strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("enlarged", [False, True])
@pytest.mark.parametrize("variant", ["all parts", "hands kept", "no warm start", "as published"])
def test_it_composes_as_the_training_network(variant, enlarged):
    network = shake(AvatarNetwork(replace(SMALL, **VARIANTS[variant])))
    maps = clip(1)
    (painted,) = by_the_training_network(network, maps)
    found = composed(FoldedNetwork(network), painted, maps[0], enlarged=enlarged)
    assert torch.equal(found, composed(network, painted, maps[0], enlarged=enlarged)) and found.std() > 0.05


@pytest.mark.parametrize(
    "person", [Window(20, 48, 112, 80), Window(0, 0, 4, 4), Window(64, 100, 128, 128), Window(36, 40, 44, 128)]
)
def test_a_window_is_a_crop_of_the_whole_image(person):
    network = shake(AvatarNetwork(SMALL))
    maps = clip(2)
    for wanted, found in zip(
        by_the_training_network(network, maps), by(FoldedNetwork(network), maps, windows(person)), strict=True
    ):
        torch.testing.assert_close(found, crop(wanted, person, Window.whole(SIZE)), rtol=0, atol=2e-6)


def test_without_face_and_hands_their_networks_yield_their_output_for_empty_maps():
    network = shake(AvatarNetwork(SMALL))
    bare = [replace(frame, face=0 * frame.face, hands=0 * frame.hands) for frame in clip(1)]
    nowhere = Windows(Window.whole(SIZE), {"face": [], "hands": []})
    torch.testing.assert_close(
        by(FoldedNetwork(network), bare, nowhere), by_the_training_network(network, bare), rtol=0, atol=2e-6
    )


def test_a_part_reaches_no_farther_than_stated():
    """The margin that is cropped off windows suffices, and half of it would not."""
    part = FoldedNetwork(shake(AvatarNetwork(SMALL))).parts["face"]
    point = torch.zeros(1, 3, SIZE, SIZE)
    point[:, :, 64, 64] = 10
    changed = (part(point) - part.nothing).abs().amax((0, 1)) > 0
    reach = Window(64, 64, 65, 65).grown(PART_REACH, SIZE)
    rows, columns = reach.halved().slices
    assert changed[rows, columns].any() and changed.sum() == changed[rows, columns].sum()
    inner_rows, inner_columns = Window(64, 64, 65, 65).grown(PART_REACH // 2, SIZE).halved().slices
    assert changed.sum() > changed[inner_rows, inner_columns].sum()


def test_the_previous_frame_matters():
    folded, maps = FoldedNetwork(shake(AvatarNetwork(SMALL))), clip(2)
    alone, after = by(folded, maps[1:])[0], by(folded, maps)[1]
    assert (alone - after).abs().max() > 1e-4


def test_an_image_without_a_person():
    network, nothing = (
        shake(AvatarNetwork(SMALL)),
        MeshMaps(**{f.name: 0 * getattr(clip(1)[0], f.name) for f in fields(MeshMaps)}),
    )
    nowhere = Windows(Window.whole(SIZE), {"face": [], "hands": []})
    torch.testing.assert_close(
        by(FoldedNetwork(network), [nothing], nowhere), by_the_training_network(network, [nothing]), rtol=0, atol=2e-6
    )


def test_in_bf16_it_is_above_45_decibels():
    network, maps = shake(AvatarNetwork(SMALL)), clip(3)
    wanted, half = by_the_training_network(network, maps), deepcopy(FoldedNetwork(network)).in_bf16()
    for where in (None, windows(Window.whole(SIZE))):
        for one, other, frame in zip(wanted, by(half, maps, where), maps, strict=True):
            assert other.dtype == torch.float32
            off = composed(network, one, frame) - composed(half, other, frame)
            error = off.square().mean() / 4  # of images in [-1, 1]
            assert 0 < error < 10**-4.5


def test_the_avatars_network_is_not_modified():
    network = shake(AvatarNetwork(SMALL))
    before = deepcopy(network.state_dict())
    FoldedNetwork(network).in_bf16()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


# On a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cuda_graph_can_record_it(variant, bf16):
    """No tensor made on the host, no wait for the device, no shape that depends on the content of the maps."""
    folded = FoldedNetwork(AvatarNetwork(replace(SMALL, **VARIANTS[variant])))
    folded = folded.in_bf16() if bf16 else folded
    first, second = clip(2)
    with torch.no_grad(), GraphSafe(folded, *vars(first).values(), *vars(second).values()):
        folded(first)
        folded(second, first.position)


@pytest.mark.parametrize(
    ("cause", "work"),
    [
        ("made on the host", lambda x: x[:, (0, 2)]),
        ("made on the host", lambda x: x + torch.tensor([1.0, 2.0, 3.0])),
        ("waits", lambda x: float(x.sum())),
        ("waits", lambda x: x if x.sum() > 0 else -x),
        ("depends on values", lambda x: x.nonzero()),
        ("by a mask", lambda x: x[x > 0]),
    ],
)
def test_what_a_cuda_graph_cannot_record_is_detected(cause, work):
    x = torch.rand(4, 3)
    with pytest.raises(AssertionError, match=cause), GraphSafe(x):
        work(x)
