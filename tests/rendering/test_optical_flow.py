import numpy as np

from ram_avatar.rendering.optical_flow import trusted_flow


def test_flow_is_trusted_on_the_person_where_it_is_consistent():
    generator = np.random.default_rng(0)
    small = generator.integers(0, 255, (24, 24, 3), np.uint8)
    picture = np.kron(small, np.ones((4, 4, 1), np.uint8))
    moved = np.roll(picture, 2, axis=1)
    mask = np.zeros((96, 96), np.uint8)
    mask[:, :48] = 255
    flow, trusted = trusted_flow(picture, moved, mask)
    middle = (slice(24, 72), slice(16, 40))
    assert np.abs(flow[middle] - [2, 0]).mean() < 0.3
    assert trusted[middle].mean() > 0.9
    assert not trusted[:, 52:].any()  # nobody is there
