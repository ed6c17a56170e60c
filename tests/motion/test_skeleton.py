import math

import pytest
import roma
import torch
from torch import Tensor

from ram_avatar.motion.skeleton import SkeletalClip


def arm(frames: int = 1, **changes) -> SkeletalClip:
    """Root, shoulder, elbow, wrist: an arm pointing to the left."""
    fields = {
        "names": ["root", "shoulder", "elbow", "wrist"],
        "parents": [-1, 0, 1, 2],
        "offsets": torch.tensor([[0, 0, 0], [0, 0, 0.5], [0.3, 0, 0], [0.25, 0, 0]]),
        "rotations": torch.eye(3).repeat(frames, 4, 1, 1),
        "root": torch.zeros(frames, 3),
        "fps": 30.0,
    }
    return SkeletalClip(**{**fields, **changes})


def about(axis: list[float], degrees: float) -> Tensor:
    return roma.rotvec_to_rotmat(torch.tensor(axis) * math.radians(degrees))


def test_forward_kinematics_of_a_raised_arm():
    clip = arm()
    clip.rotations[0, 1] = about([0.0, -1.0, 0.0], 90)  # from the left to up
    clip.root[0] = torch.tensor([1.0, 2.0, 3.0])
    turns, positions = clip.forward()
    assert torch.allclose(positions[0], torch.tensor([[1, 2, 3], [1, 2, 3.5], [1, 2, 3.8], [1, 2, 4.05]]), atol=1e-6)
    assert torch.allclose(turns[0, 3], clip.rotations[0, 1])


def test_kinematics_agree_with_a_plain_loop_to_the_root():
    torch.manual_seed(0)
    clip = arm(
        5,
        rotations=roma.random_rotmat((5, 4)),
        root=torch.randn(5, 3),
        translations=torch.randn(5, 4, 3),
        parents=[-1, 0, 1, 1],
    )
    turns, positions = clip.forward()
    for frame in range(5):
        for joint in range(4):
            turn, point, at = torch.eye(3), torch.zeros(3), joint  # in the axes of the parent of `at`
            while at >= 0:
                moved = clip.translations[frame, at] if at else clip.root[frame]
                turn, point = clip.rotations[frame, at] @ turn, clip.rotations[frame, at] @ point + moved
                at = clip.parents[at]
            assert torch.allclose(positions[frame, joint], point, atol=1e-5)
            assert torch.allclose(turns[frame, joint], turn, atol=1e-5)


def test_resampling_rotates_evenly_and_the_short_way():
    clip = arm(3, root=torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]))
    clip.rotations[1, 1], clip.rotations[2, 1] = about([0, 0, 1.0], 170), about([0, 0, 1.0], 340)
    fine = clip.resampled(60.0)
    assert (len(fine), fine.fps) == (5, 60.0)
    for frame, degrees in enumerate((0, 85, 170, 255, 340)):
        assert torch.allclose(fine.rotations[frame, 1], about([0, 0, 1.0], degrees), atol=1e-5)
    assert torch.allclose(fine.root[:, 0], torch.tensor([0, 0.5, 1, 1.5, 2]))
    assert torch.allclose(fine.resampled(30.0).rotations, clip.rotations, atol=1e-5)
    assert clip.resampled(30.0) is clip


def test_a_long_clip_does_not_drift_when_resampled():
    frames = 20_001  # more than are interpolated at a time
    root = torch.zeros(frames, 3)
    root[:, 0] = torch.arange(frames) / 30.0
    root[:, 1:] = 0.25
    clip = arm(frames, root=root).resampled(25.0)
    assert torch.allclose(clip.root[:, 0], torch.arange(len(clip)) / 25.0, atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"offsets": torch.zeros(3, 3)}, "offsets"),
        ({"root": torch.zeros(2, 3)}, "root"),
        ({"root": torch.full((1, 3), float("nan"))}, "finite"),
        ({"parents": [-1, 2, 1, 2]}, "before"),
        ({"parents": [-1, 0, -1, 2]}, "before"),
        ({"parents": [0, 0, 1, 2]}, "root"),
        ({"names": ["root", "a", "a", "b"]}, "unique"),
        ({"fps": 0.0}, "fps"),
        ({"rotations": -torch.eye(3).repeat(1, 4, 1, 1)}, "rotation"),
        ({"rotations": torch.zeros(0, 4, 3, 3), "root": torch.zeros(0, 3)}, "frames"),
        ({"translations": torch.zeros(1, 3, 3)}, "translations"),
    ],
)
def test_invalid_clips_are_refused(changes, cause):
    with pytest.raises(ValueError, match=cause):
        arm(**changes)


def test_slices_are_clips():
    clip = arm(5, translations=torch.randn(5, 4, 3))
    assert [len(part) for part in clip.batches(2)] == [2, 2, 1]
    assert torch.equal(clip[[4]].translations, clip.translations[4:])
    assert clip.joint("elbow") == 2
