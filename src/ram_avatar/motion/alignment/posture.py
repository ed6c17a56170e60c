"""Postures: markers on a body in a pose, and their distance from known ones."""

import numpy as np

from ...body.template import SIDES, BodyTemplate
from ..pose_features import Array, PoseFeatures

# The ends of bones, and points that show how hands and the head are rotated about their bones.
_MARKED = ("spine3", "neck1", "head")
_MARKED_TWICE = ("eye", "upper_arm", "forearm", "hand", "index1", "middle1", "little1", "shin", "foot")


class Posture:
    """Markers on a template's default body in a pose, relative to its root and heading.

    Markers depend on where the body is, not on how its joints share a rotation: a twist of the upper arm may be in its
    first half or in its second. NumPy, with any leading dimensions.
    """

    def __init__(self, template: BodyTemplate, features: PoseFeatures):
        at = template.body(template.default_identity()).at_reference().joints[0, :, :3, 3].double().numpy()
        turning = {name: k for k, name in enumerate(features.names)}
        marked = _marked(template)
        carrier: list[int] = []  # for every joint of the skeleton: the rotating joint that moves its children
        place = np.zeros((len(features.names), 3))  # positions of the rotating joints in the reference pose
        markers: dict[str, tuple[int, Array]] = {}
        for joint, (name, parent) in enumerate(zip(template.joint_names, template.joint_parents, strict=True)):
            hung = carrier[parent] if parent >= 0 else 0
            k = turning.get(name)
            if k is not None:
                place[k] = at[joint]
            carrier.append(hung if k is None else k)
            if joint in marked:
                markers[name] = hung, at[joint]
        self.names = list(markers)
        self._carriers = np.array([hung for hung, _ in markers.values()])
        self._offsets = np.stack([where - place[hung] for hung, where in markers.values()])[..., None]  # [M, 3, 1]
        parents = features.parents
        self._levels = [
            (level, parents[level], (place[level] - place[parents[level]])[..., None]) for level in features.levels
        ]

    def markers(self, rotations: Array) -> Array:
        """Return the markers [..., M, 3] (metres) of rotations [..., K, 3, 3] (`PoseFeatures.rotations`)."""
        turns, places = rotations.copy(), np.zeros(rotations.shape[:-1] + (1,))
        for joints, parents, ways in self._levels:
            hung = turns[..., parents, :, :]
            places[..., joints, :, :] = places[..., parents, :, :] + hung @ ways
            turns[..., joints, :, :] = hung @ rotations[..., joints, :, :]
        return (places[..., self._carriers, :, :] + turns[..., self._carriers, :, :] @ self._offsets)[..., 0]


def _marked(template: BodyTemplate) -> set[int]:
    """Return the joints that serve as markers. The outermost children of a foot show how it is rotated."""
    marked = {template.joint_of(role) for role in _MARKED}
    for side in SIDES:
        marked |= {template.joint_of(f"{role}.{side}") for role in _MARKED_TWICE}
        foot = template.joint_of(f"foot.{side}")
        toes = [joint for joint, parent in enumerate(template.joint_parents) if parent == foot]
        marked |= {*toes[:1], *toes[-1:]}
    return marked


class Distance:
    """Distance of postures from the nearest known one: root mean square over the markers, metres."""

    def __init__(self, known: Array):
        """Take the markers [N, M, 3] of the known postures."""
        self._known = known.reshape(len(known), -1).astype(np.float32)
        self._squares = np.square(self._known).sum(1)
        self._markers = known.shape[1]

    def __call__(self, markers: Array) -> Array:
        """Return the distances [...] of markers [..., M, 3]."""
        points = markers.reshape(*markers.shape[:-2], -1).astype(np.float32)
        square = np.square(points).sum(-1) + (self._squares - 2 * points @ self._known.T).min(-1)
        return np.sqrt(square.clip(min=0) / self._markers)
