"""How a body looks in a pose: markers on it, and how far two postures are from each other."""

import numpy as np

from ..body.template import BodyTemplate
from .pose_features import Array, PoseFeatures

# Where each bone ends, and beside it where hands, feet and head would show a turn about their bone.
_MARKED = (
    "spine01", "neck01", "head", "eye",
    "upperarm01", "lowerarm01", "wrist", "finger2-1", "finger3-1", "finger5-1",
    "lowerleg01", "foot", "toe1-1", "toe5-1",
)  # fmt: skip


class Posture:
    """Markers of a template's default body in a pose, relative to its root and heading. NumPy, leading dims free.

    They follow from where a pose's turns leave the body, however the turns are shared among its joints: a twist of the
    upper arm may be in its first half or in its second.
    """

    def __init__(self, template: BodyTemplate, features: PoseFeatures):
        body, names = template.body(template.default_identity()), template.joint_names
        at = body.at_reference().joints[0, :, :3, 3].double().numpy()
        turned = {name: k for k, name in enumerate(features.names)}
        turned[names[template.joint_parents.index(-1)]] = 0
        self._order: list[tuple[int, int, Array]] = []  # turning joint, the one it hangs on, way between them
        bearer: dict[int, int] = {}  # of every joint of the skeleton: the last turning joint up to it
        for joint, (name, parent) in enumerate(zip(names, template.joint_parents, strict=True)):
            bearer[joint] = turned.get(name, bearer.get(parent, 0))
        where = {turned[name]: at[joint] for joint, name in enumerate(names) if name in turned}
        for joint, (name, parent) in enumerate(zip(names, template.joint_parents, strict=True)):
            if name in turned and parent >= 0:
                k, hung = turned[name], bearer[parent]
                self._order.append((k, hung, where[k] - where[hung]))
        self.names, self._carriers, offsets = [], [], []
        for joint, name in enumerate(names):
            if name.split(".")[0] in _MARKED:
                carrier = bearer[template.joint_parents[joint]]
                self.names.append(name)
                self._carriers.append(carrier)
                offsets.append(at[joint] - where[carrier])
        self._offsets = np.stack(offsets)
        self._count = len(features.names)

    def markers(self, rotations: Array) -> Array:
        """[..., M, 3] metres, of rotations [..., K, 3, 3] (`PoseFeatures.rotations`)."""
        turns = [rotations[..., 0, :, :]] + [None] * (self._count - 1)
        places = [np.zeros(rotations.shape[:-3] + (3,))] + [None] * (self._count - 1)
        for joint, parent, way in self._order:  # parents come first
            places[joint] = places[parent] + turns[parent] @ way
            turns[joint] = turns[parent] @ rotations[..., joint, :, :]
        carried = np.stack([turns[k] for k in self._carriers], -3)
        start = np.stack([places[k] for k in self._carriers], -2)
        return start + (carried @ self._offsets[..., None])[..., 0]


class Distance:
    """How far postures are from the nearest of the known ones: root mean square over the markers, metres."""

    def __init__(self, known: Array):
        """known: [N, M, 3] markers."""
        self._known = known.reshape(len(known), -1).astype(np.float32)
        self._squares = np.square(self._known).sum(1)
        self._markers = known.shape[1]

    def __call__(self, markers: Array) -> Array:
        """[...] of markers [..., M, 3]."""
        points = markers.reshape(*markers.shape[:-2], -1).astype(np.float32)
        square = np.square(points).sum(-1, keepdims=True) - 2 * points @ self._known.T + self._squares
        return np.sqrt(square.min(-1).clip(min=0) / self._markers)
