"""The landmark U-Net: drawings, cost, training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from measures.landmark_unet import (
    CHANNELS,
    LandmarkUNet,
    draw_landmarks,
    paint,
    train_landmark_unet,
)
from torch.utils.flop_counter import FlopCounterMode

from ram_avatar.capture.capture import Capture
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.core.progress import Silent
from ram_avatar.evaluation.control import scaled
from ram_avatar.tracking.detection.landmarks import Landmarks
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE, HolisticDetector

POSE, HAND, FACE = MEDIAPIPE.pose_count, MEDIAPIPE.hand_count, MEDIAPIPE.face.count
GFLOP, SIZE = 0.05, 64
HANDS = ("thumb", "index", "middle", "ring", "little")
FACES = ("outline", "brows_and_nose", "lids", "irises", "lips")


class FirstFrames(Capture):
    """A capture with two training frames."""

    train_frames = (0, 1)


@pytest.fixture(scope="module")
def data(capture, template) -> CaptureDataset:
    two = FirstFrames(**vars(capture))
    return CaptureDataset(two, template, torch.zeros(3, 8, 8), SIZE, torch.device("cpu"), Silent())


@pytest.fixture(scope="module")
def landmarks(capture, data) -> list[Landmarks]:
    """Landmarks that a real detector finds in the performer's close-ups, at four times the size."""
    detector, found = HolisticDetector(), []
    for square, (frame, _) in zip(data.squares, capture.frames(), strict=True):
        found.append(scaled(detector.detect(square.cut(frame, 4 * SIZE)), 1 / 4))
    detector.close()
    return found


@pytest.fixture()
def preset(tiny):
    return replace(tiny, training=replace(tiny.training, steps=40, warmup_steps=5))


@pytest.fixture()
def straight_arm() -> Landmarks:
    """A body without face and hands, whose left arm lies on a row of pixels."""
    nothing = lambda *shape: np.full(shape, np.nan, np.float32)
    pose = np.tile(np.float32([10, 110]), (POSE, 1))
    pose[[11, 13, 15]] = (40, 30), (60, 30), (80, 30)
    return Landmarks(
        topology=MEDIAPIPE,
        pose=pose,
        visibility=np.ones(POSE, np.float32),
        pose_world=np.zeros((POSE, 3), np.float32),
        left_hand=nothing(HAND, 3),
        right_hand=nothing(HAND, 3),
        face=nothing(FACE, 3),
        mask=np.zeros((8, 8), np.uint8),
    )


@pytest.mark.parametrize(("scale", "offset"), [(1.0, (0.0, 0.0)), (2.0, (10.0, 30.0))])
def test_lines_lie_where_the_landmarks_are(straight_arm, scale, offset):
    (drawing,) = draw_landmarks([straight_arm], 256, scale, offset)
    assert drawing.shape == (len(CHANNELS), 256, 256) and drawing.dtype == torch.uint8
    arm = drawing[CHANNELS.index("left_arm")].double() / 255
    rows, columns = torch.nonzero(arm > 0.5, as_tuple=True)
    # A pixel spans from its index to the next one.
    assert abs(float((arm.sum(1) * (torch.arange(256) + 0.5)).sum() / arm.sum()) - (30 * scale + offset[1])) < 0.3
    assert rows.max() - rows.min() <= 5  # three pixels, antialiased by OpenCV
    for end, x in ((columns.min(), 40), (columns.max() + 1, 80)):
        assert abs(float(end) - (x * scale + offset[0])) <= 2.5  # the caps of a line of three pixels


def test_brightness_of_lines_is_the_visibility_of_their_ends(straight_arm):
    straight_arm.visibility[15] = 0.4
    arm = draw_landmarks([straight_arm], 256)[0, CHANNELS.index("left_arm")]
    assert arm[:, 45:55].max() == 255 and arm[:, 65:75].max() == 102


def test_parts_not_seen_are_omitted(straight_arm, landmarks):
    (drawing,) = draw_landmarks([straight_arm], 128)
    drawn = {name for name, channel in zip(CHANNELS, drawing, strict=True) if channel.any()}
    assert not drawn & {*HANDS, *FACES} and "left_arm" in drawn
    frame = next(found for found in landmarks if found.found and np.isfinite(found.face[0, 0]))
    (whole,) = draw_landmarks([frame], 256)
    (faceless,) = draw_landmarks([replace(frame, face=straight_arm.face)], 256)
    for name, channel, other in zip(CHANNELS, whole, faceless, strict=True):
        assert channel.any() and not other.any() if name in FACES else torch.equal(channel, other), name
    nobody = replace(straight_arm, pose=np.full((POSE, 2), np.nan, np.float32))
    assert not draw_landmarks([nobody], 128).any()


def test_drawing_covers_the_person_in_the_video(data, landmarks):
    """The torso's lines lie on the person, at a size other than the detector's."""
    torso = draw_landmarks(landmarks, SIZE)[:, CHANNELS.index("torso")].numpy() > 127
    masks = data.masks[:, 0].numpy() > 127
    assert torso.any() and masks[torso].mean() > 0.85  # a line is as wide as the waist at this size


@pytest.mark.parametrize(("gflop", "size"), [(GFLOP, SIZE), (5.4, 256), (90.0, 512)])
def test_network_has_the_requested_cost(gflop, size):
    network = LandmarkUNet.of_cost(gflop, size)
    blank = torch.zeros(1, len(CHANNELS), size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert network(blank, blank).shape == (1, 3, size, size)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, rel=0.1)


def test_impossible_cost_is_rejected():
    with pytest.raises(ValueError, match="no U-Net of 1e-09 GFLOP"):
        LandmarkUNet.of_cost(1e-9, SIZE)


def test_network_uses_the_previous_frame():
    network = LandmarkUNet.of_cost(GFLOP, SIZE)
    now, before = torch.rand(2, 1, len(CHANNELS), SIZE, SIZE)
    assert not torch.equal(network(now, now), network(now, before))


def test_training_learns_two_frames_reproducibly(data, landmarks, preset):
    """It approaches the frames it is trained on, and the same seed gives the same network."""
    drawings = draw_landmarks(landmarks[:2], SIZE)
    truth = data.frames[:2].numpy().astype(float)

    def train(steps: int, seed: int = 0) -> LandmarkUNet:
        training = replace(preset.training, steps=steps, seed=seed)
        return train_landmark_unet(data, landmarks, replace(preset, training=training), GFLOP, Silent())

    def psnr(network: LandmarkUNet) -> float:
        return float(10 * np.log10(255**2 / np.square(paint(network, drawings) - truth).mean()))

    few, many = train(2), train(50)
    assert psnr(many) > psnr(few) + 4
    again, other = train(2), train(2, seed=1)
    same = lambda a, b: [torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True)]
    assert all(same(few, again)) and not all(same(few, other))


def test_frames_are_rendered_in_order(landmarks):
    """Each with the previous drawing; the first one with its own."""
    network = LandmarkUNet.of_cost(GFLOP, SIZE)
    drawings = draw_landmarks(landmarks[:3], SIZE, SIZE / 256)
    rendered = paint(network, drawings)
    assert rendered.shape == (3, SIZE, SIZE, 3) and rendered.dtype == np.uint8
    assert np.array_equal(rendered, paint(network, iter(drawings)))
    assert np.array_equal(rendered[:1], paint(network, drawings[[0]]))
    assert np.array_equal(rendered[2], paint(network, drawings[[1, 2]])[1])


def test_landmarks_of_every_frame_are_required(data, landmarks, preset):
    with pytest.raises(ValueError, match="landmarks of 3 frames"):
        train_landmark_unet(data, landmarks[:3], preset, GFLOP, Silent())
