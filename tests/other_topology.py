"""A made-up detector's topology: MediaPipe's landmarks in another order, and not all of them."""

from collections.abc import Iterable
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import numpy as np

from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.detection.topology import POSE_ROLES, Eye, FaceTopology, Topology

_RNG = np.random.default_rng(5)
_KEPT_POSE = sorted(MEDIAPIPE.indices(POSE_ROLES) + [19, 20])  # of the hands, the index fingers alone
_NAMED = {i for eye in MEDIAPIPE.face.eyes for i in (*eye.corners, *eye.lids[0], *eye.lids[1])}
_NAMED |= {*MEDIAPIPE.face.outer_eye_corners, *MEDIAPIPE.face.inner_lips, *MEDIAPIPE.face.mouth_corners}
_KEPT_FACE = sorted({*range(0, 478, 3), *_NAMED, *MEDIAPIPE.face.head, *MEDIAPIPE.face.irises})
POSE = _RNG.permutation(_KEPT_POSE).tolist()  # MediaPipe's index of each landmark
HAND = _RNG.permutation(21).tolist()
FACE = _RNG.permutation(_KEPT_FACE).tolist()


def _moved(indices: Iterable[int], order: list[int]) -> tuple[int, ...]:
    return tuple(order.index(i) for i in indices if i in order)


def _face() -> FaceTopology:
    face = MEDIAPIPE.face
    groups = {f.name: _moved(getattr(face, f.name), FACE) for f in fields(face) if f.name not in ("count", "eyes")}
    right, left = (Eye(_moved(eye.corners, FACE), tuple(_moved(pair, FACE) for pair in eye.lids)) for eye in face.eyes)
    return FaceTopology(count=len(FACE), eyes=(right, left), **groups)


OTHER = Topology(
    name="other",
    pose_count=len(POSE),
    pose={role: POSE.index(i) for role, i in MEDIAPIPE.pose.items()},
    limbs=tuple(_moved(limb, POSE) for limb in MEDIAPIPE.limbs),
    hand=_moved(range(21), HAND),
    face=_face(),
)


def write_correspondence(template, folder: Path) -> None:
    """Write where `OTHER` lies on Anny into a cache folder."""
    shipped = files("ram_avatar.tracking") / "data" / f"{template.name}-{MEDIAPIPE.name}.npz"
    with np.load(str(shipped)) as file:
        data = dict(file)
    rows, kept = data["rows"], len(FACE)
    place = np.full(495, -1)
    place[FACE] = np.arange(kept)
    place[478:] = kept + np.arange(17)  # fingertips and the pose's points of the skin
    chosen = place[rows] >= 0
    data |= {name: data[name][chosen] for name in ("columns", "weights")} | {"rows": place[rows][chosen]}
    for name in ("surface_landmarks", "joint_landmarks"):
        data[name] = np.array(_moved(data[name].tolist(), POSE))
    np.savez(folder / f"{template.name}-{OTHER.name}.npz", **data)
