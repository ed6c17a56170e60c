import numpy as np
import pytest
import torch
from perfect_detector import HEIGHT, WIDTH, performance, seen_by_a_perfect_detector

from ram_avatar.body.anatomy import anatomy_of
from ram_avatar.core.camera import Camera
from ram_avatar.tracking.observations import observe
from ram_avatar.tracking.offline.clip_energy import geman_mcclure
from ram_avatar.tracking.offline.fitting import FitSettings, fit


@pytest.fixture(scope="module")
def recovered(template):
    motion, identity = performance(template)
    camera = Camera.default(WIDTH, HEIGHT)
    observed = observe(seen_by_a_perfect_detector(template, motion, identity, camera), WIDTH, HEIGHT, 25.0)
    return motion, identity, observed, fit(template, observed, settings=FitSettings(100, 200))


def test_a_known_motion_is_recovered(template, recovered):
    motion, identity, observed, fitted = recovered
    assert min(observed.rates().values()) == 1.0
    assert fitted.errors["body"] < 0.006 and fitted.errors["face"] < 0.003
    assert fitted.errors["left_hand"] < 0.005 and fitted.errors["right_hand"] < 0.005
    truth = template.body(identity).pose(*motion.parameters()).joints[..., :3, 3]
    found = template.body(fitted.identity).pose(*fitted.motion.parameters()).joints[..., :3, 3]
    # Depth and size are ambiguous in one view: compare about the root, at equal size.
    truth, found = truth - truth[:, :1], found - found[:, :1]
    found = found * (truth.norm() / found.norm())
    body = [template.joint(n) for n in ("wrist.L", "wrist.R", "foot.L", "foot.R", "head", "lowerarm01.R")]
    error = (truth - found)[:, body].abs().mean((0, 1))
    assert error[0] < 0.02 and error[2] < 0.025  # within the image
    assert error[1] < 0.08  # depth


def test_the_jaw_opens_with_the_true_one(template, recovered):
    motion, _, _, fitted = recovered
    jaw = template.action_names.index("jawOpen")
    together = np.corrcoef(motion.facial_actions[:, jaw], fitted.motion.facial_actions[:, jaw])[0, 1]
    assert together > 0.9


def test_the_result_is_complete_and_finite(recovered):
    motion, _, _, fitted = recovered
    assert len(fitted.motion) == len(motion) and (fitted.motion.confidence > 0.8).all()
    for tensor in fitted.motion.parameters():
        assert torch.isfinite(tensor).all()


def test_gaps_are_filled_smoothly(template):
    """Eight frames without any landmarks: the motion continues through them without a jump."""
    motion, identity = performance(template)
    clip = seen_by_a_perfect_detector(template, motion, identity, Camera.default(WIDTH, HEIGHT))
    for frame in clip[8:16]:
        for part in ("pose", "pose_world", "left_hand", "right_hand", "face"):
            getattr(frame, part)[:] = np.nan
        frame.visibility[:] = 0
    fitted = fit(template, observe(clip, WIDTH, HEIGHT, 25.0), settings=FitSettings(60, 60))
    assert (fitted.motion.confidence[8:16] == 0).all() and (fitted.motion.confidence[:8, 0] > 0.5).all()
    steps = fitted.motion.root_translation.diff(dim=0).norm(dim=1)
    assert steps.max() < 0.06 and torch.isfinite(fitted.motion.pose).all()


def test_geman_mcclure_is_quadratic_then_flat():
    near, far = torch.tensor([[1e-4, 0.0]]), torch.tensor([[10.0, 0.0]])
    assert torch.allclose(geman_mcclure(near, 0.05), near.square().sum(-1), rtol=1e-3)
    assert torch.allclose(geman_mcclure(far, 0.05), torch.tensor([0.05**2]), rtol=1e-3)


def test_axes_of_the_anatomy(template):
    """Positive flexion curls every finger towards the palm and lifts the forearm; axes are orthonormal."""
    anatomy = anatomy_of(template)
    identity = torch.eye(3).expand(len(template.pose_joints), 3, 3)
    assert torch.allclose(anatomy.axes.mT @ anatomy.axes, identity, atol=1e-4)
    body = template.body(template.default_identity())
    zeros = torch.zeros(1, 3)
    wrist = template.joint("wrist.L")

    def reach(joint: str, angle: float) -> torch.Tensor:
        angles = torch.zeros(1, len(template.pose_joints), 3)
        angles[0, template.pose_joints.index(joint), 0] = angle
        return body.pose(zeros, zeros, anatomy.to_pose(angles), torch.zeros(1, 52)).joints[0, :, :3, 3]

    for finger in (2, 3, 4, 5):
        tip = template.joint(f"finger{finger}-3.L")
        straight, curled = reach(f"finger{finger}-1.L", 0.0), reach(f"finger{finger}-1.L", 1.0)
        assert (curled[tip] - curled[wrist]).norm() < (straight[tip] - straight[wrist]).norm()
    shoulder = template.joint("upperarm01.L")
    straight, bent = reach("lowerarm01.L", 0.0), reach("lowerarm01.L", 1.0)
    assert (bent[wrist] - bent[shoulder]).norm() < (straight[wrist] - straight[shoulder]).norm() - 0.05
