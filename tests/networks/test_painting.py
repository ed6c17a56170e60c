import pytest
import torch

from ram_avatar.networks.hand_detail import DRAWING, TRAINING
from ram_avatar.networks.painting import CHANNELS, OPAQUE_CHANNELS, Painting, compose

BELIEF = torch.ones(1)


def painting(size: int = 16, batch: int = 2, channels: int = CHANNELS) -> Painting:
    stacked = torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(0)) - 0.5
    stacked[:, 6] += 1
    stacked[:, 8:] = 0
    return Painting.of(stacked)


def surface(size: int = 16, batch: int = 2) -> torch.Tensor:
    drawn = torch.rand(batch, 4, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    drawn[:, 3] = 0
    drawn[:, 3, 4:, 4:] = 1
    return drawn


@pytest.mark.parametrize("channels", [OPAQUE_CHANNELS, CHANNELS])
def test_a_stack_holds_all_of_it(channels):
    made = painting(channels=channels)
    again = Painting.of(made.stack())
    assert made.stack().shape[1] == channels and (again.logit is None) == (channels == OPAQUE_CHANNELS)
    for one, other in zip(vars(made).values(), vars(again).values(), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_at_the_networks_size_colours_are_what_it_painted():
    made = painting()
    shown = compose(made, surface(), BELIEF, DRAWING, enlarged=False)
    assert torch.equal(shown.color, made.surface + made.added)


def test_enlarged_the_surface_shows_its_own_detail_within_the_outline():
    made, drawn = painting(), surface()
    color = compose(made, drawn, BELIEF, DRAWING, enlarged=True).color
    within = made.surface + made.added + made.sharpness * (drawn[:, :3] - made.surface)
    torch.testing.assert_close(color[..., 5:, 5:], within[..., 5:, 5:])
    torch.testing.assert_close(color[..., :4, :], (made.surface + made.added)[..., :4, :])
    # Six of nine pixels about one at a straight edge are covered: a third of the detail.
    edge = made.surface + made.added + made.sharpness * (drawn[:, :3] - made.surface) / 3
    torch.testing.assert_close(color[..., 4, 6:-1], edge[..., 4, 6:-1])


def test_only_at_the_networks_size_outlines_of_fingers_are_hard():
    stacked = painting().stack()
    stacked[:, 7], stacked[:, 8] = 0, 1
    hard, soft = (
        compose(Painting.of(stacked), surface(), BELIEF, DRAWING, enlarged=enlarged).alpha[0, 0, 3:5, 8]
        for enlarged in (False, True)
    )
    torch.testing.assert_close(hard, torch.sigmoid(torch.tensor([-4.0, 4.0])))
    torch.testing.assert_close(soft, torch.sigmoid(torch.tensor([-4.0, 4.0]) / 3))


def test_near_fingers_alpha_keeps_to_its_side_of_the_outline_except_in_training():
    stacked = painting().stack()
    stacked[:, 7], stacked[:, 8] = 3.0, 1
    drawn, trained = (
        compose(Painting.of(stacked), surface(), BELIEF, rule, enlarged=True).alpha[0, 0, 1, 8]
        for rule in (DRAWING, TRAINING)
    )
    assert drawn < 0.02 and trained > 0.98


def test_without_alpha_everything_is_shown():
    shown = compose(painting(channels=OPAQUE_CHANNELS), surface(), BELIEF, DRAWING, enlarged=True)
    assert shown.alpha.shape == (2, 1, 16, 16) and (shown.alpha == 1).all()
