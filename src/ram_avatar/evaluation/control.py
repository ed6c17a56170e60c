"""Measures how closely the avatar follows the driver: landmarks detected on the avatar against the driver's.

Both sides are gated as in tracking (`tracking.observations`): a hand away from its wrist and a face seen from
behind count as not seen.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.camera import Camera
from ..motion.motion import LIMBS, PARTS, Motion
from ..rendering.rasterizer import rasterize
from ..tracking.correspondence import Correspondence
from ..tracking.detection.detectors import DEFAULT_TOPOLOGY, open_detector
from ..tracking.detection.landmarks import LandmarkDetector, Landmarks
from ..tracking.detection.topology import HIPS, JOINTS, Topology
from ..tracking.observations import Observations, observe
from .gestures import lids, lips
from .metric_catalog import Series

# Pixels of the longer side; smaller frames are enlarged. Of the hands found in two dance clips at 1024 pixels, 83 %
# are also found at 256 enlarged to 512, and 78 % at 256.
DETECTION_SIDE = 512
PCK_TOLERANCE = 0.05  # of the person's height
FINGER_TOLERANCE = 0.02  # of the person's height: a fifth of a hand's length
MIN_VISIBILITY = 0.5  # joints below count as occluded and are not compared

# A landmark this far (metres) behind the nearest surface is occluded; joints lie inside the body.
_OCCLUDED = 0.15


def detect_frames(
    frames: Iterable[np.ndarray],
    detector: LandmarkDetector | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> list[Landmarks]:
    """Detect the landmarks of one clip, in order, in pixels of the given frames.

    Args:
        frames: RGB [H, W, 3] uint8.
        detector: the default detector if None. It tracks from frame to frame, and is closed afterwards.
        on_frame: called with the number of frames done.
    """
    found = []
    with closing(detector or open_detector(masks=False)) as detector:
        for done, frame in enumerate(frames, 1):
            found.append(_detect_enlarged(detector, frame))
            if on_frame:
                on_frame(done)
    return found


def _detect_enlarged(detector: LandmarkDetector, frame: np.ndarray) -> Landmarks:
    zoom = DETECTION_SIDE / max(frame.shape[:2])
    if zoom <= 1:
        return detector.detect(frame)
    seen = detector.detect(cv2.resize(frame, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC))
    return scaled(seen, 1 / zoom)


def scaled(seen: Landmarks, zoom: float) -> Landmarks:
    """Return the landmarks in pixels of an image `zoom` times as large."""
    return replace(
        seen,
        pose=seen.pose * zoom,
        left_hand=seen.left_hand * zoom,
        right_hand=seen.right_hand * zoom,
        face=seen.face * zoom,
    )


# Expected landmarks --------------------------------------------------------------------------------------------


@torch.no_grad()
def expected_landmarks(
    template: BodyTemplate,
    identity: Tensor,
    cameras: Sequence[Camera],
    motion: Motion,
    topology: Topology = DEFAULT_TOPOLOGY,
) -> list[Landmarks]:
    """Return the landmarks that a detector would see if the body followed the motion exactly.

    Stands in for a video of this person. NaN are pose landmarks that the template's `Correspondence` lacks, parts
    not seen in the driver's video (`Motion.confidence` is 0), and hands or faces partly outside the frame.
    `visibility` is 1 for a pose landmark inside the frame, on a limb seen in the driver's video, and not occluded
    by another part of the body; else 0. Depths of hands and face are relative to the part's first landmark. The
    mask is empty (1 x 1).

    Args:
        identity: [I] of the template, on its device.
        cameras: [N] cameras of the frames in which the landmarks will be compared.
        motion: N frames that drive the avatar, as returned by `retarget`.
        topology: topology of the detector.

    Raises:
        UserError: See `Correspondence.load`.
    """
    body, landmarks = template.body(identity), Correspondence.load(template, topology)
    order = landmarks.pose_landmarks
    hips = [order.index(i) for i in topology.indices(HIPS)]
    expected: list[Landmarks] = []
    for part, camera in zip(motion.batches(1), cameras, strict=True):
        part = part.map(lambda t: t.to(identity.device))
        posed = body.pose(*part.parameters())
        points, joints = landmarks.regressor @ posed.vertices, posed.joints[..., :3, 3]
        spatial = {
            "body": landmarks.pose(points, joints, posed.turns),
            "left_hand": landmarks.hand(points, joints, "left"),
            "right_hand": landmarks.hand(points, joints, "right"),
            "face": points[:, landmarks.face_rows],
        }
        pixels = {name: camera.project(each) for name, each in spatial.items()}
        depth = rasterize(camera.project(posed.vertices), template.faces, camera.height, camera.width).depth
        seen = {name: part.confidence[:, column] > 0 for column, name in enumerate(PARTS)}
        visible = _visible(pixels["body"], depth) & seen["body"][:, None]
        for limb, landmarks_of_limb in zip(LIMBS, topology.limbs, strict=True):
            visible[:, [order.index(i) for i in landmarks_of_limb if i in order]] &= seen[limb][:, None]
        pose = _nan_unless(pixels["body"], seen["body"])
        world = _camera_axes(_nan_unless(spatial["body"], seen["body"]), hips)
        expected += _frames(
            topology,
            pose=_in_order(pose[..., :2], order, topology.pose_count, torch.nan),
            visibility=_in_order(visible.float(), order, topology.pose_count, 0.0),
            pose_world=_in_order(world, order, topology.pose_count, torch.nan),
            **{name: _part(pixels[name], seen[name], camera) for name in ("left_hand", "right_hand", "face")},
        )
    return expected


def _visible(pixels: Tensor, depth: Tensor) -> Tensor:
    """Return [B, K] bool: projected points [B, K, 3] inside the frame and not behind the depth map [B, H, W]."""
    height, width = depth.shape[1:]
    column, row = (pixels[..., axis].floor().long() for axis in (0, 1))
    batch = torch.arange(len(pixels), device=pixels.device)[:, None]
    nearest = depth[batch, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return _inside(pixels, width, height) & (nearest > pixels[..., 2] - _OCCLUDED)


def _inside(pixels: Tensor, width: int, height: int) -> Tensor:
    """Return [B, K] bool: pixels inside the frame."""
    return ((pixels[..., :2] >= 0) & (pixels[..., :2] < pixels.new_tensor([width, height]))).all(-1)


def _part(pixels: Tensor, seen: Tensor, camera: Camera) -> Tensor:
    """Return a hand or the face in the detector's convention: depth in pixels; all NaN if not seen."""
    depth = pixels[..., 2:]
    away = (depth - depth[:, :1]) * camera.focal / depth
    seen = seen & _inside(pixels, camera.width, camera.height).all(1)
    return _nan_unless(torch.cat([pixels[..., :2], away], -1), seen)


def _camera_axes(points: Tensor, hips: list[int]) -> Tensor:
    """Return world points relative to the hips, x right, y down, z away."""
    x, y, z = (points - points[:, hips].mean(1, keepdim=True)).unbind(-1)
    return torch.stack([x, -z, y], -1)


def _nan_unless(points: Tensor, seen: Tensor) -> Tensor:
    return torch.where(seen[:, None, None], points, torch.nan)


def _in_order(values: Tensor, order: list[int], count: int, fill: float) -> Tensor:
    """Scatter [B, K, ...], whose pose landmarks are `order`, into [B, count, ...]."""
    full = values.new_full((len(values), count, *values.shape[2:]), fill)
    full[:, order] = values
    return full


def _frames(topology: Topology, **parts: Tensor) -> Iterator[Landmarks]:
    arrays = {name: values.cpu().numpy() for name, values in parts.items()}
    for i in range(len(arrays["pose"])):
        yield Landmarks(
            topology, **{name: values[i] for name, values in arrays.items()}, mask=np.zeros((1, 1), np.uint8)
        )


# Metrics -------------------------------------------------------------------------------------------------------


def measure_control(found: list[Landmarks], expected: list[Landmarks]) -> Series:
    """Measure how far the landmarks found on the avatar are from the expected ones.

    Lengths are relative to the person's height: `Observations.person_height` of `expected`, one value per clip.
    It is the median over the bones of torso and legs seen in over 30 % of the frames; each contributes the 85th
    percentile of its length in the image divided by its usual share of body height.

    Left and right are the detector's: a hand detected as the other hand counts as not found.

    Args:
        found: N frames of the avatar (`detect_frames`).
        expected: N frames of the same camera: of the true video, or `expected_landmarks`.

    Returns:
        [N] each, NaN where `expected` lacks the part. Parts that the detector did not find are NaN as well, except
        in `body_pck`, `hand_pck` and `hands_found`, where they count as 0.

        - body_pck: share of the 12 `JOINTS` (`topology`) within 5 % of the height (PCK, Yang and Ramanan 2013); joints
          occluded in `expected` (visibility below 0.5) are excluded here and in body_error.
        - body_error: mean distance of those joints, % of the height.
        - hand_error: mean distance of the 20 finger landmarks of a hand, relative to its wrist, % of the height, over
          the hands found in both.
        - hand_pck: share of the finger landmarks of the expected hands within 2 % of the height, relative to the
          wrist. The single most telling metric for hands: it counts both missed and misplaced ones.
        - hands_found: share of the expected hands, 0, 1/2 or 1.
        - lips_error: mean absolute difference in the opening of the inner lips and in mouth width, each in % of the
          distance between the outer eye corners of its own frame.
        - lids_error: mean absolute difference in eye aspect ratio over both eyes (Soukupová and Čech 2016, eq. 1).

    Raises:
        ValueError: The clips differ in length.
    """
    if len(found) != len(expected):
        raise ValueError(f"{len(found)} frames found, {len(expected)} expected")
    ours, theirs = _gated(found), _gated(expected)
    height = theirs.person_height if theirs.seen["body"].any() else float("nan")
    metrics = _body_metrics(ours, theirs, height) | _hand_metrics(ours, theirs, height) | _face_metrics(ours, theirs)
    return {name: values.double().numpy() for name, values in metrics.items()}


def _gated(clip: list[Landmarks]) -> Observations:
    return observe(clip, width=0, height=0, fps=0.0)  # image size and frame rate do not affect what is read here


def _body_metrics(found: Observations, expected: Observations, height: float) -> dict[str, Tensor]:
    indices = expected.topology.indices(JOINTS)
    joints = (expected.visibility[:, indices] >= MIN_VISIBILITY) & expected.seen["body"][:, None]
    seen = found.seen["body"][:, None]
    distance = (found.pose - expected.pose)[:, indices].norm(dim=-1) / height
    return {
        "body_pck": _mean_where((distance <= PCK_TOLERANCE) & seen, joints),
        "body_error": _mean_where(100 * distance, joints & seen),
    }


def _hand_metrics(found: Observations, expected: Observations, height: float) -> dict[str, Tensor]:
    parts = ("left_hand", "right_hand")
    wrist, *fingers = expected.topology.hand
    from_wrist = lambda hand: hand[:, fingers, :2] - hand[:, [wrist], :2]
    offsets = [from_wrist(getattr(found, part)) - from_wrist(getattr(expected, part)) for part in parts]
    distances = torch.stack(offsets, 1).norm(dim=-1) / height  # [N, 2, 20]
    wanted = torch.stack([expected.seen[part] for part in parts], 1)
    both = torch.stack([found.seen[part] for part in parts], 1) & wanted
    return {
        "hand_error": _mean_where(100 * distances.mean(2), both),
        "hand_pck": _mean_where((distances <= FINGER_TOLERANCE).float().mean(2) * both, wanted),
        "hands_found": _mean_where(both, wanted),
    }


def _face_metrics(found: Observations, expected: Observations) -> dict[str, Tensor]:
    both = (found.seen["face"] & expected.seen["face"])[:, None].expand(-1, 2)
    topology = expected.topology.face
    apart = {shape: (shape(found.face, topology) - shape(expected.face, topology)).abs() for shape in (lips, lids)}
    return {"lips_error": _mean_where(100 * apart[lips], both), "lids_error": _mean_where(apart[lids], both)}


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean [N] of [N, K] where `where` is true; NaN (0 / 0) if it never is."""
    return torch.where(where, values.float(), 0.0).sum(1) / where.sum(1)
