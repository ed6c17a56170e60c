import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ram_avatar.core.errors import UserError
from ram_avatar.synthetic.choreography import (
    OPEN,
    PERFORMANCES,
    POINT,
    RELAXED,
    SHOW,
    THUMB,
)
from ram_avatar.synthetic.performances import (
    DISTANCE,
    FLOOR,
    minimum_jerk,
    performance,
    performer_identity,
)
from ram_avatar.synthetic.performer import Performer, write_performance
from ram_avatar.synthetic.posing import (
    ARM_JOINTS,
    FINGER_JOINTS,
    LEG_JOINTS,
    Skeleton,
    at_reference,
    mirrored,
)
from ram_avatar.tracking.detection.mediapipe import HolisticDetector
from ram_avatar.video import read_frames

FPS = 25.0


@pytest.fixture(scope="module")
def performer(template):
    return Performer(template)


@pytest.fixture(scope="module")
def body(template):
    return template.body(performer_identity(template))


@pytest.fixture(scope="module", params=["training", "driving", "narrow"])  # walking: see test_walking.py
def motion(request, template):
    return performance(request.param, template, frames=420, fps=FPS)


def posed_joints(template, body, turns: dict[str, np.ndarray], root=(0.0, 0.0, 0.0), root_turn=(0.0, 0.0, 0.0)):
    """Return world positions by joint name, in the reference pose with some joints rotated."""
    pose = torch.zeros(1, len(template.pose_joints), 3)
    for joint, turn in turns.items():
        pose[0, template.pose_joints.index(joint)] = torch.from_numpy(np.asarray(turn)).float()
    actions = torch.zeros(1, len(template.action_names))
    vector = lambda values: torch.tensor([list(values)], dtype=torch.float32)
    joints = body.pose(vector(root_turn), vector(root), pose, actions).joints[0, :, :3, 3].numpy()
    return dict(zip(template.joint_names, joints, strict=True))


def test_unknown_performance_is_reported(template):
    with pytest.raises(UserError, match=r"'waltz'.*training, driving"):
        performance("waltz", template, 10, FPS)


def test_minimum_jerk_starts_and_ends_at_rest():
    fraction = np.linspace(0, 1, 1001)
    value = minimum_jerk(fraction)
    assert value[0] == 0 and value[-1] == pytest.approx(1)
    assert np.gradient(value, fraction)[[0, -1]] == pytest.approx([0, 0], abs=1e-4)


@pytest.mark.parametrize("arm", [RELAXED, SHOW, POINT, THUMB])
@pytest.mark.parametrize("side", ["L", "R"])
def test_arm_points_in_the_given_directions(template, body, arm, side):
    turns = Skeleton(template, body).arm(arm)
    turns, flip = (turns, [1, 1, 1]) if side == "L" else (mirrored(turns), [-1, 1, 1])
    at = posed_joints(template, body, {f"{j}.{side}": t for j, t in zip(ARM_JOINTS, turns, strict=True)})
    chain = ("upperarm01", "lowerarm01", "wrist", "finger3-1")
    for start, end, wanted in zip(chain, chain[1:], (arm.upper, arm.fore, arm.fingers), strict=False):
        bone = at[f"{end}.{side}"] - at[f"{start}.{side}"]
        cosine = bone @ (np.array(wanted) * flip) / np.linalg.norm(bone) / np.linalg.norm(wanted)
        # Half of the upper arm's twist is about a joint off the line from shoulder to elbow.
        assert cosine > np.cos(np.radians(8)), (start, np.degrees(np.arccos(cosine)))


def test_palm_faces_the_camera_with_open_fingers(template, body):
    skeleton = Skeleton(template, body)
    turns = dict(zip([f"{j}.L" for j in ARM_JOINTS], skeleton.arm(SHOW), strict=True))
    turns |= dict(zip([f"{j}.L" for j in FINGER_JOINTS], skeleton.hand(OPEN), strict=True))
    at = posed_joints(template, body, turns)
    fingers = at["finger3-1.L"] - at["wrist.L"]
    palm = np.cross(at["finger5-1.L"] - at["finger2-1.L"], fingers)
    assert palm[1] < -0.9 * np.linalg.norm(palm)
    for finger in range(2, 6):  # straight
        a, b, c = (at[f"finger{finger}-{k}.L"] for k in (1, 2, 3))
        assert (b - a) @ (c - b) > 0.97 * np.linalg.norm(b - a) * np.linalg.norm(c - b)


def test_legs_reach_the_ankles(template, body):
    skeleton = Skeleton(template, body)
    root = np.array([[0.05, 3.0, -0.2]])
    turn = Rotation.from_rotvec([[0.0, 0.0, 0.2]])
    ankles = np.array([[[0.2, 2.9, -0.95], [-0.12, 3.05, -0.9]]])
    reached, turns = skeleton.legs(root, turn, ankles, np.array([[0.3, 0.1]]))
    named = {f"{j}.{s}": turns[0, leg, k] for leg, s in enumerate("LR") for k, j in enumerate(LEG_JOINTS)}
    at = posed_joints(template, body, named, reached[0], turn.as_rotvec()[0])
    assert np.stack([at["foot.L"], at["foot.R"]]) == pytest.approx(ankles[0], abs=1e-3)
    for side in "LR":  # knees bend forward
        assert at[f"lowerleg01.{side}"][1] < 0.5 * (at[f"upperleg01.{side}"][1] + at[f"foot.{side}"][1])


def test_motion_is_human(template, body, performer, motion):
    assert motion.template == template.name and motion.fps == FPS
    assert motion.facial_actions.min() >= 0 and motion.facial_actions.max() <= 1
    assert (motion.facial_actions.amax(0) > 0.2).sum() > 20
    posed = [body.pose(*motion[i : i + 20].parameters()) for i in range(0, len(motion), 20)]
    joints = torch.cat([p.joints[..., :3, 3] for p in posed])
    speed = joints.diff(dim=0).norm(dim=-1) * FPS
    assert speed.max() < 6, "metres per second: nothing jumps"
    lowest = torch.cat([p.vertices[..., 2].amin(1) for p in posed])
    assert (lowest - FLOOR).abs().max() < 2e-3, "a standing person neither floats nor sinks"
    camera = performer.camera(512)
    pixels = torch.cat([camera.project(p.vertices[:, ::7])[..., :2] for p in posed])
    assert pixels.min() > 0.01 * 512 and pixels.max() < 0.99 * 512, "the whole body is inside the frame"


def test_performances_differ_and_repeat(template):
    first, *others = (performance(name, template, 50, FPS) for name in PERFORMANCES)
    assert all((first.pose - other.pose).abs().max() > 0.5 for other in others)
    again = performance("training", template, 50, FPS)
    assert torch.equal(first.pose, again.pose)
    slower = performance("training", template, 25, FPS / 2)  # the same movement at half the rate
    assert torch.allclose(slower.root_translation, first.root_translation[::2], atol=1e-4)


def test_narrow_performance_keeps_the_arms_down_and_turns_a_little(template, body):
    """What most people film; poses with the arms up are unseen by an avatar that learns from it."""
    assert sum(beat.seconds for beat in PERFORMANCES["narrow"].beats) == pytest.approx(11)
    motion = performance("narrow", template, frames=275, fps=FPS)
    joints = torch.cat([body.pose(*part.parameters()).joints[..., :3, 3] for part in motion.batches(25)])
    at = dict(zip(template.joint_names, joints.unbind(1), strict=True))
    down = at["root"] - at["neck01"]
    for side in "LR":
        for start, end in (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist")):
            bone = at[f"{end}.{side}"] - at[f"{start}.{side}"]
            angles = torch.rad2deg(torch.cosine_similarity(bone, down, dim=-1).acos())
            assert angles.max() < 30 and angles.max() - angles.min() > 5, (side, start)
    turned = torch.rad2deg(motion.root_rotation[:, 2])
    assert 10 < turned.max() < 30 and -30 < turned.min() < -10
    jaw = motion.facial_actions[:, template.action_names.index("jawOpen")]
    assert ((jaw > 0.2).diff() & (jaw[1:] > 0.2)).sum() > 10, "talks"


def test_render_puts_the_performer_in_the_room(template, performer):
    motion = performance("training", template, 9, FPS)  # more than one batch
    frames = list(performer.render(motion, (160, 128)))
    assert len(frames) == 9
    assert all(p.shape == (128, 160, 3) and p.dtype == np.uint8 for p in frames)
    room = performer.room((160, 128))
    changed = np.abs(frames[0].astype(int) - room).max(-1) > 20
    assert changed[:, :40].mean() < 0.01 and changed[:, 120:].mean() < 0.01
    assert 0.08 < changed.mean() < 0.3
    points = performer.camera((160, 128)).project(torch.tensor([[0.0, DISTANCE, 0.2]]))  # the belly
    assert changed[int(points[0, 1]), int(points[0, 0])]
    alone = next(performer.render(motion[8:], (160, 128)))  # does not depend on the other frames, except for grain
    assert np.abs(alone.astype(float) - frames[8]).mean() < 3


def test_dress_covers_everything_except_face_and_hands(template, performer, body):
    offset = (performer._dressed.body.reference_vertices() - body.reference_vertices()).norm(dim=1)
    reference = at_reference(template, body)
    eye = reference.joints[0, template.joint_names.index("eye.L"), :3, 3]
    _, back, up = (reference.vertices[0] - eye).unbind(-1)
    face = (template.part_weight("head", "eye") > 0.9) & (back < 0.03) & (up < 0.04)
    assert face.sum() > 1000 and offset[face].max() < 1e-4
    assert offset[template.part_weight("finger") > 0.9].max() < 1e-4
    assert offset[template.part_weight("spine") > 0.9].min() > 1e-4
    soles = performer._dressed.body.reference_vertices()[:, 2].min()
    assert soles == pytest.approx(float(body.reference_vertices()[:, 2].min()), abs=1e-3)


def test_detector_finds_face_hands_and_pose(template, performer):
    """The purpose of the performer: a detector for people recognizes it."""
    motion = performance("training", template, 425, FPS)[15:425:16]
    detector = HolisticDetector()
    seen = [detector.detect(frame) for frame in performer.render(motion, 512)]
    detector.close()
    rate = lambda part: np.mean([np.isfinite(getattr(s, part)).all() for s in seen])
    assert rate("pose") >= 0.98
    assert rate("face") >= 0.9
    assert rate("left_hand") >= 0.6 and rate("right_hand") >= 0.6
    # And in the right place: eyes within 3 % of the frame.
    eyes = [template.joint_names.index(name) for name in ("eye.L", "eye.R")]
    joints = performer._dressed.body.pose(*motion.parameters()).joint_positions(eyes)
    wanted = performer.camera(512).project(joints)[..., :2].numpy()
    found = np.stack([s.pose[[2, 5]] for s in seen])  # MediaPipe's left and right eye
    assert np.median(np.linalg.norm(found - wanted, axis=-1)) < 0.03 * 512


def test_write_performance(tmp_path, performer):
    path = tmp_path / "performance.mp4"
    write_performance(path, performer, "driving", frames=10, fps=FPS, size=128)
    frames = list(read_frames(path))
    assert len(frames) == 10 and frames[0].shape == (128, 128, 3)
