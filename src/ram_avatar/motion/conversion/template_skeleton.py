"""The template's own skeleton, as other programs see it."""

import roma
import torch

from ..motion import Motion, confidence_of
from ..skeleton import SkeletalClip
from .calibration import Reference

_SAME_POSE = 0.97  # cosine (15 degrees); bones of bodies with other proportions differ in direction by up to 12
_COMPARED = ("upper_arm", "forearm", "hand", "thigh", "shin", "foot", "middle1")


class TemplateSkeleton:
    """The root, the joints that a motion rotates, and the ends of feet, head and fingers (`NAME_end`).

    Its rest pose is the template's reference pose, so joint rotations are those of the motion.
    """

    def __init__(self, reference: Reference):
        template = reference.template
        kept = sorted(("hips", *template.pose_roles), key=template.joint_of)
        in_toes = {f"foot.{side}" for side in "LR" if f"toes.{side}" in kept}  # feet that end in a joint
        ends = {role: end for role, end in reference.ends.items() if role not in in_toes}
        self.template = template
        self.names = [template.roles[role] for role in kept] + [f"{template.roles[role]}_end" for role in ends]
        self.parents = [-1, *(kept.index(reference.ancestor(role, kept)) for role in kept[1:])]
        self.parents += [kept.index(role) for role in ends]
        positions = torch.stack([*(reference.at[role] for role in kept), *ends.values()])
        self.offsets = positions - positions[self.parents]
        self.offsets[0] = 0.0
        self._turned = [self.names.index(name) for name in template.pose_joints]
        self._compared = [kept.index(f"{role}.{side}") for role in _COMPARED for side in "LR"]

    def joint_of(self, role: str) -> int:
        """Return the index among `names` of the joint with a role (`body.template`)."""
        return self.names.index(self.template.roles[role])

    def clip(self, motion: Motion) -> SkeletalClip:
        """Convert a motion to a clip for other programs. The face is left out."""
        rotations = torch.eye(3).repeat(len(motion), len(self.names), 1, 1)
        rotations[:, 0] = roma.rotvec_to_rotmat(motion.root_rotation)
        rotations[:, self._turned] = roma.rotvec_to_rotmat(motion.pose)
        return SkeletalClip(
            [*self.names], [*self.parents], self.offsets.clone(), rotations, motion.root_translation, motion.fps
        )

    def motion(self, clip: SkeletalClip) -> Motion | None:
        """Convert a clip back to a motion. Returns None if it is another skeleton, or has another rest pose.

        Bone lengths may differ, and end joints may be missing. The face is neutral, without confidence.
        """
        joints = {name: clip.names.index(name) for name in self.names if name in clip.names}
        if not all(name in joints for name in (self.names[0], *self.template.pose_joints)):
            return None
        for name, parent in zip(self.names, self.parents, strict=True):
            if name in joints and parent >= 0 and clip.parents[joints[name]] != joints[self.names[parent]]:
                return None
        theirs = clip.offsets[[joints[self.names[joint]] for joint in self._compared]]
        if (torch.cosine_similarity(self.offsets[self._compared], theirs, dim=1) < _SAME_POSE).any():
            return None
        turned = [joints[name] for name in self.template.pose_joints]
        return Motion(
            template=self.template.name,
            fps=clip.fps,
            root_rotation=roma.rotmat_to_rotvec(clip.rotations[:, joints[self.names[0]]]),
            root_translation=clip.root,
            pose=roma.rotmat_to_rotvec(clip.rotations[:, turned]),
            facial_actions=torch.zeros(len(clip), len(self.template.action_names)),
            confidence=torch.from_numpy(confidence_of(1.0, 1.0, 1.0)).float().repeat(len(clip), 1),
        )
