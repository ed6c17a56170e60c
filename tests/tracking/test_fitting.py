import numpy as np
import pytest
import torch

from ram_avatar.body.anatomy import anatomy_of
from ram_avatar.camera import Camera
from ram_avatar.motion.motion import Motion
from ram_avatar.tracking.correspondence import FACE_ROWS, SURFACE_ROWS, Correspondence
from ram_avatar.tracking.fitting import FitSettings, fit, geman_mcclure
from ram_avatar.tracking.landmarks import Landmarks
from ram_avatar.tracking.observations import observe

FRAMES, WIDTH, HEIGHT = 24, 480, 640


def _performance(template) -> tuple[Motion, torch.Tensor]:
    """A person of another shape who waves, turns, bends fingers and opens the mouth."""
    anatomy, time = anatomy_of(template), torch.linspace(0, 2, FRAMES)
    angles = anatomy.relaxed.repeat(FRAMES, 1, 1)
    turn = lambda name, axis, values: angles[:, template.pose_joints.index(name), axis].add_(values)  # noqa: E731
    turn("upperarm01.L", 1, -0.6 * torch.sin(time))
    turn("lowerarm01.R", 0, 0.5 + 0.4 * torch.sin(2 * time))
    turn("spine03", 2, 0.2 * torch.sin(time))
    turn("finger2-1.R", 0, 0.8 * torch.sin(time).abs())
    actions = torch.zeros(FRAMES, len(template.action_names))
    actions[:, template.action_names.index("jawOpen")] = 0.6 * torch.sin(3 * time).abs()
    identity = template.default_identity()
    identity[: template.phenotype_count] += torch.tensor([0.2, 0.0, 0.1, -0.1, 0.2, 0.1])
    motion = Motion(
        template=template.name,
        fps=25.0,
        root_rotation=torch.stack([torch.zeros(FRAMES), torch.zeros(FRAMES), 0.3 * torch.sin(time)], 1),
        root_translation=torch.tensor([0.1, 3.4, 0.05]) + 0.1 * torch.sin(time)[:, None] * torch.tensor([1.0, 0, 0]),
        pose=anatomy.to_pose(angles),
        facial_actions=actions,
        confidence=torch.ones(FRAMES, 4),
    )
    return motion, identity


def _seen_by_a_perfect_detector(template, motion, identity, camera: Camera) -> list[Landmarks]:
    map_ = Correspondence.load(template)
    with torch.no_grad():
        posed = template.points(map_.regressor).body(identity).pose(*motion.parameters())
    points, joints = posed.vertices, posed.joints[..., :3, 3]
    pose = torch.zeros(len(motion), 33, 3)
    pose[:, map_.joint_landmarks] = map_.pose_joints(joints, posed.turns)
    pose[:, map_.surface_landmarks] = points[:, SURFACE_ROWS]
    hips = pose[:, [23, 24]].mean(1, keepdim=True)

    def project(x: torch.Tensor) -> np.ndarray:
        return camera.project(x)[..., :2].numpy()

    def spatial(x: torch.Tensor) -> np.ndarray:
        depth = (x[:, 1:2] - x[:1, 1:2]) * camera.focal / x[:1, 1:2]
        return np.concatenate([project(x), depth.numpy()], 1)

    seen = []
    for i in range(len(motion)):
        metric = (pose[i] - hips[i]).numpy()
        seen.append(
            Landmarks(
                pose=project(pose[i]),
                visibility=np.ones(33, np.float32),
                pose_world=np.stack([metric[:, 0], -metric[:, 2], metric[:, 1]], 1),
                left_hand=spatial(map_.hand(points, joints, "left")[i]),
                right_hand=spatial(map_.hand(points, joints, "right")[i]),
                face=spatial(points[i, FACE_ROWS]),
                mask=np.zeros((HEIGHT // 4, WIDTH // 4), np.uint8),
            )
        )
    return seen


@pytest.fixture(scope="module")
def recovered(template):
    motion, identity = _performance(template)
    camera = Camera.default(WIDTH, HEIGHT)
    observed = observe(_seen_by_a_perfect_detector(template, motion, identity, camera), WIDTH, HEIGHT, 25.0)
    return motion, identity, observed, fit(template, observed, settings=FitSettings(100, 200))


def test_a_known_motion_is_found_again(template, recovered):
    motion, identity, observed, fitted = recovered
    assert min(observed.rates().values()) == 1.0
    assert fitted.errors["body"] < 0.006 and fitted.errors["face"] < 0.003
    assert fitted.errors["left_hand"] < 0.005 and fitted.errors["right_hand"] < 0.005
    truth = template.body(identity).pose(*motion.parameters()).joints[..., :3, 3]
    found = template.body(fitted.identity).pose(*fitted.motion.parameters()).joints[..., :3, 3]
    # Depth and size trade against each other in one view: compare about the root, at equal size.
    truth, found = truth - truth[:, :1], found - found[:, :1]
    found = found * (truth.norm() / found.norm())
    body = [template.joint(n) for n in ("wrist.L", "wrist.R", "foot.L", "foot.R", "head", "lowerarm01.R")]
    error = (truth - found)[:, body].abs().mean((0, 1))
    assert error[0] < 0.02 and error[2] < 0.025  # what the picture tells
    assert error[1] < 0.08  # depth, which it hardly does


def test_the_mouth_opens_when_it_opens(template, recovered):
    motion, _, _, fitted = recovered
    jaw = template.action_names.index("jawOpen")
    together = np.corrcoef(motion.facial_actions[:, jaw], fitted.motion.facial_actions[:, jaw])[0, 1]
    assert together > 0.9


def test_the_result_is_whole(recovered):
    motion, _, _, fitted = recovered
    assert len(fitted.motion) == len(motion) and (fitted.motion.confidence > 0.8).all()
    for tensor in fitted.motion.parameters():
        assert torch.isfinite(tensor).all()


def test_gaps_are_filled_smoothly(template):
    """Ten frames without anything seen: the motion goes on through them without a jump."""
    motion, identity = _performance(template)
    clip = _seen_by_a_perfect_detector(template, motion, identity, Camera.default(WIDTH, HEIGHT))
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
