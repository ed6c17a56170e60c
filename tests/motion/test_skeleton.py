import math

import pytest
import roma
import torch

from ram_avatar.motion.skeleton import SkeletalClip


def arm(frames: int = 1, fps: float = 30.0, **changes) -> SkeletalClip:
    """Root, shoulder, elbow, wrist along x: an arm that sticks out to the left."""
    fields = {
        "names": ["root", "shoulder", "elbow", "wrist"],
        "parents": [-1, 0, 1, 2],
        "offsets": torch.tensor([[0, 0, 0], [0, 0, 0.5], [0.3, 0, 0], [0.25, 0, 0]]),
        "rotations": torch.eye(3).repeat(frames, 4, 1, 1),
        "root": torch.zeros(frames, 3),
        "fps": fps,
    }
    return SkeletalClip(**{**fields, **changes})


def about(axis: list[float], degrees: float) -> torch.Tensor:
    return roma.rotvec_to_rotmat(torch.tensor(axis) * math.radians(degrees))


def test_a_raised_arm_is_where_it_should_be():
    clip = arm()
    clip.rotations[0, 1] = about([0.0, -1.0, 0.0], 90)  # from the left to up
    clip.root[0] = torch.tensor([1.0, 2.0, 3.0])
    turns, positions = clip.forward()
    expected = torch.tensor([[1, 2, 3], [1, 2, 3.5], [1, 2, 3.8], [1, 2, 4.05]])
    assert torch.allclose(positions[0], expected, atol=1e-6)
    assert torch.allclose(turns[0, 3], clip.rotations[0, 1])


def test_kinematics_agree_with_a_plain_walk_up_the_tree():
    generator = torch.Generator().manual_seed(0)
    clip = arm(
        5,
        rotations=roma.random_rotmat((5, 4), generator=generator),
        root=torch.randn(5, 3, generator=generator),
        translations=torch.randn(5, 4, 3, generator=generator),
        parents=[-1, 0, 1, 1],
    )
    turns, positions = clip.forward()
    for frame in range(5):
        for joint in range(4):
            turn, point, at = torch.eye(3), torch.zeros(3), joint
            while at > 0:
                turn = clip.rotations[frame, at] @ turn
                point = clip.translations[frame, at] + clip.rotations[frame, clip.parents[at]] @ point
                at = clip.parents[at]
            if joint:
                # `point` is in the root's axes after the last step, but for the root's own turn, taken above.
                assert torch.allclose(positions[frame, joint], _walk(clip, frame, joint), atol=1e-5)
            assert torch.allclose(turns[frame, joint], clip.rotations[frame, 0] @ turn, atol=1e-5)
