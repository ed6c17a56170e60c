"""The walking performance: its feet, its path and its frames."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from ram_avatar.capture.capture import Capture
from ram_avatar.synthetic.choreography import WALKING, Waypoint
from ram_avatar.synthetic.laboratory import performer, synthesize
from ram_avatar.synthetic.options import SynthOptions
from ram_avatar.synthetic.performances import FLOOR, performance, performer_identity
from ram_avatar.synthetic.performer import Performer
from ram_avatar.synthetic.posing import Skeleton
from ram_avatar.synthetic.room import WALL
from ram_avatar.synthetic.walking import STEP, Gait

FPS, FRAMES = 25.0, 350


@dataclass
class Walked:
    vertices: Tensor  # [N, V, 3]
    joints: Tensor  # [N, J, 3]
    pixels: Tensor  # [N, V, 2] in a frame of side 1


@pytest.fixture(scope="module")
def body(template):
    return template.body(performer_identity(template))


@pytest.fixture(scope="module")
def skeleton(template, body):
    return Skeleton(template, body)


@pytest.fixture(scope="module")
def walked(template, body):
    motion = performance("walking", template, FRAMES, FPS)
    posed = [body.pose(*part.parameters()) for part in motion.batches(25)]
    vertices = torch.cat([p.vertices for p in posed])
    joints = torch.cat([p.joints[..., :3, 3] for p in posed])
    return Walked(vertices, joints, Performer.camera(1).project(vertices)[..., :2])


def test_walk_crosses_the_frame_and_approaches(walked):
    middle = walked.pixels.mean(1)[:, 0]  # [N]
    assert middle.min() < 0.1 and middle.max() > 0.65, "from one side to the other"
    distance = walked.vertices[..., 1].mean(1)
    assert distance.max() / distance.min() > 1.5, "clearly larger"
    assert walked.vertices[..., 1].max() < WALL, "not into the wall"


def test_walk_partly_leaves_the_frame_at_times(walked):
    inside = ((walked.pixels >= 0) & (walked.pixels <= 1)).all(-1).float().mean(1)  # [N] share of the vertices
    for frames in (300, FRAMES):  # the default length, and the whole walk
        assert (inside[:frames] == 1).float().mean() > 0.5, "mostly entirely inside"
    outside = (walked.pixels[..., 0] < 0).float().mean(1)
    assert 0.4 < outside.max() < 0.65, "half of the body leaves at the side"
    below = (walked.pixels[..., 1] > 1).float().mean(1)
    assert 0.1 < below.max() < 0.4, "legs leave at the bottom"
    assert walked.pixels[..., 1].min() > 0, "the head never leaves"


def test_feet_stand_on_the_floor_and_do_not_slide(walked):
    height = walked.vertices[..., 2] - FLOOR
    assert height.amin(1).min() > -1e-3 and height.amin(1).max() < 0.01
    stands = (height[1:] < 0.008) & (height[:-1] < 0.008)
    speed = walked.vertices[..., :2].diff(dim=0).norm(dim=-1) * FPS  # metres per second
    assert torch.where(stands, speed, torch.inf).amin(1).max() < 0.05, "something always rests on the floor"
    assert speed[stands].quantile(0.95) < 0.05


def test_nothing_jumps(walked):
    speed = walked.joints.diff(dim=0).norm(dim=-1) * FPS
    assert 2 < speed.max() < 6, "metres per second"
    change = walked.joints.diff(n=2, dim=0).norm(dim=-1) * FPS**2
    assert change.max() < 80, "metres per second squared"


def test_arms_swing_against_the_legs(template, walked):
    """On the straight path to the right, hand and foot of one side swing in opposite directions."""
    at = lambda joint: walked.joints[120:155, template.joint_names.index(joint), 0]
    for side in "LR":
        hand, foot = (at(f"{joint}.{side}") - at("root") for joint in ("wrist", "foot"))
        assert hand.max() - hand.min() > 0.25
        assert np.corrcoef(hand, foot)[0, 1] < -0.5


def test_walk_repeats_seamlessly(skeleton):
    seconds = np.linspace(0, 3, 40)
    gait = Gait(WALKING.route, skeleton)
    assert sum(beat.seconds for beat in WALKING.beats) == pytest.approx(gait.period)
    assert gait.period % (2 * STEP) == 0, "the same foot starts every time"
    first, again = gait.at(seconds), gait.at(seconds + gait.period)
    assert again.feet.ankles == pytest.approx(first.feet.ankles)
    start, end = gait.at(np.array([0.0])), gait.at(np.array([gait.period - 1e-6]))
    assert end.root == pytest.approx(start.root, abs=1e-3)
    assert end.feet.ankles == pytest.approx(start.feet.ankles, abs=1e-3)


def test_feet_stay_when_the_body_stays(skeleton):
    feet = Gait((Waypoint(0, 0.3, 4, 20), Waypoint(4, 0.3, 4, 20)), skeleton).at(np.linspace(0, 3.9, 50)).feet
    assert np.ptp(feet.ankles, axis=0).max() < 1e-9 and feet.ankles[..., 2] == pytest.approx(skeleton.ankle_height)
    assert (feet.pitch == 0).all()


def test_one_foot_is_always_down(skeleton):
    route = (Waypoint(0, -1, 4, 90), Waypoint(1, -1, 4, 90), Waypoint(3, 1, 4, 90), Waypoint(4, 1, 4, 90))
    feet = Gait(route, skeleton).at(np.linspace(0, 3.9, 390)).feet
    c, s = np.cos(feet.pitch), np.sin(feet.pitch)
    tips = np.stack([skeleton.ankle_height * c + x * s for x in (skeleton.toe, -skeleton.heel)])
    lowest = feet.ankles[..., 2] - tips.max(0)  # [N, 2] of toe and heel
    assert lowest.min() > -1e-3 and lowest.min(1).max() < 1e-3, "no foot is below the floor, and never both in the air"
    assert lowest.max(0).min() > 0.02, "both are lifted"
    assert np.degrees(feet.pitch.max(0)).min() > 15 and np.degrees(feet.pitch.min(0)).max() < -5, "heel and toe"
    level = (lowest < 1e-6) & (np.abs(feet.pitch) < 1e-9)
    for leg in range(2):
        still = level[1:, leg] & level[:-1, leg]
        moved = np.linalg.norm(np.diff(feet.ankles[:, leg, :2], axis=0), axis=1)
        assert still.sum() > 100 and moved[still].max() < 1e-6, "a level foot stays where it is"


def test_synthesized_walk_has_true_masks(tmp_path):
    """One frame per second: cut at the left after three seconds, at the bottom after nine."""
    truth = synthesize(tmp_path / "walk", SynthOptions(motion="walking", frames=10, fps=1.0, size=64))
    assert Capture.load(truth.folder).report["motion"] == "walking"
    masks = np.stack([mask for _, mask in truth.frames()]) > 127
    left, right, top, bottom = masks[:, :, 0], masks[:, :, -1], masks[:, 0], masks[:, -1]
    touched = lambda edge: edge.any(1).nonzero()[0].tolist()
    assert touched(left) == [3, 4] and touched(bottom) == [9]
    assert not right.any() and not top.any()


@pytest.mark.parametrize("frame", [(48, 96), (96, 48)])
def test_rectangular_frame_extends_the_square_one(template, frame):
    """Portrait and landscape: the square in the middle of the frame equals the square frame."""
    motion = performance("walking", template, 226, FPS)[[82, 225]]  # at the left edge, and near
    person, side = performer(0), min(frame)
    left, top = ((length - side) // 2 for length in frame)
    middle = np.s_[top : top + side, left : left + side]
    more = []
    for (image, mask), (small, small_mask) in zip(
        person.render_with_masks(motion, frame), person.render_with_masks(motion, side), strict=True
    ):
        assert image.shape == (frame[1], frame[0], 3) and mask.shape == (frame[1], frame[0])
        assert np.array_equal(mask[middle], small_mask)
        # Except for grain, vignette and the ends of shadows in a smaller frame.
        assert np.abs(image[middle].astype(int) - small).mean() < 5
        more.append((mask > 127).sum() - (small_mask > 127).sum())
    aside, below = more
    assert (below if frame[1] > frame[0] else aside) > 20, "shows what the square cuts off"


def test_light_follows_the_person(template):
    """Lighting does not depend on the position: shadow maps move along."""
    at_home = performance("training", template, 1, FPS)
    away = performance("training", template, 1, FPS)
    away.root_translation[:, 0] += 1.5
    away.root_translation[:, 1] -= 1.0
    light, body = performer(0)._light, performer(0)._dressed.body
    camera = Performer.camera(64)
    lit = [light.shadows(body.pose(*m.parameters()).vertices, template.faces, camera)[0] for m in (at_home, away)]
    assert 0.2 < lit[0].mean() < 0.9
    assert (lit[0] - lit[1]).abs().mean() < 0.02
