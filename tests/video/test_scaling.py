import numpy as np

from ram_avatar.video.scaling import fit_within


def test_images_are_never_enlarged():
    image = np.zeros((96, 144, 3), np.uint8)
    assert fit_within(image, 72).shape == (48, 72, 3)
    assert fit_within(image, 500).shape == (96, 144, 3)
