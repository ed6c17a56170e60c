import numpy as np

from ram_avatar.body.sampling import farthest_points


def test_points_are_far_from_one_another():
    points = np.random.default_rng(0).uniform(size=(500, 3))
    among = np.arange(100, 500)
    chosen = farthest_points(points, among, 12)
    apart = np.linalg.norm(points[chosen][:, None] - points[chosen], axis=-1) + 9 * np.eye(12)
    assert len(set(chosen)) == 12 and min(chosen) >= 100 and apart.min() > 0.4
