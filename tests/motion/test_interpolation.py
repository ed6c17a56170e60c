import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from ram_avatar.motion.interpolation import neighbours, sample_times, slerp


@pytest.mark.parametrize(
    ("frames", "fps", "wanted", "count"), [(50, 25.0, 12.5, 25), (50, 25.0, 60.0, 118), (1, 30.0, 7.0, 1)]
)
def test_times_go_from_the_first_frame_to_the_last(frames, fps, wanted, count):
    times = sample_times(frames, fps, wanted, 60)
    assert len(times) == count and times[0] == 0 and frames - 1 - fps / wanted < times[-1] <= frames - 1 + 1e-9


def test_neighbours_enclose_the_time():
    times = torch.tensor([0.0, 0.25, 3.0, 3.999, 4.0], dtype=torch.float64)
    before, after, share = neighbours(times, 5)
    assert before.tolist() == [0, 0, 3, 3, 4] and after.tolist() == [1, 1, 4, 4, 4]
    assert torch.allclose(before + share, times.float(), atol=1e-5)


def test_slerp_is_scipys_and_the_short_way():
    generator = np.random.default_rng(0)
    start, end = Rotation.random(20, random_state=generator), Rotation.random(20, random_state=generator)
    share = generator.uniform(size=20)
    quaternions = [torch.from_numpy(turns.as_quat()) for turns in (start, end)]
    quaternions[1] = quaternions[1] * torch.from_numpy(
        generator.choice([-1.0, 1.0], (20, 1))
    )  # either sign is the same
    found = Rotation.from_quat(slerp(*quaternions, torch.from_numpy(share)).numpy())
    for k in range(20):
        expected = Slerp([0, 1], Rotation.concatenate([start[k], end[k]]))(share[k])
        assert (found[k].inv() * expected).magnitude() < 1e-6
