import numpy as np
import pytest
import torch

from ram_avatar.drivers.settings import FINGERS, Settings
from ram_avatar.live.session.manual_control import ManualControl
from ram_avatar.motion.motion import PARTS, Frame


@pytest.mark.parametrize("body", ["template", "smplx"])
def test_a_slider_bends_its_finger_only(body, request):
    template = request.getfixturevalue(body)
    manual, posed = ManualControl(template), template.body(template.default_identity())
    frame = Frame(
        np.zeros(3), np.zeros(3), np.zeros((len(template.pose_joints), 3)), np.zeros(len(template.action_names)),
        np.ones(len(PARTS)),
    )  # fmt: skip

    def points(settings: Settings) -> torch.Tensor:
        """Return the fingertips, [10, 3]."""
        pose = torch.from_numpy(manual(frame, settings).pose).float()[None]
        still = torch.zeros(1, 3), torch.zeros(1, 3), pose, torch.zeros(1, len(template.action_names))
        return posed.pose(*still).vertices[0][template.fingertips].mean(1)

    joints = posed.at_reference().joints[0, :, :3, 3]
    wrists = joints[[template.joint_of("hand.L"), template.joint_of("hand.R")]]
    for i, finger in enumerate(FINGERS):
        straight, bent = (points(Settings(fingers={finger: value})) for value in (0.0, 1.0))
        moved = (bent - straight).norm(dim=-1)
        assert moved.argmax() == i and moved[i] > 0.02 and moved[[j for j in range(10) if j != i]].max() < 1e-5
        if finger.split()[1] != "thumb":
            assert (bent[i] - wrists[i // 5]).norm() < 0.75 * (straight[i] - wrists[i // 5]).norm()


def test_a_slider_sets_its_facial_action_only(avatar, random_motion):
    names = avatar.template.action_names
    frame = next(iter(random_motion(1).frames()))
    held = ManualControl(avatar.template)(frame, Settings(face={"jawOpen": 0.9}))
    assert held.facial_actions[names.index("jawOpen")] == 0.9
    others = [i for i, name in enumerate(names) if name != "jawOpen"]
    assert np.array_equal(held.facial_actions[others], frame.facial_actions[others])
    assert np.array_equal(held.pose, frame.pose)
