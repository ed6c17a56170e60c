"""A file with the layout of SMPL-X's that is free to use: Anny (CC0) on SMPL-X's skeleton.

It resembles a person, so that a detector finds one; only names, shapes and order are SMPL-X's.
"""

from pathlib import Path

import numpy as np
import roma
import torch

from ram_avatar.body.smpl_joints import SMPLX
from ram_avatar.body.smplx import COMPONENTS, ROLES, TO_WORLD
from ram_avatar.body.template import FINGERS, SIDES
from ram_avatar.motion.conversion.calibration import swing

JOINTS = list(SMPLX)
_NEAR = 80  # vertices that a joint is regressed from
_SHAPES = [{"height": 0.1}, {"weight": 0.1}, {"gender": 0.25}, {"proportions": 0.2}, {"muscle": 0.2}]
_SHAPES += [{"head-scale-horiz-incr": 0.4}, {"upperarm-fat-incr": 0.5}, {"nose-scale-vert-incr": 0.6}]
_SHAPES += [{"torso-scale-horiz-incr": 0.4}, {"upperlegs-height-incr": 0.4}]
_EXPRESSIONS = [
    ("mouthSmileLeft", "mouthSmileRight"), ("eyeBlinkLeft", "eyeBlinkRight"), ("browInnerUp",), ("mouthPucker",),
    ("browDownLeft", "browDownRight"), ("mouthFrownLeft", "mouthFrownRight"), ("cheekPuff",),
    ("mouthUpperUpLeft", "mouthUpperUpRight"), ("mouthLowerDownLeft", "mouthLowerDownRight"), ("mouthLeft",),
]  # fmt: skip


def fake_arrays(anny, components: int = 2 * COMPONENTS) -> dict[str, np.ndarray]:
    """Make the arrays of a model file. Shape and expression components beyond 10 each are 0."""
    t_pose = _t_pose(anny)
    still, zeros = torch.zeros(1, 3), torch.zeros(1, len(anny.action_names))
    default = anny.default_identity()

    def standing(**changes: float) -> torch.Tensor:
        identity = default.clone()
        for name, change in changes.items():
            identity[anny.identity_names.index(name)] += change
        return anny.body(identity).pose(still, still, t_pose, zeros)

    def acting(*names: str) -> torch.Tensor:
        actions = zeros.clone()
        actions[0, [anny.action_names.index(name) for name in names]] = 1.0
        return anny.body(default).pose(still, still, t_pose, actions).vertices[0]

    mean = standing()
    vertices = mean.vertices[0]
    jaw = (acting("jawOpen") - vertices).norm(dim=1)
    weights = torch.zeros(len(vertices), len(JOINTS))
    for role, joint in ROLES.items():
        twist = [role.replace(".", "_twist.")] if role.replace(".", "_twist.") in anny.roles else []
        mine = anny.role_weight(role, *twist)
        weights[:, JOINTS.index(joint)] = mine
    weights[:, JOINTS.index("neck")] += anny.role_weight("neck2")
    head, share = JOINTS.index("head"), (jaw / jaw.quantile(0.99)).clamp(max=1)
    weights[:, JOINTS.index("jaw")] = weights[:, head] * share
    weights[:, head] *= 1 - share
    weights = weights / weights.sum(1, keepdim=True)

    places = torch.stack([mean.joints[0, anny.joint_of(role), :3, 3] for role in ROLES])
    joints = dict(zip(ROLES.values(), places, strict=True))
    joints["spine1"] = joints["pelvis"] + torch.tensor([0.0, 0.02, 0.10])
    joints["jaw"] = joints["head"] + torch.tensor([0.0, -0.02, 0.0])
    regressor = torch.zeros(len(JOINTS), len(vertices))
    for row, name in zip(regressor, JOINTS, strict=True):
        near = (vertices - joints[name]).norm(dim=1).topk(_NEAR, largest=False).indices
        system = torch.cat([vertices[near].T - joints[name][:, None], torch.ones(1, _NEAR)]).double()
        row[near] = (torch.linalg.pinv(system) @ torch.tensor([0.0, 0.0, 0.0, 1.0]).double()).float()

    shapes = torch.zeros(len(vertices), 3, components)
    first = 300 if components >= 400 else COMPONENTS
    for k in range(COMPONENTS):
        shapes[..., k] = standing(**_SHAPES[k]).vertices[0] - vertices
        shapes[..., first + k] = (acting(*_EXPRESSIONS[k]) - vertices) / 2
    parents = [JOINTS.index(parent) if parent else 2**32 - 1 for parent in SMPLX.values()]
    model = TO_WORLD.T  # from world axes to the file's
    return {
        "v_template": (vertices @ model.T).double().numpy(),
        "shapedirs": torch.einsum("ij,vjk->vik", model, shapes).numpy(),
        "posedirs": np.zeros((len(vertices), 3, 486), np.float32),
        "J_regressor": regressor.double().numpy(),
        "weights": weights.numpy(),
        "kintree_table": np.array([parents, range(len(JOINTS))], np.uint32),
        "f": anny.faces.numpy().astype(np.uint32),
        "hands_meanl": np.zeros(45),
        "hands_meanr": np.zeros(45),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
    }


def write_fake(path: Path, anny, layout: bool = True) -> Path:
    """Write a model file, with an array of objects as the real one has; `layout`: with texture coordinates."""
    arrays = fake_arrays(anny)
    if layout:
        arrays |= {"vt": anny.uv.numpy(), "ft": anny.uv_faces.numpy()}
    np.savez_compressed(path, joint2num=np.array({name: i for i, name in enumerate(JOINTS)}, object), **arrays)
    return path


def _t_pose(anny) -> torch.Tensor:
    """Return a pose [1, P, 3] of Anny with straight arms, hands and fingers to the sides."""
    at = anny.body(anny.default_identity()).at_reference().joints[0, :, :3, 3]
    place = lambda role: at[anny.joint_of(role)]
    pose = torch.zeros(1, len(anny.pose_joints), 3)
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        out = torch.tensor([sign, 0.0, 0.0])
        bones = [("upper_arm", "forearm"), ("forearm", "hand"), ("hand", "middle1")]
        turn = _stretch(anny, pose, place, side, bones, out, torch.eye(3))
        for finger in FINGERS[1:]:
            _stretch(anny, pose, place, side, [(f"{finger}{k}", f"{finger}{k + 1}") for k in (1, 2)], out, turn)
    return pose


def _stretch(anny, pose, place, side, bones, out, turn) -> torch.Tensor:
    """Point a chain of bones outward; return the rotation of the last one."""
    for start, end in bones:
        bone = turn @ (place(f"{end}.{side}") - place(f"{start}.{side}"))
        swung = swing((bone / bone.norm())[None], out[None])[0] @ turn
        index = anny.pose_roles.index(f"{start}.{side}")
        pose[0, index] = roma.rotmat_to_rotvec(turn.T @ swung)
        turn = swung
    return turn
