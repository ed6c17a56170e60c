import roma
import torch

from ram_avatar.body.chain import Chain

#        root - 1 - 2 - 3 (4 hangs on 1, 5 on the root)
PARENTS = [-1, 0, 1, 2, 1, 0]
TURNED = [3, 1, 5]  # 2 and 4 follow 1


def _twin(root, pose, place, bones):
    """Pose joint after joint, one frame at a time."""
    turns, places = [root], [place]
    for joint, parent in enumerate(PARENTS[1:], start=1):
        own = pose[TURNED.index(joint)] if joint in TURNED else torch.eye(3)
        turns.append(turns[parent] @ own)
        places.append(places[parent] + turns[parent] @ bones[joint])
    return torch.stack(turns), torch.stack(places)


def test_the_chain_against_a_plain_twin():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    root, pose = roma.rotvec_to_rotmat(draw(4, 3)), roma.rotvec_to_rotmat(draw(4, len(TURNED), 3))
    place, bones = draw(4, 3), draw(len(PARENTS), 3)
    chain = Chain.of(PARENTS, TURNED)
    turns = chain.turns(root, pose)
    places = chain.places(turns, place, bones)
    for frame in range(4):
        expected = _twin(root[frame], pose[frame], place[frame], bones)
        assert torch.allclose(turns[frame], expected[0], atol=1e-6)
        assert torch.allclose(places[frame], expected[1], atol=1e-5)
