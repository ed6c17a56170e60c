"""Forward kinematics in batches: turns of joints from the reference pose, accumulated from the root outward."""

import itertools
from dataclasses import dataclass

import roma
import torch
from torch import Tensor


@dataclass(frozen=True)
class Chain:
    """The order in which a skeleton's J joints are turned. Most follow their parent: only those that a pose turns
    (P, and the root) take part in the product, level by level."""

    levels: list[tuple[Tensor, Tensor]]  # by depth: rows of the pose, and the turned joints that they hang on
    owner: Tensor  # [J] the turned joint that a joint follows: 0 for the root, then in the order of the levels
    parents: Tensor  # [J] the root's is itself
    ancestors: Tensor  # [J, J] 1 where the second joint is the first one or above it, and not the root

    @classmethod
    def of(cls, parents: list[int], turned: list[int]) -> "Chain":
        """
        Args:
            parents: of every joint, which come before their children; -1 for the root, the first one.
            turned: the joints of a pose, in its order.
        """
        level, follows = {0: 0}, [0] * len(parents)  # of turned joints; of all joints, the turned one
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
        """[B, J, 3, 3] turns from the reference pose, of the root's [B, 3, 3] and the pose joints' [B, P, 3, 3]."""
        turned = root[:, None]
        for rows, hangs in self.levels:
            turned = torch.cat([turned, turned[:, hangs] @ pose[:, rows]], 1)
        return turned[:, self.owner]

    def places(self, turns: Tensor, root: Tensor, bones: Tensor) -> Tensor:
        """[B, J, 3] positions of joints.

        Args:
            turns: [B, J, 3, 3] from the reference pose.
            root: [B, 3] position of the root.
            bones: [J, 3] from each joint's parent to it, in the reference pose.
        """
        offsets = (turns[:, self.parents] @ bones[..., None])[..., 0]
        return root[:, None] + self.ancestors @ offsets

    def to(self, device: torch.device) -> "Chain":
        move = lambda tensor: tensor.to(device)
        levels = [(move(rows), move(hangs)) for rows, hangs in self.levels]
        return Chain(levels, move(self.owner), move(self.parents), move(self.ancestors))


def homogeneous(rotations: Tensor, positions: Tensor) -> Tensor:
    """[..., 4, 4] of rotations [..., 3, 3] and positions [..., 3]."""
    return roma.Rigid(rotations, positions).to_homogeneous()
