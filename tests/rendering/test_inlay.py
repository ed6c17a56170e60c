import numpy as np
import pytest
import torch

from ram_avatar.core.camera import Camera
from ram_avatar.core.images import to_array, to_tensor
from ram_avatar.networks.hand_detail import DRAWING
from ram_avatar.networks.opacity import CLEAR, OPAQUE, shown_alpha
from ram_avatar.networks.painting import CHANNELS, OPAQUE_CHANNELS, Painting, Rendering, compose
from ram_avatar.rendering.framing import Square
from ram_avatar.rendering.inlay import Inlay, averaged, composite
from ram_avatar.rendering.rectangles import Window, crop
from ram_avatar.rendering.resampling import weights

SIDE = 32
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


# Where a close-up lies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inlay", [Inlay(1.0, 0.0, 0.0), Inlay(2.4, -11.3, 5.6), Inlay(0.31, 4.2, -3.0), Inlay(1.7, 20.0, 30.5)]
)
def test_a_window_in_bands_is_that_of_the_whole_picture(inlay):
    """Of a part of the square as of all of it, wherever the part's own edges are out of reach."""
    image, part, whole = noise(1, 3, SIDE, SIDE), Window(6, 4, 30, 28), Window.whole(SIDE)
    square = inlay.window(whole, 70, 60)
    rows = weights(-inlay.top / inlay.zoom, 1 / inlay.zoom, 60, SIDE)
    columns = weights(-inlay.left / inlay.zoom, 1 / inlay.zoom, 70, SIDE)
    wanted = crop(rows @ image @ columns.T, square, Window(0, 0, 60, 70))
    across = inlay.resample_columns(image, whole, square)
    bands = [inlay.resample_rows(across, whole, band) for band in square.bands(7)]
    torch.testing.assert_close(torch.cat(bands, 2), wanted, rtol=0, atol=2e-5)
    margin = int(np.ceil(3 * max(1, 1 / inlay.zoom)))
    inner = inlay.window(part.grown(-margin, SIDE), 70, 60)
    found = inlay.resample(crop(image, part, whole), part, inner)
    torch.testing.assert_close(found, crop(wanted, inner, square), rtol=0, atol=2e-5)


@pytest.mark.parametrize("place", [(-500.0, 0.0), (500.0, 10.0), (0.0, 1e7), (0.0, -1e7)])
def test_a_square_off_the_picture_covers_none_of_it(place):
    window = Inlay(1.5, *place).window(Window.whole(SIDE), 80, 60)
    assert min(window.width, window.height) == 0


def test_the_window_holds_every_pixel_that_is_touched():
    window = Inlay(0.5, 10.25, 3.0).window(Window(0, 4, 8, 10), 80, 60)
    assert window == Window(3, 12, 7, 16)


def test_its_camera_sees_what_the_scenes_sees():
    """A window of the picture, twice as fine."""
    scene, square, point = Camera(300.0, 55.0, 40.0, 120, 90), Square(13.0, -7.5, 64.0), torch.tensor([0.2, 3.0, 0.1])
    inlay, window = Inlay(64.0 / SIDE, 13.0, -7.5).times(2), Window(20, 10, 50, 70)
    x, y, depth = inlay.camera(square.camera(scene, SIDE), window).project(point).tolist()
    wanted = scene.project(point).tolist()
    assert [(x + 10) / 2, (y + 20) / 2, depth] == pytest.approx(wanted, abs=1e-3)


# Composition --------------------------------------------------------------------------------------------------------


def scene(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a stacked painting, with hands in one half and an opaque head in a corner, and a surface."""
    painting, surface = noise(1, channels, SIDE, SIDE), noise(1, 4, SIDE, SIDE)
    surface[:, 3:] = (surface[:, 3:] > -0.5).float()
    if channels == CHANNELS:
        painting[:, 7] *= 2
        painting[:, 8, :, :16] = 0
        painting[:, 9] = -0.1  # cubic interpolation over- and undershoots
        painting[:, 9, :8, 8:24] = noise(8, 16) + 0.2
    return painting, surface


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("enlarged", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("channels", [OPAQUE_CHANNELS, CHANNELS])
def test_the_kernel_composites_as_plain_torch(channels, transparent, enlarged, device):
    painting, surface = scene(channels)
    has_alpha, belief = channels == CHANNELS, 0.8
    person = compose(Painting.of(painting), surface, torch.tensor([belief]), DRAWING, enlarged)
    alpha = shown_alpha(person.alpha) if has_alpha else person.alpha
    color = person.color.clamp(-1, 1)
    behind = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    picture = torch.zeros(SIDE, SIDE, 4, dtype=torch.uint8) if transparent else torch.from_numpy(behind.copy())
    picture = picture.to(device)
    given = (tensor.to(device) for tensor in (painting, surface))
    how = {"has_alpha": has_alpha, "belief": belief, "enlarged": enlarged, "shown": (CLEAR, OPAQUE)}
    composite(picture, *given, **how)
    found = picture.cpu().numpy().astype(int)
    if transparent:
        shown = alpha[0, 0].numpy() > 0
        assert np.abs(found[..., 3] - 255 * alpha[0, 0].numpy()).max() <= 0.51
        assert np.abs(found[..., :3] - to_array(color)[0])[shown].max() <= 1 and not found[~shown].any()
        assert shown.all() != has_alpha
    else:
        wanted = to_array(Rendering(color, alpha).over(to_tensor(behind)[None]))[0]
        assert np.abs(found - wanted).max() <= 1


def test_shrinking_averages_colours_by_their_alpha():
    picture = torch.zeros(2, 4, 4, dtype=torch.uint8)
    picture[0, 0] = torch.tensor([200, 100, 0, 255])
    picture[1, 1] = torch.tensor([100, 100, 50, 255])
    assert averaged(picture, 2).tolist() == [[[150, 100, 25, 128], [0, 0, 0, 0]]]
    assert averaged(picture[..., :3], 2)[0, 0].tolist() == [75, 50, 13]
    assert averaged(picture, 1) is picture
