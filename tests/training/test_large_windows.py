from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from ram_avatar.core.images import to_tensor
from ram_avatar.core.progress import Silent
from ram_avatar.inference.engine import Engine
from ram_avatar.rendering.framing import Square
from ram_avatar.training.avatar_data import avatar_data
from ram_avatar.training.first_avatar import first_avatar
from ram_avatar.training.large_windows import SIZE, WindowCutter
from ram_avatar.training.trainer import Trainer


@pytest.fixture(scope="module")
def avatar(capture, template, tiny):
    return first_avatar(capture, template, tiny, Silent())


@pytest.fixture(scope="module")
def data(avatar, capture):
    return avatar_data(avatar, capture, large=1024)


def test_large_frames_are_no_larger_than_the_video_and_look_like_it(avatar, capture, data):
    side = np.median([square.side for square in data.squares])
    assert data.large.size == round(side) > avatar.size and len(data.large) == len(capture)
    frame, _ = next(capture.frames())
    wanted = data.squares[0].cut(frame, data.large.size, capture.footage.matrix(0))
    assert np.abs(data.large[0].astype(int) - wanted).mean() < 2
    assert avatar_data(avatar, capture).large is None
    assert avatar_data(avatar, capture, large=avatar.size).large is None


def test_windows_show_what_the_engine_draws(avatar, capture, data):
    """An untrained avatar's windows are those of its large picture, where the plate is behind it."""
    index = torch.tensor([5, 20])
    batch = data.batch(index, neighbors=False)
    windows = WindowCutter(data, 0)(batch.index.tolist(), 3)
    with torch.no_grad():
        network = avatar.network.eval()
        shown = windows.show(network, network.paint(batch.maps), data.size)
    assert shown.shape == windows.truth.shape == (2 * 4, 3, SIZE, SIZE)
    large, errors = 4 * data.size, {0.0: [], 2.0: []}
    for place, frame in enumerate(index.tolist()):
        picture = Engine(avatar, close_up=True, size=(large, large)).render(capture.motion.frame(frame))
        for found, box, surface in list(zip(shown, windows.boxes, windows.surface, strict=True))[4 * place :][:4]:
            solid = torch.nn.functional.avg_pool2d(surface[None, 3:], 15, 1, 7)[0, 0] > 0.999
            for aside, found_errors in errors.items():
                square = Square(4 * (box[0] + aside), 4 * box[1], 4 * box[2])
                found_errors.append((found - to_tensor(square.cut(picture, SIZE))).abs().mean(0)[solid])
    here, beside = (float(torch.cat(each).mean()) for each in errors.values())
    assert here < 0.05 and beside > 2 * here


def test_truth_is_the_videos_and_the_plate_is_behind(data):
    batch = data.batch(torch.tensor([7]), neighbors=False)
    windows = WindowCutter(data, 0)(batch.index.tolist(), 0)
    frame, scale = data.large[7], data.large.size / data.size
    for box, truth in zip(windows.boxes, windows.truth, strict=True):
        wanted = to_tensor(Square(*(scale * edge for edge in box)).cut(frame, SIZE))
        assert torch.equal(truth, wanted)
        assert 1 <= SIZE / box[2] <= scale + 1e-6
    clear = torch.nn.functional.max_pool2d(batch.mask, 9, 1, 4)[0, 0] == 0
    for box, truth, plate in zip(windows.boxes, windows.truth, windows.behind, strict=True):
        away = torch.from_numpy(Square(*box).cut(clear.float().numpy(), SIZE)) == 1
        assert torch.allclose(plate[:, away], truth[:, away], atol=1e-5)


def test_draws_depend_on_seed_step_and_frame_alone(data):
    one = WindowCutter(data, 1)([3, 9], 5)
    alone = WindowCutter(data, 1)([9], 5)
    later = WindowCutter(data, 1)([9], 6)
    assert one.boxes[4:] == alone.boxes != later.boxes


def test_the_detail_loss_sees_large_windows(avatar, data, tiny, tmp_path):
    """What the network adds has a gradient from windows alone."""
    only = replace(tiny.training, photometric_weight=0.0, perceptual_weight=0.0, alpha_weight=0.0, detail_weight=1.0)
    trainer = Trainer(avatar, data, replace(tiny, training=only), tmp_path, Fabric(accelerator="cpu", devices=1))
    assert trainer.windows is not None
    batch = data.batch(torch.tensor([4]))
    painting = trainer.network.train().paint(batch.maps, style=batch.index)
    loss = trainer._large_detail(trainer.windows([4], 0), painting)
    (gradient,) = torch.autograd.grad(loss, painting.added)
    assert loss > 0 and gradient.any()
