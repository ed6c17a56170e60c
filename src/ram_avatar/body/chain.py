"""Batched forward kinematics: rotations of joints from the reference pose, accumulated from the root outward."""

import itertools
from dataclasses import dataclass

import roma
import torch
from torch import Tensor


@dataclass(frozen=True)
class Chain:
    """The order in which the rotations of a skeleton's J joints are multiplied.

    Most joints follow their parent rigidly. Only the root and the P joints that a pose rotates take part in the
    product, level by level.
    """

    levels: list[tuple[Tensor, Tensor]]  # by depth: rows of the pose, and the rotated joints that they hang on
    owner: Tensor  # [J] the rotated joint that each joint follows: 0 for the root, then in the order of the levels
    parents: Tensor  # [J]; the root is its own parent
    ancestors: Tensor  # [J, J] 1 where the column's joint is the row's or above it, and is not the root

    @classmethod
    def of(cls, parents: list[int], turned: list[int]) -> "Chain":
        """Build the chain of a skeleton.

        Args:
            parents: [J], parents before children; -1 for the root, which comes first.
            turned: the joints that a pose rotates, in the pose's order.
        """
        level, follows = {0: 0}, [0] * len(parents)  # depth of each rotated joint; the rotated joint each one follows
        levels: dict[int, list[int]] = {0: [0]}
        ancestors = torch.zeros(len(parents), len(parents))
        for joint, parent in enumerate(parents[1:], start=1):
            ancestors[joint] = ancestors[parent]
            ancestors[joint, joint] = 1.0
            follows[joint] = follows[parent]
            if joint in turned:
                level[joint] = level[follows[parent]] + 1
                levels.setdefault(level[joint], []).append(joint)
                follows[joint] = joint
        order = list(itertools.chain.from_iterable(levels[depth] for depth in sorted(levels)))
        steps = [
            (
                torch.tensor([turned.index(joint) for joint in levels[depth]]),
                torch.tensor([order.index(follows[parents[joint]]) for joint in levels[depth]]),
            )
            for depth in sorted(levels)[1:]
        ]
        owner = torch.tensor([order.index(joint) for joint in follows])
        return cls(steps, owner, torch.tensor([0, *parents[1:]]), ancestors)

    def turns(self, root: Tensor, pose: Tensor) -> Tensor:
        """Accumulate rotations from the reference pose [B, J, 3, 3].

        Args:
            root: [B, 3, 3] rotation of the root.
            pose: [B, P, 3, 3] rotations of the pose joints, relative to their parents.
        """
        turned = root[:, None]
        for rows, hangs in self.levels:
            turned = torch.cat([turned, turned[:, hangs] @ pose[:, rows]], 1)
        return turned[:, self.owner]

    def places(self, turns: Tensor, root: Tensor, bones: Tensor) -> Tensor:
        """Return the positions of the joints [B, J, 3].

        Args:
            turns: [B, J, 3, 3] rotations from the reference pose.
            root: [B, 3] position of the root.
            bones: [J, 3] or [B, J, 3] from each joint's parent to the joint, in the reference pose.
        """
        offsets = (turns[:, self.parents] @ bones[..., None])[..., 0]
        return root[:, None] + self.ancestors @ offsets

    def to(self, device: torch.device) -> "Chain":
        """Return the chain with its tensors on a device."""
        move = lambda tensor: tensor.to(device)
        levels = [(move(rows), move(hangs)) for rows, hangs in self.levels]
        return Chain(levels, move(self.owner), move(self.parents), move(self.ancestors))


def homogeneous(rotations: Tensor, positions: Tensor) -> Tensor:
    """Combine rotations [..., 3, 3] and positions [..., 3] into homogeneous matrices [..., 4, 4]."""
    return roma.Rigid(rotations, positions).to_homogeneous()
