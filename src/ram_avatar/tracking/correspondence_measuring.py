"""Measures where a detector's landmarks lie on a template: the data of `correspondence`.

The template is rendered, the detector is run on the renders, and what its landmarks hit is recorded:

- face: of all surface points that a landmark hits in 30 heads, the one nearest to it over all of them. Landmarks of
  lids, inner lips and irises choose among points of these alone, since a millimetre puts them on the wrong surface;
- pose joints: the offsets from the template's joints that best explain the landmarks of 120 bodies;
- fingertips, nose, ears, heels and big toes: from the template alone.

Bodies are symmetric, so every measurement counts for both sides.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy.optimize import least_squares, linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

from ..body.anatomy import Anatomy, anatomy_of
from ..body.template import (
    HAND_ROLES,
    KEYPOINTS,
    Body,
    BodyTemplate,
)
from ..core.camera import Camera
from ..core.errors import UserError
from ..core.progress import SILENT, Progress
from ..core.silence_stderr import silence_stderr
from .detection.detectors import open_stills
from .detection.landmarks import StillDetector
from .detection.topology import JOINTS, FaceTopology, Topology
from .portrait import HEAD_DISTANCE, MeshPoints, PortraitStudio

Row = tuple[np.ndarray, np.ndarray]  # vertices and weights

HEADS, BODIES = 6, 120  # people; each head is seen from five sides

# Left pose landmark: role of the joint nearest to it, role of the joint that it turns with. The right one follows it.
# Shoulders and hips turn with the trunk.
LEFT_JOINTS = {
    "left_shoulder": ("upper_arm.L", "spine3"),
    "left_elbow": ("forearm.L", "forearm.L"),
    "left_wrist": ("hand.L", "hand.L"),
    "left_hip": ("thigh.L", "hips"),
    "left_knee": ("shin.L", "shin.L"),
    "left_ankle": ("foot.L", "foot.L"),
}
POSE_JOINTS = {
    joint: tuple(role.replace(".L", side) for role in LEFT_JOINTS[joint.replace("right", "left")])
    for joint, side in zip(JOINTS, (".L", ".R") * len(LEFT_JOINTS), strict=True)
}


# Face -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heads:
    """N detected heads."""

    vertices: Tensor  # [N, V, 3] in front of the camera
    landmarks: Tensor  # [N, F, 2] pixels
    hits: MeshPoints  # [N, F] surface points under the landmarks
    on_skin: np.ndarray  # [N, F] bool: neither background, eyeball nor tongue
    camera: Camera

    def errors(self, points: MeshPoints, landmark: int) -> Tensor:
        """Return the distances [N, P] of P points from a landmark, in the image, millimetres."""
        weights = torch.from_numpy(points.weights).float()[..., None]
        pixels = self.camera.project((self.vertices[:, points.vertices] * weights).sum(-2))[..., :2]
        distance = (pixels - self.landmarks[:, landmark, None]).norm(dim=-1)
        return distance * (1e3 * HEAD_DISTANCE / self.camera.focal)


def detect_heads(studio: PortraitStudio, detector: StillDetector, progress: Progress) -> Heads:
    """Render heads of various people from several sides, and find their faces.

    Raises:
        UserError: fewer than half of them are found.
    """
    rng = np.random.default_rng(0)
    people = studio.template.various_identities(HEADS, torch.Generator().manual_seed(0))
    views = list(product(people, (-0.35, -0.15, 0.0, 0.15, 0.35)))
    vertices, landmarks, hits, on_skin = [], [], [], []
    for identity, yaw in views:
        picture, camera, head = studio.head(studio.body(identity), yaw, rng.uniform(-0.12, 0.12))
        pixels = detector.face(picture.image)
        if pixels is None:
            continue
        x, y = pixels.T.astype(int).clip(0, camera.width - 1)
        triangle = picture.triangle[y, x]
        vertices.append(head)
        landmarks.append(pixels)
        hits.append((studio.faces[triangle], picture.barycentric[y, x]))
        on_skin.append((triangle >= 0) & studio.is_skin[triangle])
    progress.note(f"face: {len(hits)} of {len(views)} heads detected")
    if len(hits) < len(views) / 2:
        raise UserError(f"body template '{studio.template.name}': the detector does not recognize its head as a face")
    points = MeshPoints(*(np.stack(arrays) for arrays in zip(*hits, strict=True)))
    places = torch.from_numpy(np.stack(landmarks)).float()
    return Heads(torch.stack(vertices), places, points, np.stack(on_skin), camera)


def thin_structures(studio: PortraitStudio, body: Body, face: FaceTopology) -> list[tuple[tuple[int, ...], MeshPoints]]:
    """Return the landmarks that must lie on lids, inner lips and eyeballs, with dense samples of each.

    A lid ends where the eyeball begins. A lip ends where, with the jaw open, the inside of the mouth begins.
    """
    closed, *_ = studio.head(body, size=1600)
    opened, *_ = studio.head(body, size=1600, jawOpen=0.6)
    outside = np.zeros(len(studio.faces) + 1, bool)
    outside[closed.triangle] = True  # also the last element, for triangle -1: a silhouette is not an edge
    outside[:-1] &= studio.is_skin
    structures = []
    pairs = ((closed, face.upper_lids, face.lower_lids), (opened, face.upper_lip, face.lower_lip))
    for picture, upper, lower in pairs:
        skin = outside[picture.triangle]
        for landmarks, beyond in ((upper, -1), (lower, 1)):
            edge = skin & ~np.roll(skin, beyond, axis=0) & (picture.triangle >= 0)
            structures.append((landmarks, picture.points(edge, studio.faces)))
    _, camera, vertices = studio.head(body)
    eyes = studio.render(body, vertices, camera, studio.is_eyeball)
    return [*structures, (face.irises, eyes.points(eyes.triangle >= 0, studio.faces))]


def measure_face(studio: PortraitStudio, detector: StillDetector, progress: Progress) -> list[Row]:
    """Return the regressor rows of the face.

    A landmark's place is the candidate nearest to it over all images (by mean distance, which tolerates the far cheek
    of a turned head). Candidates are the points that it hit, or the thin structure that it belongs to.

    Raises:
        UserError: too few faces are found, or a landmark hits nothing.
    """
    face, body = detector.topology.face, studio.body()
    mesh = body.reference_vertices().double().numpy()
    mirror = cKDTree(mesh).query(mesh * [-1, 1, 1])[1]  # [V] the vertex opposite each
    heads = detect_heads(studio, detector, progress)
    candidates = {k: heads.hits[heads.on_skin[:, k], k] for k in range(face.count)}
    for landmarks, surface in thin_structures(studio, body, face):
        candidates |= dict.fromkeys(landmarks, surface)
    unseen = [k for k, points in candidates.items() if not len(points.vertices)]
    if unseen:
        raise UserError(
            f"body template '{studio.template.name}': face landmarks {unseen[:5]} hit nothing on its head; "
            "its eyes or lips are not where the detector expects them"
        )

    first = {k: points[heads.errors(points, k).mean(0).argmin()] for k, points in candidates.items()}
    positions = np.stack([first[k].on(mesh) for k in range(face.count)])
    partner = linear_sum_assignment(cdist(positions, positions * [-1, 1, 1]))[1]

    rows, errors = {}, np.zeros(face.count)
    for left, right in enumerate(partner):
        if partner[right] != left:  # a bad detection: leave it out of the symmetry
            error = heads.errors(candidates[left], left)
            errors[left] = error.median(0).values.min()
            rows[left] = (first[left].vertices, first[left].weights)
            continue
        if positions[left, 0] < positions[right, 0]:
            continue  # done from the other side
        points = candidates[left].join(candidates[right].reflected(mirror))
        error = torch.cat([heads.errors(points, left), heads.errors(points.reflected(mirror), right)])
        best = error.mean(0).argmin()
        errors[[left, right]] = error[:, best].median()
        place = points[best]
        if left == right:
            place = place.join(place.reflected(mirror), axis=-1)
        rows[left] = (place.vertices, place.weights)
        if left != right:
            rows[right] = (mirror[place.vertices], place.weights)

    progress.note("  distance in the image, mm     median    p90    max")
    lids, lips = face.upper_lids + face.lower_lids, face.upper_lip + face.lower_lip
    rest = tuple({*range(face.count)} - {*lids, *lips, *face.irises})
    groups = {"lids": lids, "inner lips": lips, "irises": face.irises, "the rest": rest, "all": range(face.count)}
    for name, group in groups.items():
        median, high, largest = np.percentile(errors[list(group)], (50, 90, 100))
        progress.note(f"  {name:14}{len(group):4} landmarks{median:9.2f}{high:7.2f}{largest:7.2f}")
    return [rows[k] for k in range(face.count)]


# Hands and surface points -----------------------------------------------------------------------------------


def fingertip_rows(template: BodyTemplate) -> list[Row]:
    """Return the regressor rows of the fingertips, left thumb to right little finger."""
    return [(tips.numpy(), np.ones(len(tips))) for tips in template.fingertips]


def surface_rows(template: BodyTemplate) -> list[Row]:
    """Return the regressor rows of `KEYPOINTS`."""
    points = template.keypoints()
    return [(points[name][0].numpy(), points[name][1].numpy()) for name in KEYPOINTS]


# Pose joints ------------------------------------------------------------------------------------------------


def random_pose(template: BodyTemplate, anatomy: Anatomy, rng: np.random.Generator) -> Tensor:
    """Return a random standing pose [1, P, 3] with the arms anywhere."""
    spread = {"upper_arm": (0.6, 0.6, 0.4), "thigh": (0.25, 0.2, 0.1)}
    spread |= {"spine2": (0.12, 0.1, 0.12), "neck1": (0.1, 0.1, 0.1)}
    bend = {"forearm": (-0.3, 1.2), "shin": (0.0, 0.6)}
    pose = torch.zeros(1, len(template.pose_joints), 3)
    for vector, axes, role in zip(pose[0], anatomy.axes, template.pose_roles, strict=True):
        joint = role.split(".")[0]
        if joint in spread:
            vector[:] = torch.from_numpy(rng.normal(size=3) * spread[joint])
        elif joint in bend:
            vector[:] = rng.uniform(*bend[joint]) * axes[:, 0]
    return pose


Sighting = tuple[np.ndarray, np.ndarray, np.ndarray]


def detect_bodies(
    studio: PortraitStudio, detector: StillDetector, camera: Camera, distance: float, progress: Progress
) -> dict[str, list[Sighting]]:
    """Return the sightings of each left landmark, those of the right one mirrored.

    A sighting is the joint's position [3], the rotation [3, 3] of the offset, and the pixel [2].

    Raises:
        UserError: too few bodies are found.
    """
    rng = np.random.default_rng(0)
    template, topology, detected = studio.template, detector.topology, 0
    anatomy = anatomy_of(template)
    no_actions = torch.zeros(1, len(template.action_names))
    seen: dict[str, list[Sighting]] = {landmark: [] for landmark in LEFT_JOINTS}
    for identity in template.various_identities(BODIES, torch.Generator().manual_seed(1)):
        body = studio.body(identity)
        turn = torch.tensor([[rng.normal(0, 0.05), rng.normal(0, 0.05), rng.uniform(-0.9, 0.9)]]).float()
        turns = random_pose(template, anatomy, rng)
        posed = body.pose(turn, torch.tensor([[0, distance, 0]]), turns, no_actions)
        found = detector.pose(studio.render(body, posed.vertices[0], camera).image)
        if found is None:
            continue
        detected += 1
        pixels, visibility = found
        for landmark, (role, frame) in POSE_JOINTS.items():
            index = topology.pose[landmark]
            if visibility[index] > 0.7:
                x = 1 if landmark in LEFT_JOINTS else -1
                position = posed.joint_positions([template.joint_of(role)])[0, 0].numpy()
                rotation = posed.turns[0, template.joint_of(frame)].numpy() * [x, 1, 1]
                seen[landmark.replace("right", "left")].append((position, rotation, pixels[index]))
    progress.note(f"pose: {detected} of {BODIES} bodies detected")
    if min(map(len, seen.values())) < BODIES / 4:
        raise UserError(f"body template '{template.name}': the detector does not recognize its body as a person")
    return seen


def measure_joints(studio: PortraitStudio, detector: StillDetector, progress: Progress) -> np.ndarray:
    """Return the offsets [12, 3] of pose landmarks from their joints, metres, world axes of the reference pose."""
    height = 640
    camera = Camera(1.6 * height, 256, height / 2, 512, height)
    upright = 0.72 * height  # height in pixels of a body of 1.65 m
    seen = detect_bodies(studio, detector, camera, camera.focal * 1.65 / upright, progress)
    progress.note("  offset, mm       landmarks  outward  back    up   error, % of height: before  after")
    offsets = []
    for landmark, sightings in seen.items():
        positions, rotations, pixels = (np.array(column) for column in zip(*sightings, strict=True))

        def errors(
            offset: np.ndarray,
            positions: np.ndarray = positions,
            rotations: np.ndarray = rotations,
            pixels: np.ndarray = pixels,
        ) -> np.ndarray:
            return camera.project(torch.from_numpy(positions + rotations @ offset))[:, :2].numpy() - pixels

        offset = least_squares(lambda x, f=errors: f(x).ravel(), np.zeros(3), loss="cauchy", f_scale=6.0).x
        offsets += [offset, offset * [-1, 1, 1]]
        before, after = (100 / upright * np.median(np.hypot(*errors(x).T)) for x in (np.zeros(3), offset))
        moved = "{:9.1f}{:6.1f}{:6.1f}".format(*1e3 * offset)
        role = POSE_JOINTS[landmark][0][:-2]
        progress.note(f"  {role:16}{len(pixels):10}{moved}{before:28.2f}{after:7.2f}")
    return np.array(offsets, np.float32)


@torch.no_grad()
def measure(template: BodyTemplate, topology: Topology, progress: Progress = SILENT) -> dict[str, np.ndarray]:
    """Measure the arrays that a `Correspondence` is read from. Takes about a minute on one core.

    Args:
        progress: notes how well landmarks fit.

    Raises:
        UserError: the detector does not recognize the template as a person.
    """
    studio = PortraitStudio(template)
    with silence_stderr(), closing(open_stills(topology)) as detector:  # its threads log at any time
        rows = measure_face(studio, detector, progress) + fingertip_rows(template) + surface_rows(template)
        joint_offsets = measure_joints(studio, detector, progress)
    return sparse_rows(rows) | named_landmarks(template, topology) | {"joint_offsets": joint_offsets}


def named_landmarks(template: BodyTemplate, topology: Topology) -> dict[str, np.ndarray]:
    """Return the arrays of a `Correspondence` that follow from names alone."""

    def named(roles: Iterable[str]) -> np.ndarray:
        return np.array([template.roles[role] for role in roles])

    joints, frames = zip(*POSE_JOINTS.values(), strict=True)
    return {
        "surface_landmarks": np.array(topology.indices(KEYPOINTS)),
        "joint_landmarks": np.array(topology.indices(POSE_JOINTS)),
        "joints": named(joints),
        "joint_frames": named(frames),
        "left_hand": named(f"{role}.L" for role in HAND_ROLES),
        "right_hand": named(f"{role}.R" for role in HAND_ROLES),
    }


def sparse_rows(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the regressor's arrays as `Correspondence.load` reads them, of one (vertices, weights) [n] per row.

    Weights are normalized to sum to 1 within a row.
    """
    counts = [len(vertices) for vertices, _ in rows]
    return {
        "rows": np.repeat(np.arange(len(rows)), counts).astype(np.int16),
        "columns": np.concatenate([vertices for vertices, _ in rows]).astype(np.int32),
        "weights": np.concatenate([weights / weights.sum() for _, weights in rows]).astype(np.float32),
    }
