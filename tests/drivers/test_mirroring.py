import numpy as np
import pytest
import torch

from ram_avatar.drivers.mirroring import Mirror
from ram_avatar.motion.motion import Frame, Motion


def _joints(avatar, frame: Frame) -> torch.Tensor:
    """[J, 3] the joints of one frame."""
    motion = Motion.of_frames(avatar.template.name, 25.0, [frame])
    return avatar.template.body(avatar.identity).pose(*motion.parameters()).joints[0, :, :3, 3]


@pytest.fixture()
def frames(random_motion) -> list[Frame]:
    return list(random_motion(4).frames())


def test_a_mirror_image_has_its_sides_exchanged(avatar, frames):
    """Joints of the mirrored frame are the mirror images of their partners."""
    mirror, names = Mirror(avatar.template, 0.4), avatar.template.joint_names
    before, after = (_joints(avatar, f) for f in (frames[1], mirror(frames[1])))
    partner = [names.index(n.translate(str.maketrans("LR", "RL")) if n[-2:] in (".L", ".R") else n) for n in names]
    expected = before[partner] * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([0.8, 0.0, 0.0])
    assert (after - expected).norm(dim=-1).max() < 0.004  # metres; the template is symmetric to this
    assert (after - before).norm(dim=-1).max() > 0.1


def test_mirroring_twice_changes_nothing(avatar, frames):
    mirror = Mirror(avatar.template, -0.3)
    frames[0].confidence[:] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    once, twice = mirror(frames[0]), mirror(mirror(frames[0]))
    for name, value in vars(frames[0]).items():
        assert np.allclose(getattr(twice, name), value)
    assert once.confidence.tolist() == [0.1, 0.3, 0.2, 0.4, 0.6, 0.5, 0.8, 0.7]
    names = avatar.template.action_names
    left, right = names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")
    assert once.facial_actions[left] == frames[0].facial_actions[right]
