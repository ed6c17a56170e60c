"""Measures where MediaPipe's landmarks lie on a template: what `correspondence` holds.

The template is rendered, MediaPipe is run on the renders, and what its landmarks hit is recorded:

- face: of the surface points that a landmark hits in 30 heads, the one that is nearest to it in all of them.
  Lids, inner lips and irises, which a millimetre would put on the wrong surface, get the best of their own;
- pose joints: offsets from the template's joints that explain the landmarks of 120 bodies best;
- fingertips, nose, ears, heels and big toes: from the template alone.

Bodies are symmetric, so every measurement counts for both sides.
"""

from collections.abc import Sequence
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
from ..core.silence_stderr import silent_stderr
from .detection.landmarks import FACE
from .portrait import HEAD_DISTANCE, Points, Studio

Row = tuple[np.ndarray, np.ndarray]  # vertices and weights

HEADS, BODIES = 6, 120  # people; each head is seen from five sides

# MediaPipe's landmarks of thin structures; its "right" and "left" are the person's. A corner is on both lids.
UPPER_LIDS = [33, 246, 161, 160, 159, 158, 157, 173, 133, 263, 466, 388, 387, 386, 385, 384, 398, 362]
LOWER_LIDS = [7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382]
UPPER_LIP = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
LOWER_LIP = [95, 88, 178, 87, 14, 317, 402, 318, 324]
IRISES = list(range(468, 478))

# Left pose landmark (the right one follows it): role that it lies near, role that it turns with.
# Shoulders and hips go with the trunk.
LEFT_JOINTS = {
    11: ("upper_arm.L", "spine3"),
    13: ("forearm.L", "forearm.L"),
    15: ("hand.L", "hand.L"),
    23: ("thigh.L", "hips"),
    25: ("shin.L", "shin.L"),
    27: ("foot.L", "foot.L"),
}
POSE_JOINTS = {
    left + right: tuple(role.replace(".L", side) for role in roles)
    for left, roles in LEFT_JOINTS.items()
    for right, side in enumerate((".L", ".R"))
}
SURFACE_LANDMARKS = [0, 7, 8, 29, 30, 31, 32]  # in the order of `KEYPOINTS`


# Face -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heads:
    """N detected heads."""

    vertices: Tensor  # [N, V, 3] in front of the camera
    landmarks: Tensor  # [N, 478, 2] pixels
    hits: Points  # [N, 478] surface points under the landmarks
    on_skin: np.ndarray  # [N, 478] bool: and neither background, eyeball nor tongue
    camera: Camera

    def errors(self, points: Points, landmark: int) -> Tensor:
        """How far [N, P] in the picture, in millimetres, P points are from a landmark."""
        weights = torch.from_numpy(points.weights).float()[..., None]
        pixels = self.camera.project((self.vertices[:, points.vertices] * weights).sum(-2))[..., :2]
        distance = (pixels - self.landmarks[:, landmark, None]).norm(dim=-1)
        return distance * (1e3 * HEAD_DISTANCE / self.camera.focal)


def detect_heads(studio: Studio, progress: Progress) -> Heads:
    from mediapipe.python.solutions import face_mesh

    rng = np.random.default_rng(0)
    people = studio.template.various_identities(HEADS, torch.Generator().manual_seed(0))
    views = list(product(people, (-0.35, -0.15, 0.0, 0.15, 0.35)))
    vertices, landmarks, hits, on_skin = [], [], [], []
    settings = {"static_image_mode": True, "refine_landmarks": True, "min_detection_confidence": 0.2}
    with silent_stderr(), face_mesh.FaceMesh(**settings) as detector:
        for identity, yaw in views:
            picture, camera, head = studio.head(studio.body(identity), yaw, rng.uniform(-0.12, 0.12))
            found = detector.process(picture.image).multi_face_landmarks
            if not found:
                continue
            pixels = np.array([[p.x, p.y] for p in found[0].landmark]) * camera.width
            x, y = pixels.T.astype(int).clip(0, camera.width - 1)
            triangle = picture.triangle[y, x]
            vertices.append(head)
            landmarks.append(pixels)
            hits.append((studio.faces[triangle], picture.barycentric[y, x]))
            on_skin.append((triangle >= 0) & studio.is_skin[triangle])
    progress.note(f"face: {len(hits)} of {len(views)} heads detected")
    if len(hits) < len(views) / 2:
        raise UserError(f"body template '{studio.template.name}': the detector does not take its head for a face")
    points = Points(*(np.stack(arrays) for arrays in zip(*hits, strict=True)))
    pixels = torch.from_numpy(np.stack(landmarks)).float()
    return Heads(torch.stack(vertices), pixels, points, np.stack(on_skin), camera)


def thin_structures(studio: Studio, body: Body) -> list[tuple[list[int], Points]]:
    """Landmarks that must lie on lids, inner lips and eyeballs, with dense samples of each.

    A lid ends where the eyeball begins. A lip ends where, with the jaw open, begins what the mouth hid.
    """
    closed, *_ = studio.head(body, size=1600)
    opened, *_ = studio.head(body, size=1600, jawOpen=0.6)
    outside = np.zeros(len(studio.faces) + 1, bool)
    outside[closed.triangle] = True  # and the last element, for triangle -1: an outline ends nothing
    outside[:-1] &= studio.is_skin
    structures = []
    for picture, upper, lower in ((closed, UPPER_LIDS, LOWER_LIDS), (opened, UPPER_LIP, LOWER_LIP)):
        skin = outside[picture.triangle]
        for landmarks, beyond in ((upper, -1), (lower, 1)):
            edge = skin & ~np.roll(skin, beyond, axis=0) & (picture.triangle >= 0)
            structures.append((landmarks, picture.points(edge, studio.faces)))
    _, camera, vertices = studio.head(body)
    eyes = studio.render(body, vertices, camera, studio.is_eyeball)
    return [*structures, (IRISES, eyes.points(eyes.triangle >= 0, studio.faces))]


def measure_face(studio: Studio, progress: Progress) -> list[Row]:
    """Regressor rows of the 478 landmarks.

    A landmark's place is the candidate that is nearest to it in all pictures together (mean distance, which
    forgives the far cheek of a turned head); candidates are what it hit, or the thin structure it belongs to.
    """
    body = studio.body()
    mesh = body.reference_vertices().double().numpy()
    mirror = cKDTree(mesh).query(mesh * [-1, 1, 1])[1]  # [V] the vertex opposite each
    heads = detect_heads(studio, progress)
    candidates = {k: heads.hits[heads.on_skin[:, k], k] for k in range(FACE)}
    for landmarks, surface in thin_structures(studio, body):
        candidates |= dict.fromkeys(landmarks, surface)
    unseen = [k for k, points in candidates.items() if not len(points.vertices)]
    if unseen:
        raise UserError(
            f"body template '{studio.template.name}': no place of its head was found for landmarks {unseen[:5]} of "
            "the face; its eyes or lips are not where the detector expects them"
        )

    first = {k: points[heads.errors(points, k).mean(0).argmin()] for k, points in candidates.items()}
    positions = np.stack([first[k].on(mesh) for k in range(FACE)])
    partner = linear_sum_assignment(cdist(positions, positions * [-1, 1, 1]))[1]

    rows, errors = {}, np.zeros(FACE)
    for left, right in enumerate(partner):
        if partner[right] != left:  # a detection went astray: it has no part in the symmetry
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

    progress.note("  distance in the picture, mm   median    p90    max")
    groups = {"lids": UPPER_LIDS + LOWER_LIDS, "inner lips": UPPER_LIP + LOWER_LIP, "irises": IRISES}
    groups |= {"the rest": np.setdiff1d(range(FACE), np.concatenate([*groups.values()])), "all": range(FACE)}
    for name, group in groups.items():
        median, high, largest = np.percentile(errors[group], (50, 90, 100))
        progress.note(f"  {name:14}{len(group):4} landmarks{median:9.2f}{high:7.2f}{largest:7.2f}")
    return [rows[k] for k in range(FACE)]


# Hands and surface points -----------------------------------------------------------------------------------


def fingertip_rows(template: BodyTemplate) -> list[Row]:
    """Left thumb to right little finger."""
    return [(tips.numpy(), np.ones(len(tips))) for tips in template.fingertips]


def surface_rows(template: BodyTemplate) -> list[Row]:
    points = template.keypoints()
    return [(points[name][0].numpy(), points[name][1].numpy()) for name in KEYPOINTS]


# Pose joints ------------------------------------------------------------------------------------------------


def random_pose(template: BodyTemplate, anatomy: Anatomy, rng: np.random.Generator) -> Tensor:
    """[1, P, 3]: somebody standing, arms anywhere."""
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


def detect_bodies(studio: Studio, camera: Camera, distance: float, progress: Progress) -> dict[int, list[tuple]]:
    """For each left landmark, of both sides: joint position [3], rotation [3, 3] of its offset, pixel [2]."""
    from mediapipe.python.solutions import pose

    rng = np.random.default_rng(0)
    template, detected = studio.template, 0
    anatomy = anatomy_of(template)
    no_actions = torch.zeros(1, len(template.action_names))
    seen: dict[int, list] = {landmark: [] for landmark in LEFT_JOINTS}
    settings = {"static_image_mode": True, "model_complexity": 1, "min_detection_confidence": 0.3}
    with silent_stderr(), pose.Pose(**settings) as detector:
        for identity in template.various_identities(BODIES, torch.Generator().manual_seed(1)):
            body = studio.body(identity)
            turn = torch.tensor([[rng.normal(0, 0.05), rng.normal(0, 0.05), rng.uniform(-0.9, 0.9)]]).float()
            turns = random_pose(template, anatomy, rng)
            posed = body.pose(turn, torch.tensor([[0, distance, 0]]), turns, no_actions)
            found = detector.process(studio.render(body, posed.vertices[0], camera).image).pose_landmarks
            if found is None:
                continue
            detected += 1
            for landmark, (role, frame) in POSE_JOINTS.items():
                point = found.landmark[landmark]
                if point.visibility > 0.7:
                    left, x = (landmark, 1) if landmark in LEFT_JOINTS else (landmark - 1, -1)
                    position = posed.joint_positions([template.joint_of(role)])[0, 0].numpy()
                    rotation = posed.turns[0, template.joint_of(frame)].numpy() * [x, 1, 1]
                    seen[left].append((position, rotation, [point.x * camera.width, point.y * camera.height]))
    progress.note(f"pose: {detected} of {BODIES} bodies detected")
    if min(map(len, seen.values())) < BODIES / 4:
        raise UserError(f"body template '{template.name}': the detector does not take its body for a person")
    return seen


def measure_joints(studio: Studio, progress: Progress) -> np.ndarray:
    """Offsets [12, 3] of the pose landmarks from their joints, metres, world axes of the reference pose."""
    height = 640
    camera = Camera(1.6 * height, 256, height / 2, 512, height)
    upright = 0.72 * height  # pixels that a body of 1.65 m is high
    seen = detect_bodies(studio, camera, camera.focal * 1.65 / upright, progress)
    progress.note("  offset, mm       landmarks  outward  back    up   error, % of height: before  after")
    offsets = []
    for landmark, observations in seen.items():
        positions, rotations, pixels = (np.array(column) for column in zip(*observations, strict=True))

        def errors(offset, positions=positions, rotations=rotations, pixels=pixels) -> np.ndarray:
            return camera.project(torch.from_numpy(positions + rotations @ offset))[:, :2].numpy() - pixels

        offset = least_squares(lambda x, f=errors: f(x).ravel(), np.zeros(3), loss="cauchy", f_scale=6.0).x
        offsets += [offset, offset * [-1, 1, 1]]
        before, after = (100 / upright * np.median(np.hypot(*errors(x).T)) for x in (np.zeros(3), offset))
        moved = "{:9.1f}{:6.1f}{:6.1f}".format(*1e3 * offset)
        role = POSE_JOINTS[landmark][0][:-2]
        progress.note(f"  {role:16}{len(pixels):10}{moved}{before:28.2f}{after:7.2f}")
    return np.array(offsets, np.float32)


@torch.no_grad()
def measure(template: BodyTemplate, progress: Progress = SILENT) -> dict[str, np.ndarray]:
    """The arrays that `Correspondence` is made of. Takes about a minute on one core.

    Args:
        progress: notes how well landmarks fit.

    Raises:
        UserError: the detector does not see a person in the template.
    """
    studio = Studio(template)
    rows = measure_face(studio, progress) + fingertip_rows(template) + surface_rows(template)
    named = lambda roles: np.array([template.roles[role] for role in roles])
    joints, frames = zip(*POSE_JOINTS.values(), strict=True)
    return sparse_rows(rows) | {
        "surface_landmarks": np.array(SURFACE_LANDMARKS),
        "joint_landmarks": np.array(list(POSE_JOINTS)),
        "joints": named(joints),
        "joint_frames": named(frames),
        "joint_offsets": measure_joints(studio, progress),
        "left_hand": named(f"{role}.L" for role in HAND_ROLES),
        "right_hand": named(f"{role}.R" for role in HAND_ROLES),
    }


def sparse_rows(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `Correspondence.load` reads, of one (vertices [n], weights [n]) per regressor row.

    Weights are scaled to sum to 1 within a row.
    """
    counts = [len(vertices) for vertices, _ in rows]
    return {
        "rows": np.repeat(np.arange(len(rows)), counts).astype(np.int16),
        "columns": np.concatenate([vertices for vertices, _ in rows]).astype(np.int32),
        "weights": np.concatenate([weights / weights.sum() for _, weights in rows]).astype(np.float32),
    }
