import numpy as np

from ram_avatar.live.session.background import Background


def test_the_avatar_is_composited_over_each_kind_of_background():
    plate, rgba = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4, 4), np.uint8)
    rgba[0, 0] = 10, 20, 30, 255
    rgba[0, 1] = 200, 200, 200, 128
    background = Background(plate, plate.shape[1::-1])
    room = background.composite(rgba, "captured")
    assert room[0, 0].tolist() == [10, 20, 30] and room[2, 2].tolist() == [100] * 3 and abs(room[0, 1, 0] - 150) <= 1
    assert background.composite(rgba, "#ff8000")[3, 3].tolist() == [255, 128, 0]
    assert background.composite(rgba, "transparent")[3, 3].tolist() == [0, 0, 0]
    assert np.array_equal(background.composite(rgba, "picture"), room)  # no image is set yet
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 7
    background.use_image(wide)
    assert background.composite(rgba, "picture")[3].tolist() == [[7, 7, 7]] * 4
