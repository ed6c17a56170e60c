"""Does the avatar do what it is told? The detector looks at the avatar and is compared with the driver's landmarks.

Both sides are gated as the tracker gates them (`tracking.observations`): a hand that is not at its wrist and a
face seen from behind count as unseen.
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
from ..tracking.detection.topology import HIPS, JOINTS, FaceTopology, Topology
from ..tracking.observations import Observations, observe
from .metric_catalog import Series

# Pixels of the longer side: smaller frames are enlarged. Of the hands found in two clips of dancers at 1024, 83 %
# are found again at 256 enlarged to 512, and 78 % at 256 as it is.
DETECTION_SIDE = 512
PCK_TOLERANCE = 0.05  # of the person's height
FINGER_TOLERANCE = 0.02  # of the person's height: a fifth of a hand's length
MIN_VISIBILITY = 0.5  # joints below are hidden, and not asked for

# A landmark this far (metres) behind the nearest surface is hidden; joints lie within the body.
_BURIED = 0.15


def detect_frames(
    frames: Iterable[np.ndarray],
    detector: LandmarkDetector | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> list[Landmarks]:
    """Landmarks of one clip, followed in order, in pixels of the frames as given.

    Args:
        frames: RGB [H, W, 3] uint8.
        detector: the default detector where it is None. It remembers the clip, and is closed afterwards.
        on_frame: called with the number of frames done.
    """
    found = []
    with closing(detector or open_detector()) as detector:
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
    """Landmarks in the pixels of a picture `zoom` times as large."""
    return replace(
        seen,
        pose=seen.pose * zoom,
        left_hand=seen.left_hand * zoom,
        right_hand=seen.right_hand * zoom,
        face=seen.face * zoom,
    )


# What was asked for --------------------------------------------------------------------------------------------


@torch.no_grad()
def expected_landmarks(
    template: BodyTemplate,
    identity: Tensor,
    cameras: Sequence[Camera],
    motion: Motion,
    topology: Topology = DEFAULT_TOPOLOGY,
) -> list[Landmarks]:
    """What a detector would see of a body that moves as it is told, for motions without a video of this person.

    Pose landmarks that the template's `Correspondence` does not have are NaN. So is a part that was unseen in the
    driver's video (`Motion.confidence` is 0), and a hand or face that is not wholly in the picture. `visibility` is
    1 for a pose landmark that lies in the picture, on a limb that the driver's video showed, and not behind another
    part of the body, else 0. Depths of hands
    and face are relative to the part's first landmark. The mask is empty (1 x 1).

    Args:
        identity: [I] of the template, on its device.
        cameras: of each picture that the detector's landmarks will be compared in.
        motion: what drives the avatar, as `motion.retarget` leaves it.
        topology: of the detector.

    Raises:
        UserError: see `Correspondence.load`.
    """
    body, landmarks = template.body(identity), Correspondence.load(template, topology)
    order = landmarks.pose_landmarks
    hips = [order.index(i) for i in topology.indices(HIPS)]
    expected = []
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
        wanted = {name: part.confidence[:, column] > 0 for column, name in enumerate(PARTS)}
        visible = _visible(pixels["body"], depth) & wanted["body"][:, None]
        for limb, hanging in zip(LIMBS, topology.limbs, strict=True):
            visible[:, [order.index(i) for i in hanging if i in order]] &= wanted[limb][:, None]
        pose = _unless_unseen(pixels["body"], wanted["body"])
        world = _camera_axes(_unless_unseen(spatial["body"], wanted["body"]), hips)
        expected += _frames(
            topology,
            pose=_in_order(pose[..., :2], order, topology.pose_count, torch.nan),
            visibility=_in_order(visible.float(), order, topology.pose_count, 0.0),
            pose_world=_in_order(world, order, topology.pose_count, torch.nan),
            **{name: _part(pixels[name], wanted[name], camera) for name in ("left_hand", "right_hand", "face")},
        )
    return expected


def _visible(pixels: Tensor, depth: Tensor) -> Tensor:
    """[B, K] bool: in the picture and not hidden, of projected points [B, K, 3] and the body's depth [B, H, W]."""
    height, width = depth.shape[1:]
    column, row = (pixels[..., axis].floor().long() for axis in (0, 1))
    batch = torch.arange(len(pixels), device=pixels.device)[:, None]
    nearest = depth[batch, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return _inside(pixels, width, height) & (nearest > pixels[..., 2] - _BURIED)


def _inside(pixels: Tensor, width: int, height: int) -> Tensor:
    """[B, K] bool: in the picture."""
    return ((pixels[..., :2] >= 0) & (pixels[..., :2] < pixels.new_tensor([width, height]))).all(-1)


def _part(pixels: Tensor, wanted: Tensor, camera: Camera) -> Tensor:
    """A hand or the face as the detector tells it: depth in pixels too, all NaN where unseen."""
    depth = pixels[..., 2:]
    away = (depth - depth[:, :1]) * camera.focal / depth
    wanted = wanted & _inside(pixels, camera.width, camera.height).all(1)
    return _unless_unseen(torch.cat([pixels[..., :2], away], -1), wanted)


def _camera_axes(points: Tensor, hips: list[int]) -> Tensor:
    """World points about the hips: x right, y down, z away."""
    x, y, z = (points - points[:, hips].mean(1, keepdim=True)).unbind(-1)
    return torch.stack([x, -z, y], -1)


def _unless_unseen(points: Tensor, seen: Tensor) -> Tensor:
    return torch.where(seen[:, None, None], points, torch.nan)


def _in_order(values: Tensor, order: list[int], count: int, fill: float) -> Tensor:
    """[B, P, ...] of [B, K, ...], whose pose landmarks are `order`."""
    full = values.new_full((len(values), count, *values.shape[2:]), fill)
    full[:, order] = values
    return full


def _frames(topology: Topology, **parts: Tensor) -> Iterator[Landmarks]:
    arrays = {name: values.cpu().numpy() for name, values in parts.items()}
    for i in range(len(arrays["pose"])):
        yield Landmarks(
            topology, **{name: values[i] for name, values in arrays.items()}, mask=np.zeros((1, 1), np.uint8)
        )


# The figures ---------------------------------------------------------------------------------------------------


def judge_control(found: list[Landmarks], wanted: list[Landmarks]) -> Series:
    """How far the landmarks found on the avatar are from those it was told to have.

    Lengths are in units of the person's height: `Observations.person_height` of `wanted`, one value for the clip.
    It is the median, over the bones of torso and legs seen in over 30 % of the frames, of a bone's long end in the
    picture (its 85th percentile) over that bone's usual share of body height.

    Left and right are the detector's: a hand found as the other one is not found.

    Args:
        found: N frames of the avatar (`detect_frames`).
        wanted: N frames of the same camera: of the true video, or `expected_landmarks`.

    Returns:
        [N] each, NaN where `wanted` does not have the part, and where the detector did not find it, except for
        `body_pck`, `hand_pck` and `hands_found`, in which that counts as 0.

        - body_pck: share of the 12 `JOINTS` (`topology`) within 5 % of the height (PCK, Yang and Ramanan 2013); joints
          hidden in `wanted` (visibility below 0.5) are left out here and in body_error.
        - body_error: mean distance of those joints, % of the height.
        - hand_error: mean distance of the 20 finger landmarks of a hand from its wrist on, % of the height, over the
          hands found in both.
        - hand_pck: share of the finger landmarks of the wanted hands within 2 % of the height of their places, likewise
          from the wrist on. The one figure for hands: it sees both those that are lost and those that err.
        - hands_found: share of the wanted hands, 0, 1/2 or 1.
        - lips_error: mean absolute difference of the inner lips' opening and the mouth's width, each in % of the
          distance of the outer eye corners in its own picture.
        - lids_error: mean absolute difference of the eye aspect ratio of both eyes (Soukupová and Čech 2016, eq. 1).

    Raises:
        ValueError: clips of different lengths.
    """
    if len(found) != len(wanted):
        raise ValueError(f"{len(found)} frames found, {len(wanted)} wanted")
    shown, asked = _gated(found), _gated(wanted)
    height = asked.person_height if asked.seen["body"].any() else float("nan")
    figures = _judge_body(shown, asked, height) | _judge_hands(shown, asked, height) | _judge_face(shown, asked)
    return {name: values.double().numpy() for name, values in figures.items()}


def _gated(clip: list[Landmarks]) -> Observations:
    return observe(clip, width=0, height=0, fps=0.0)  # neither picture nor time plays a role in what is read here


def _judge_body(shown: Observations, asked: Observations, height: float) -> dict[str, Tensor]:
    places = asked.topology.indices(JOINTS)
    joints = (asked.visibility[:, places] >= MIN_VISIBILITY) & asked.seen["body"][:, None]
    found = shown.seen["body"][:, None]
    distance = (shown.pose - asked.pose)[:, places].norm(dim=-1) / height
    return {
        "body_pck": _mean_where((distance <= PCK_TOLERANCE) & found, joints),
        "body_error": _mean_where(100 * distance, joints & found),
    }


def _judge_hands(shown: Observations, asked: Observations, height: float) -> dict[str, Tensor]:
    distances, both, wanted = [], [], []
    for part in ("left_hand", "right_hand"):
        one, other = (getattr(clip, part)[..., :2] for clip in (shown, asked))
        wrist, *fingers = asked.topology.hand
        apart = (one[:, fingers] - one[:, [wrist]]) - (other[:, fingers] - other[:, [wrist]])
        distances.append(apart.norm(dim=-1) / height)
        both.append(shown.seen[part] & asked.seen[part])
        wanted.append(asked.seen[part])
    distances, both, wanted = (torch.stack(each, 1) for each in (distances, both, wanted))
    return {
        "hand_error": _mean_where(100 * distances.mean(2), both),
        "hand_pck": _mean_where((distances <= FINGER_TOLERANCE).float().mean(2) * both, wanted),
        "hands_found": _mean_where(both, wanted),
    }


def _judge_face(shown: Observations, asked: Observations) -> dict[str, Tensor]:
    both = (shown.seen["face"] & asked.seen["face"])[:, None].expand(-1, 2)
    topology = asked.topology.face
    lips = (_lips(shown.face, topology) - _lips(asked.face, topology)).abs()
    lids = (_lids(shown.face, topology) - _lids(asked.face, topology)).abs()
    return {"lips_error": _mean_where(100 * lips, both), "lids_error": _mean_where(lids, both)}


def _lips(face: Tensor, topology: FaceTopology) -> Tensor:
    """[N, 2] opening of the inner lips and width of the mouth, by the distance of the outer eye corners."""
    lengths = [_length(face, pair) for pair in (topology.inner_lips, topology.mouth_corners)]
    return torch.stack(lengths, 1) / _length(face, topology.outer_eye_corners)[:, None]


def _lids(face: Tensor, topology: FaceTopology) -> Tensor:
    """[N, 2] height over width of the right and the left eye."""
    ratios = [
        (_length(face, inner) + _length(face, outer)) / (2 * _length(face, eye.corners))
        for eye in topology.eyes
        for outer, inner in [eye.lids]
    ]
    return torch.stack(ratios, 1)


def _length(face: Tensor, pair: tuple[int, int]) -> Tensor:
    """[N] in the picture."""
    return (face[:, pair[0], :2] - face[:, pair[1], :2]).norm(dim=-1)


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """[N] mean of [N, K] over the places that count; NaN (0 / 0) where none does."""
    return torch.where(where, values.float(), 0.0).sum(1) / where.sum(1)
