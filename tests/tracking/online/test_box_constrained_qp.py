import numpy as np
from scipy.optimize import lsq_linear

from ram_avatar.tracking.online.box_constrained_qp import solve_box_qp


def test_the_minimum_in_the_box_is_found():
    """Compared with scipy, for problems whose solutions lie on several sides of the box."""
    rng = np.random.default_rng(0)
    on_sides = 0
    for _ in range(40):
        rows = rng.normal(size=(30, 12))
        rows[:, 3] = rows[:, 4] + 0.01 * rng.normal(size=30)  # nearly collinear, like smiles and dimples
        wanted = rows @ rng.uniform(-0.7, 1.7, 12) + rng.normal(size=30)
        truth = lsq_linear(rows, wanted, (0, 1), method="bvls").x
        found = solve_box_qp(rows.T @ rows, -rows.T @ wanted, rng.uniform(size=12))
        assert found.min() >= 0 and found.max() <= 1
        assert np.square(rows @ found - wanted).sum() < np.square(rows @ truth - wanted).sum() + 1e-6
        on_sides += np.isclose(truth, 0).any() and np.isclose(truth, 1).any()
    assert on_sides > 5


def test_a_solution_within_the_box_is_the_unconstrained_one():
    hessian = np.array([[2.0, 0.5], [0.5, 1.0]])
    inside = np.array([0.3, 0.6])
    assert np.allclose(solve_box_qp(hessian, -hessian @ inside, np.zeros(2)), inside)
