import numpy as np
import pytest

from ram_avatar.evaluation.limb_angles import LIMBS, limb_angles, summarize_angles
from ram_avatar.tracking.detection.detectors import DEFAULT_TOPOLOGY
from ram_avatar.tracking.detection.landmarks import Landmarks
from ram_avatar.tracking.detection.topology import LIMB_BONES


def seen(turned: float = 0.0, hidden: tuple[str, ...] = (), found: bool = True) -> Landmarks:
    """Return a person whose limbs hang down, but for the left forearm, which is turned by so many degrees."""
    topology = DEFAULT_TOPOLOGY
    world = np.zeros((topology.pose_count, 3))
    for start, end in LIMB_BONES:
        angle = np.radians(turned if (start, end) == ("left_elbow", "left_wrist") else 0.0)
        world[topology.pose[end]] = world[topology.pose[start]] + [0.0, np.cos(angle), np.sin(angle)]
    visibility = np.ones(topology.pose_count)
    visibility[topology.indices(hidden)] = 0.0
    nothing = np.full((1, 3), np.nan)
    pose = np.full((topology.pose_count, 2), 0.0 if found else np.nan)
    world = world if found else np.full_like(world, np.nan)
    return Landmarks(topology, pose, visibility, world, nothing, nothing, nothing, np.zeros((1, 1), np.uint8))


def test_angle_is_that_between_the_bones():
    angles = limb_angles([seen(), seen(30)], [seen(50), seen(30)])
    assert angles.shape == (2, 8)
    assert angles[0] == pytest.approx([0, 50, 0, 0, 0, 0, 0, 0], abs=1e-5) and angles[1] == pytest.approx(0, abs=1e-5)
    assert summarize_angles(angles[:, LIMBS["arms"]]) == pytest.approx((50 / 8, 7 / 8))
    assert summarize_angles(angles[:, LIMBS["legs"]]) == pytest.approx((0, 1), abs=1e-5)


def test_occluded_bones_of_the_driver_do_not_count():
    angles = limb_angles([seen(90, hidden=("right_wrist",))], [seen(hidden=("left_wrist",))])
    assert np.isnan(angles[0]).tolist() == [False, True, *[False] * 6]
    assert summarize_angles(angles) == pytest.approx((0, 1), abs=1e-5)


def test_a_person_who_is_not_found_counts_in_the_share_alone():
    angles = limb_angles([seen(found=False), seen()], [seen(), seen()])
    assert np.isinf(angles[0]).all()
    assert summarize_angles(angles) == pytest.approx((0, 0.5), abs=1e-5)


def test_nothing_to_compare_has_no_figures():
    assert np.isnan(summarize_angles(limb_angles([seen()], [seen(found=False)]))).all()
    with pytest.raises(ValueError, match=r"longer|shorter"):
        limb_angles([seen()], [])
