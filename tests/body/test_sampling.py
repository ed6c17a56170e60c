import torch

from ram_avatar.body.sampling import farthest_points


def test_chosen_points_are_far_from_one_another():
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = farthest_points(points, 12, first=100)
    apart = torch.cdist(points[chosen], points[chosen]) + 9 * torch.eye(12)
    assert chosen[0] == 100 and len(chosen.unique()) == 12 and apart.min() > 0.4


def test_no_more_points_than_there_are():
    assert sorted(farthest_points(torch.rand(5, 3), 12).tolist()) == [0, 1, 2, 3, 4]
