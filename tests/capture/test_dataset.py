from itertools import islice

import torch

from ram_avatar.capture.dataset import CaptureDataset, behind
from ram_avatar.core.images import to_tensor
from ram_avatar.core.progress import Silent


def test_the_background_is_the_frame_away_from_the_person_and_the_plate_near_them():
    """With no step in between."""
    image, plate = torch.full((1, 3, 32, 32), 0.5), torch.full((1, 3, 32, 32), -0.5)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = torch.linspace(0.02, 1, 12)
    shown = behind(image, mask, plate)
    assert (shown[..., 12:20, 12:20] == -0.5).all() and (shown[..., :5, :] == 0.5).all()
    assert ((shown >= -0.5) & (shown <= 0.5)).all() and ((shown > -0.5) & (shown < 0.5)).any()


def test_neighbours_are_seen_through_the_frames_own_close_up(capture, template):
    """Warping a neighbour's close-up to this frame's square equals cutting the neighbour by that square."""
    data = CaptureDataset(capture, template, torch.zeros(3, 8, 8), 64, torch.device("cpu"), Silent())
    for index, step in ((12, -1), (12, 1), (20, 1)):
        frame = next(islice(capture.frames(), index + step, None))[0]
        wanted = to_tensor(data.squares[index].cut(frame, 64))[None]
        batch = data.batch(torch.tensor([index]))
        found = batch.before if step < 0 else batch.after
        both = torch.from_numpy(data.squares[index].inside(256, 256, 64))
        assert ((wanted - found).abs().mean(1, keepdim=True) * both).mean() < 0.03
        camera = data.cameras[index]
        before = data.mapper.positions(capture.motion[[index - 1]], camera)
        assert torch.equal(batch.maps.previous, before.half().float())  # as maps are kept
