import torch

from ram_avatar.training.loss_crops import detail_cuts, person_windows, within_boxes


def test_person_windows_follow_each_person():
    """With two people at opposite sides, each window holds its person, and is the same for all kinds of images."""
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 20:50, 4:14] = 1
    mask[1, :, 20:50, 50:60] = 1
    window = person_windows(mask)
    assert window(mask).shape == (2, 1, 64, 32)
    assert torch.equal(window(mask).sum((1, 2, 3)), mask.sum((1, 2, 3)))
    columns = torch.arange(64.0).expand(2, 3, 64, 64)
    assert torch.equal(window(columns)[:, 0, 0, 0], torch.tensor([0.0, 32.0]))


def test_detail_cuts_show_the_content_of_their_box():
    """A ramp reveals where each pixel of a crop came from."""
    columns = (torch.arange(64.0) + 0.5).expand(1, 1, 64, 64)
    boxes = torch.tensor([[[8.0, 16.0, 32.0], [30.0, 2.0, 16.0]]])
    for ramp, start in ((columns, [8.0, 30.0]), (columns.mT, [16.0, 2.0])):
        cut = detail_cuts(boxes, 64)(ramp)
        assert cut.shape == (2, 1, 64, 64)
        along = cut[:, 0, 32] if ramp is columns else cut[:, 0, :, 32]
        for k, side in enumerate((32.0, 16.0)):
            expected = start[k] + side * (torch.arange(64) + 0.5) / 64
            assert torch.allclose(along[k], expected, atol=1e-3)


def test_within_boxes_matches_a_loop():
    boxes = torch.tensor([[[2.0, 3.0, 5.0], [10.2, 0.0, 3.0]], [[-4.0, -4.0, 6.0], [12.0, 12.0, 9.0]]])
    inside = within_boxes(boxes, 16)
    assert inside.shape == (2, 1, 16, 16)
    for b in range(2):
        for row in range(16):
            for column in range(16):
                hit = any(
                    left < column + 0.5 < left + side and top < row + 0.5 < top + side
                    for left, top, side in boxes[b].tolist()
                )
                assert inside[b, 0, row, column] == hit
