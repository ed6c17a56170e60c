"""SMPL-X behind the template protocol, for users who have its files: G. Pavlakos et al., Expressive Body Capture: 3D
Hands, Face, and Body from a Single Image, CVPR 2019, section 3.1.

The model file (`SMPLX_NEUTRAL.npz` of https://smpl-x.is.tue.mpg.de) is licensed for non-commercial research only, and
so is the package `smplx`, which reads it by unpickling. This module has the paper's equations and a reader of plain
arrays instead, so that neither is needed to install or ship this package.

The body is defined on the paper's zero pose, a T-pose with flat hands. The reference pose, from which a motion's
rotations count, has half-lowered arms and slightly bent elbows, as other templates do: it is close to a relaxed
person, and the elbow's axis can be read off it.

Facial actions: `jawOpen`, `jawLeft` and `jawRight` rotate the jaw. Each of the first 10 expression components can have
either sign, so it becomes two actions, such as `expression01Plus` and `expression01Minus`.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import roma
import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.untrusted.arrays import Arrays, open_arrays
from ..core.untrusted.records import named
from .chain import Chain, homogeneous
from .smpl_joints import SMPL, SMPLH, SMPLX
from .template import (
    FINGERS,
    SIDES,
    Body,
    BodyTemplate,
    IdentityRange,
    Posed,
)

KIND = "smplx"
MODEL_VARIABLE = "RAM_AVATAR_SMPLX"
WHERE = "SMPLX_NEUTRAL.npz of https://smpl-x.is.tue.mpg.de (free, after registration, for non-commercial research only)"

COMPONENTS = 10  # of shape, and of expression: as many as other programs use
_SHAPES, _EXPRESSIONS = 300, 100  # in files of version 1.1; version 1.0 has 10 of each
SHAPE_LIMIT = 5.0  # standard deviations
_SHAPE_COST = 0.005
EXPRESSION_SCALE = 2.5  # standard deviations of a component at the full weight of its action
_MAX_BYTES = 1 << 29  # of a file, and unpacked; that of version 1.1 takes 250 MB in double precision
# At most; SMPL-X has 10,475 vertices, 20,908 faces, and 11,313 vertices of its texture layout.
_VERTICES, _FACES, _LAYOUT = range(1, 20_001), range(1, 40_001), range(1, 120_001)
_KIND = "a model file of SMPL-X"
_LARGEST = 100.0  # metres, and metres per standard deviation

JOINTS = list(SMPLX)
PARENTS = [JOINTS.index(parent) if parent else -1 for parent in SMPLX.values()]
JAW = JOINTS.index("jaw")
# Jaw rotations at full weight: rotation vectors in radians, world axes.
JAW_TURNS = {"jawOpen": (0.5, 0.0, 0.0), "jawLeft": (0.0, 0.0, 0.2), "jawRight": (0.0, 0.0, -0.2)}
ACTIONS = [
    *JAW_TURNS,
    *(f"expression{number:02d}{sign}" for number in range(1, COMPONENTS + 1) for sign in ("Plus", "Minus")),
]
ROLES = {"hips": "pelvis", "spine1": "spine1", "spine2": "spine2", "spine3": "spine3", "neck1": "neck", "head": "head"}
ROLES |= {
    f"{role}.{side[0].upper()}": f"{side}_{joint}"
    for side in ("left", "right")
    for role, joint in {
        "clavicle": "collar",
        "upper_arm": "shoulder",
        "forearm": "elbow",
        "hand": "wrist",
        **{f"{f}{k}": f"{'pinky' if f == 'little' else f}{k}" for f in FINGERS for k in (1, 2, 3)},
        "thigh": "hip",
        "shin": "knee",
        "foot": "ankle",
        "toes": "foot",
        "eye": "eye_smplhf",
    }.items()
}
# The reference pose: rotations from the T-pose, as rotation vectors in radians relative to the parent, world axes.
_REFERENCE = {
    "left_shoulder": (0.0, 0.8, 0.0),
    "right_shoulder": (0.0, -0.8, 0.0),
    "left_elbow": (0.0, 0.0, -0.5),
    "right_elbow": (0.0, 0.0, 0.5),
}
# From the model's axes (y up, facing z) to the world's: axis order and signs.
_AXES, _SIGNS = [0, 2, 1], torch.tensor([1.0, -1.0, 1.0])
TO_WORLD = torch.eye(3)[_AXES] * _SIGNS[:, None]


@dataclass(frozen=True)
class SmplxModel:
    """The contents of a model file, in world axes and metres."""

    vertices: Tensor  # [V, 3] the mean person in the T-pose
    shapes: Tensor  # [10, V, 3] per standard deviation
    expressions: Tensor  # [10, V, 3]
    correctives: Tensor  # [486, V, 3] per entry of R - I, for the rotations R of all joints but the root
    joints: Tensor  # [55, 3]
    joint_shapes: Tensor  # [10, 55, 3]
    joint_expressions: Tensor  # [10, 55, 3]
    skin_weights: Tensor  # [V, 55]
    faces: Tensor  # [F, 3]
    uv: Tensor  # [U, 2]
    uv_faces: Tensor  # [F, 3]
    digest: str  # eight hex digits that tell files apart: neutral, male, female, versions, texture layouts

    def map(self, function: Callable[[Tensor], Tensor]) -> "SmplxModel":
        """Return a model with `function(tensor)` in place of every tensor."""
        moved: dict[str, Any] = {k: function(value) for k, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def find_model(path: str | Path | None = None, name: str = "SMPL-X") -> Path:
    """Find the model file: `path` or `$RAM_AVATAR_SMPLX`.

    Args:
        name: the template that it is for, named in messages.

    Raises:
        UserError: neither is set, there is no such file, or it is a pickle.
    """
    configured = path or os.environ.get(MODEL_VARIABLE)
    if not configured:
        raise UserError(f"the body template {name} needs its model file: get {WHERE} and set {MODEL_VARIABLE} to it")
    path = Path(configured)
    if path.suffix.lower() == ".pkl":
        raise UserError(f"{path}: pickles are not opened, since they may run code; use {WHERE}")
    if not path.is_file():
        raise UserError(f"{path}: no such file (the model of SMPL-X, set by {MODEL_VARIABLE}); get {WHERE}")
    return path


def read_model(path: Path) -> SmplxModel:
    """Read a model file of SMPL-X 1.0 or 1.1 in its `.npz` form. Object arrays are not opened.

    Raises:
        UserError: damaged, another model, or arrays that are missing, too large, or inconsistent.
    """
    with open_arrays(path, _MAX_BYTES, _KIND) as arrays, named(f"not {_KIND}"):
        return _model(arrays)


def _model(arrays: Arrays) -> SmplxModel:
    _check_skeleton(arrays)
    vertices = arrays.numbers("v_template", (_VERTICES, 3), largest=_LARGEST)
    count = len(vertices)
    shapes = arrays.numbers("shapedirs", (count, 3, range(_SHAPES + _EXPRESSIONS + 1)), largest=_LARGEST)
    first = _SHAPES if shapes.shape[2] >= _SHAPES + _EXPRESSIONS else COMPONENTS
    if shapes.shape[2] < first + COMPONENTS:
        raise ValueError(f"shapedirs has {shapes.shape[2]} components; shape and expression need {2 * COMPONENTS}")
    correctives = arrays.numbers("posedirs", (count, 3, 9 * (len(JOINTS) - 1)), largest=_LARGEST)
    regressor = arrays.numbers("J_regressor", (len(JOINTS), count), largest=_LARGEST)
    weights = arrays.numbers("weights", (count, len(JOINTS)))
    if (weights.sum(1) - 1).abs().max() > 1e-2 or weights.min() < -1e-3:
        raise ValueError("weights do not sum to 1")
    faces = arrays.indices("f", (_FACES, 3), count)
    layout = _layout(arrays, len(faces))
    used = torch.cat([shapes[..., :COMPONENTS], shapes[..., first : first + COMPONENTS]], -1)
    digest = _digest(vertices, used, regressor, weights, faces, *(layout or ()))  # of the file's contents alone
    uv, uv_faces = layout or triangle_atlas(len(faces))
    vertices = vertices @ TO_WORLD.T
    ours = lambda components: torch.einsum("ij,vjk->kvi", TO_WORLD, components).contiguous()
    shapes, expressions = ours(used[..., :COMPONENTS]), ours(used[..., COMPONENTS:])
    # Correctives are per entry of rotation matrices: rows and columns change places and signs as coordinates do.
    entries = correctives.view(count, 3, -1, 3, 3)[:, _AXES][..., _AXES, :][..., _AXES]
    signs = _SIGNS[:, None, None, None] * _SIGNS[:, None] * _SIGNS
    correctives = (entries * signs).permute(2, 3, 4, 0, 1).flatten(0, 2).contiguous()
    at_joints = lambda values: torch.einsum("jv,...vc->...jc", regressor, values)
    return SmplxModel(
        vertices=vertices,
        shapes=shapes,
        expressions=expressions,
        correctives=correctives,
        joints=at_joints(vertices),
        joint_shapes=at_joints(shapes),
        joint_expressions=at_joints(expressions),
        skin_weights=weights,
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        digest=digest,
    )


def _layout(arrays: Arrays, faces: int) -> tuple[Tensor, Tensor] | None:
    """Return the file's own texture coordinates, if any."""
    if "vt" not in arrays or "ft" not in arrays:
        return None
    uv = arrays.numbers("vt", (_LAYOUT, 2)).clamp(0, 1)
    return uv, arrays.indices("ft", (faces, 3), len(uv))


def _digest(*tensors: Tensor) -> str:
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()[:8]


def _check_skeleton(arrays: Arrays) -> None:
    shape = arrays.shape("kintree_table")
    joints = shape[-1] if len(shape) == 2 else 0
    others = {len(SMPL): "SMPL", len(SMPLH): "SMPL+H", 16: "MANO", 5: "FLAME"}
    if joints in others:
        raise ValueError(f"it is one of {others[joints]}, with {joints} joints instead of {len(JOINTS)}")
    table = arrays.numbers("kintree_table", (2, len(JOINTS)), largest=2**32)  # 2**32 - 1 is no parent
    if table[0, 1:].tolist() != PARENTS[1:]:
        raise ValueError("kintree_table is not the skeleton of SMPL-X")


def triangle_atlas(count: int, margin: float = 0.12) -> tuple[Tensor, Tensor]:
    """Make texture coordinates [3 F, 2] and faces [F, 3] for a mesh of F triangles that has none.

    Each square holds two triangles. Neighbours on the body are not neighbours here, so every triangle keeps a margin,
    as a share of its square's side, from the diagonal and the edges. A layout with seams along the body keeps more
    detail at the same size.
    """
    side = int(torch.tensor((count + 1) // 2).sqrt().ceil())
    near, far = margin, 1 - 2 * margin
    lower = torch.tensor([[near, near], [far, near], [near, far]])
    corners = torch.stack([lower, 1 - lower])  # [2, 3, 2]
    triangle = torch.arange(count)
    square = triangle // 2
    origin = torch.stack([square % side, square // side], -1)
    uv = (origin[:, None] + corners[triangle % 2]) / side
    return uv.flatten(0, 1), torch.arange(3 * count).view(count, 3)


class SmplxTemplate(BodyTemplate):
    """SMPL-X with 10 components of shape and of expression. Fields: see `template.BodyTemplate`."""

    def __init__(self, model: SmplxModel, name: str):
        self.model, self.name = model, name
        self.joint_names, self.joint_parents, self.roles, self.action_names = JOINTS, PARENTS, ROLES, ACTIONS
        self.pose_joints = [joint for joint in JOINTS if joint not in ("pelvis", "jaw")]
        self.identity_names = [f"shape{number:02d}" for number in range(1, COMPONENTS + 1)]
        self.faces, self.uv, self.uv_faces = model.faces, model.uv, model.uv_faces
        self.skin_weights = model.skin_weights
        self.pose_indices = torch.tensor([JOINTS.index(joint) for joint in self.pose_joints])
        limit = model.vertices.new_full((COMPONENTS,), SHAPE_LIMIT)
        self.identity_range = IdentityRange(-limit, limit, torch.ones_like(limit))
        self.jaw_turns = torch.tensor(list(JAW_TURNS.values())).to(limit)  # [3, 3]
        self.chain = Chain.of(PARENTS, [*self.pose_indices.tolist(), JAW]).to(limit.device)
        vectors = torch.tensor([_REFERENCE.get(joint, (0.0, 0.0, 0.0)) for joint in JOINTS]).to(limit)
        turns = roma.rotvec_to_rotmat(vectors)[None]
        turned = torch.cat([turns[:, self.pose_indices], turns[:, [JAW]]], 1)
        self.reference = self.chain.turns(turns[:, 0], turned)[0]  # [J, 3, 3] from the T-pose

    @classmethod
    def load(cls, path: str | Path | None = None) -> "SmplxTemplate":
        """Load the template from the model file at `path` or `$RAM_AVATAR_SMPLX`.

        Raises:
            UserError: see `find_model` and `read_model`.
        """
        model = read_model(find_model(path))
        return cls(model, f"{KIND}-{model.digest}")

    def default_identity(self) -> Tensor:
        return torch.zeros(COMPONENTS)

    def identity_cost(self, identity: Tensor) -> Tensor:
        return _SHAPE_COST * identity.square().sum()

    def various_identities(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, COMPONENTS, generator=generator).clamp(-2, 2)

    def body(self, identity: Tensor) -> "SmplxBody":
        if identity.shape != (COMPONENTS,):
            raise ValueError(f"identity must be [{COMPONENTS}], got {list(identity.shape)}")
        return SmplxBody(self, identity)

    def points(self, regressor: Tensor) -> "SmplxTemplate":
        model = self.model
        mix = lambda shapes: torch.einsum("kv,avc->akc", regressor, shapes)
        points = replace(
            model,
            vertices=regressor @ model.vertices,
            shapes=mix(model.shapes),
            expressions=mix(model.expressions),
            correctives=mix(model.correctives),
            skin_weights=regressor @ model.skin_weights,
        )
        return SmplxTemplate(points, self.name)

    def dressed(self, clothing: Tensor) -> "SmplxTemplate":
        return SmplxTemplate(replace(self.model, vertices=self.model.vertices + clothing), self.name)

    def to(self, device: torch.device | str) -> "SmplxTemplate":
        return SmplxTemplate(self.model.map(lambda tensor: tensor.to(device)), self.name)

    def keypoints(self) -> dict[str, tuple[Tensor, Tensor]]:
        """See `template.BodyTemplate`. Found on the mean person: the foremost, outermost and rearmost vertices of head
        and feet."""
        surface = self.body(self.default_identity()).reference_vertices()
        x, y, z = surface.unbind(-1)
        head = self.role_weight("head") > 0.5
        eyes = z[self.role_weight("eye") > 0.5].mean()
        found = {"nose": (-y, head & (x.abs() < 0.01))}
        for side, name, sign in zip(SIDES, ("left", "right"), (1, -1), strict=True):
            foot = self.role_weight(f"foot.{side}", f"toes.{side}") > 0.5
            height = z - z[foot].min()
            found[f"{name}_ear"] = (sign * x, head & ((z - eyes + 0.02).abs() < 0.02))
            found[f"{name}_heel"] = (y, foot & (height > 0.02) & (height < 0.05))
            found[f"{name}_big_toe"] = (-y - 0.5 * sign * x, foot & (height < 0.03))
        points = {}
        for name, (reach, where) in found.items():
            chosen = reach.masked_fill(~where, -torch.inf).topk(4).indices
            points[name] = (chosen, torch.full((4,), 0.25))
        return points


class SmplxBody(Body):
    """SMPL-X with a fixed identity. See `template.Body`."""

    def __init__(self, template: SmplxTemplate, identity: Tensor):
        model = template.model
        self.template = template
        self.rest_vertices = model.vertices + torch.tensordot(identity, model.shapes, 1)  # [V, 3]
        self.joints = model.joints + torch.tensordot(identity, model.joint_shapes, 1)  # [J, 3]
        self.rest_joints = homogeneous(torch.eye(3, device=identity.device).repeat(len(JOINTS), 1, 1), self.joints)

    def pose(self, root_rotation: Tensor, root_translation: Tensor, pose: Tensor, actions: Tensor) -> Posed:
        template, model, batch = self.template, self.template.model, len(pose)
        chain, reference = template.chain, template.reference
        expression = actions[:, len(JAW_TURNS) :].unflatten(1, (COMPONENTS, 2))
        expression = EXPRESSION_SCALE * (expression[..., 0] - expression[..., 1])  # [B, 10]
        joints = self.joints + torch.tensordot(expression, model.joint_expressions, 1)  # [B, J, 3]

        jaw = roma.rotvec_to_rotmat(actions[:, None, : len(JAW_TURNS)] @ template.jaw_turns)
        turned = torch.cat([roma.rotvec_to_rotmat(pose), jaw], 1)
        turns = chain.turns(roma.rotvec_to_rotmat(root_rotation), turned)  # [B, J, 3, 3]
        above = reference[chain.parents]  # the root has no parent and keeps its own
        bones = (above @ (joints - joints[:, chain.parents])[..., None])[..., 0]
        positions = chain.places(turns, root_translation, bones)
        rotations = turns @ reference

        # Rotations as in the paper: from the T-pose and relative to the parent.
        own = rotations[:, chain.parents[1:]].mT @ rotations[:, 1:]
        corrected = (own - torch.eye(3, device=pose.device)).flatten(1)  # [B, 486]
        rest = self.rest_vertices + torch.tensordot(expression, model.expressions, 1)
        rest = rest + (corrected @ model.correctives.flatten(1)).view(batch, -1, 3)
        # Linear blend skinning: one product gives each vertex its own 3x4 transform.
        shifts = positions - (rotations @ joints[..., None])[..., 0]
        blended = model.skin_weights @ torch.cat([rotations, shifts[..., None]], -1).flatten(2)
        blended = blended.view(batch, -1, 3, 4)
        vertices = (
            blended[..., 0] * rest[..., 0:1]
            + blended[..., 1] * rest[..., 1:2]
            + blended[..., 2] * rest[..., 2:3]
            + blended[..., 3]
        )
        return Posed(vertices, homogeneous(rotations, positions), turns)

    def at_reference(self) -> Posed:
        zeros = self.rest_vertices.new_zeros
        pose = zeros(1, len(self.template.pose_joints), 3)
        return self.pose(zeros(1, 3), zeros(1, 3), pose, zeros(1, len(ACTIONS)))
