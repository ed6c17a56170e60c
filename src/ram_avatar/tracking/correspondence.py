"""Where a detector's landmarks lie on a body template: measured data, one file per template and topology.

A detector's landmarks are neither joints nor vertices, but points that it learned. `correspondence_measuring` locates
them once: it renders the template, runs the detector on the renders and records what the landmarks hit. The data of
Anny and MediaPipe ships with this package. Templates that may not be redistributed are measured on the user's machine
and kept in the cache folder.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..body.template import KEYPOINTS, BodyTemplate
from ..core.archives import write_arrays
from ..core.cache import cache_folder, discard_damaged
from ..core.errors import UserError
from ..core.files import atomic_file
from ..core.progress import SILENT, Progress
from ..core.untrusted.arrays import Arrays, open_arrays
from .detection.topology import Topology

SIDES = ("left", "right")
_JOINTS, _HAND_JOINTS = 12, 16  # see `Correspondence`
_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Correspondence:
    """Where a detector's landmarks lie on a template.

    Face, fingertips, nose, ears, heels and toes are weighted sums of vertices: rows of the regressor. Pose landmark
    `joint_landmarks[i]` lies at joint `joints[i]`, moved by `joint_offsets[i]`, which turns with the joint
    `joint_frames[i]`. The landmarks within a hand are its joints.
    """

    topology: Topology
    regressor: Tensor  # [R, V], rows sum to 1: F of the face, 5 left and 5 right fingertips, 7 pose landmarks
    surface_landmarks: list[int]  # pose landmarks of the last 7 rows: nose, ears, heels, big toes
    joint_landmarks: list[int]  # 12 pose landmarks: shoulders, elbows, wrists, hips, knees, ankles
    joints: list[int]  # 12 joints of the template
    joint_frames: list[int]  # 12 joints whose rotation (`Posed.turns`) carries the offset
    joint_offsets: Tensor  # [12, 3] metres, world axes of the reference pose
    hand_joints: dict[str, list[int]]  # "left", "right": wrist, then 3 joints of each finger from the thumb on

    @classmethod
    def load(cls, template: BodyTemplate, topology: Topology, progress: Progress = SILENT) -> "Correspondence":
        """Load the data of a template and a detector, on the template's device; measure it if there is none yet.

        Raises:
            UserError: the detector does not recognize the template as a person.
        """
        name = f"{template.name}-{topology.name}.npz"
        shipped = Path(str(files(__package__) / "data" / name))
        if shipped.is_file():
            return cls._read(template, topology, shipped)
        kept = cache_folder(progress) / name
        if kept.exists():
            try:
                return cls._read(template, topology, kept)
            except (UserError, OSError):
                discard_damaged(kept, progress)
        text = (
            f"Measuring where the detector's landmarks lie on '{template.name}' "
            "(once on this machine; about a minute for 150 renders of the body)"
        )
        with progress.wait(text):
            cls._measure(template, topology, kept)
        return cls._read(template, topology, kept)

    @classmethod
    def _read(cls, template: BodyTemplate, topology: Topology, path: Path) -> "Correspondence":
        with open_arrays(path, _MAX_BYTES, "where a detector's landmarks lie") as arrays:
            return cls._of(arrays, template, topology)

    @staticmethod
    def _measure(template: BodyTemplate, topology: Topology, path: Path) -> None:
        from .correspondence_measuring import measure

        with atomic_file(path) as partial:
            write_arrays(partial, **measure(template.to("cpu"), topology))

    @classmethod
    def _of(cls, arrays: Arrays, template: BodyTemplate, topology: Topology) -> "Correspondence":
        device, vertices = template.skin_weights.device, len(template.skin_weights)
        index = {name: i for i, name in enumerate(template.joint_names)}

        def joints(key: str, count: int) -> list[int]:
            names = arrays.texts(key, (count,))
            if unknown := set(names) - index.keys():
                raise ValueError(f"{key}: there is no joint {min(unknown)}")
            return [index[name] for name in names]

        landmarks = lambda key, count: arrays.indices(key, (count,), topology.pose_count).tolist()
        weights = arrays.numbers("weights", (None,))
        rows = arrays.indices("rows", (len(weights),), row_count(topology))
        columns = arrays.indices("columns", (len(weights),), vertices)
        regressor = torch.zeros(row_count(topology), vertices)
        regressor.index_put_((rows, columns), weights, accumulate=True)
        return cls(
            topology=topology,
            regressor=regressor.to(device),
            surface_landmarks=landmarks("surface_landmarks", len(KEYPOINTS)),
            joint_landmarks=landmarks("joint_landmarks", _JOINTS),
            joints=joints("joints", _JOINTS),
            joint_frames=joints("joint_frames", _JOINTS),
            joint_offsets=arrays.numbers("joint_offsets", (_JOINTS, 3)).to(device),
            hand_joints={side: joints(f"{side}_hand", _HAND_JOINTS) for side in SIDES},
        )

    @property
    def pose_landmarks(self) -> list[int]:
        """The pose landmarks that the template has, in the order of `pose`."""
        return self.joint_landmarks + self.surface_landmarks

    @property
    def face_rows(self) -> slice:
        """Rows of the regressor: the face, in the detector's order."""
        return slice(0, self.topology.face.count)

    @property
    def tip_rows(self) -> dict[str, slice]:
        """Rows of the regressor: "left" and "right" fingertips, thumb to little finger."""
        start = self.topology.face.count
        return {"left": slice(start, start + 5), "right": slice(start + 5, start + 10)}

    @property
    def surface_rows(self) -> slice:
        """Rows of the regressor: `surface_landmarks`."""
        start = self.topology.face.count + 10
        return slice(start, start + len(KEYPOINTS))

    def pose(self, points: Tensor, joints: Tensor, turns: Tensor) -> Tensor:
        """Return the pose landmarks `pose_landmarks` [B, 19, 3] of a posed body; see `hand` and `pose_joints`."""
        return torch.cat([self.pose_joints(joints, turns), points[:, self.surface_rows]], 1)

    def hand(self, points: Tensor, joints: Tensor, side: str) -> Tensor:
        """Return the detector's hand landmarks [B, 21, 3] of a posed body.

        Args:
            points: [B, R, 3] the regressed points.
            joints: [B, J, 3] positions of all joints of the template.
            side: "left" or "right", of the person.
        """
        chain = joints[:, self.hand_joints[side]]  # [B, 16, 3]
        fingers = chain[:, 1:].unflatten(1, (5, 3))
        tips = points[:, self.tip_rows[side], None]
        hand = torch.cat([chain[:, :1], torch.cat([fingers, tips], 2).flatten(1, 2)], 1)
        return hand[:, np.argsort(self.topology.hand).tolist()]

    def pose_joints(self, joints: Tensor, turns: Tensor) -> Tensor:
        """Return the pose landmarks `joint_landmarks` [B, 12, 3] of a posed body.

        Args:
            joints: [B, J, 3] positions of all joints of the template.
            turns: [B, J, 3, 3] their rotations from the reference pose.
        """
        offsets = (turns[:, self.joint_frames] @ self.joint_offsets[..., None])[..., 0]
        return joints[:, self.joints] + offsets


def row_count(topology: Topology) -> int:
    """Return R: the landmarks of the face, ten fingertips and `KEYPOINTS`."""
    return topology.face.count + 10 + len(KEYPOINTS)
