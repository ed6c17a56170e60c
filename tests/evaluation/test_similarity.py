from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from ram_avatar.core.images import to_tensor
from ram_avatar.evaluation.metrics import (
    StLpips,
    flip,
    ssim,
    st_lpips_person,
)
from ram_avatar.evaluation.similarity import (
    GROUPS,
    PARTS,
    ImageMetrics,
    Regions,
    crop_square,
    measure_similarity,
)

N, S = 5, 96  # more than one batch
FACE, LEFT, RIGHT = (40.0, 8.0, 20.0), (8.0, 50.0, 16.0), (70.0, 52.0, 16.0)


def mean_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean((1, 2, 3))


QUICK = ImageMetrics(st_lpips=mean_difference, flip=None, lpips=None)  # for tests that are not about the networks


@pytest.fixture(scope="module")
def metrics() -> ImageMetrics:
    pytest.importorskip("flip_evaluator")
    return ImageMetrics(st_lpips=StLpips(), flip=flip, lpips=None)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(N, S, S, 3))
    return np.stack([np.clip(128 + 300 * cv2.GaussianBlur(f, (0, 0), 2), 0, 255) for f in noise]).astype(np.uint8)


@pytest.fixture(scope="module")
def shown(truth) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 12, truth.shape)
    return np.clip(truth + noise, 0, 255).astype(np.uint8)


def make_regions() -> Regions:
    masks = np.zeros((N, S, S), np.uint8)
    masks[:, 10:90, 30:70] = 255
    boxes = {part: np.tile(box, (N, 1)) for part, box in zip(PARTS, (FACE, LEFT, RIGHT), strict=True)}
    return Regions(masks, np.ones((N, S, S), bool), boxes, {part: np.ones(N, bool) for part in PARTS})


def of_frames(regions: Regions, frames: slice) -> Regions:
    return replace(
        regions,
        masks=regions.masks[frames],
        inside=regions.inside[frames],
        boxes={part: boxes[frames] for part, boxes in regions.boxes.items()},
        seen={part: seen[frames] for part, seen in regions.seen.items()},
    )


@pytest.fixture()
def regions() -> Regions:
    return make_regions()


@pytest.fixture(scope="module")
def measured(shown, truth, metrics):
    """All metrics, and the reported numbers of frames."""
    steps = []
    return measure_similarity(shown, truth, make_regions(), metrics, steps.append), steps


def psnr_by_hand(shown: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    squares = [
        ((int(shown[y, x, c]) - int(truth[y, x, c])) / 255) ** 2
        for y, x in zip(*np.nonzero(where), strict=True)
        for c in range(3)
    ]
    return -10 * np.log10(sum(squares) / len(squares))


def test_every_region_has_metrics_for_every_frame(measured):
    found, steps = measured
    assert tuple(found) == GROUPS and steps[-1] == N
    assert set(found["inside"]) == {"psnr"}
    for group in set(GROUPS) - {"inside"}:
        assert set(found[group]) == {"psnr", "ssim", "st_lpips", "flip"}
    assert all(v.shape == (N,) and np.isfinite(v).all() for series in found.values() for v in series.values())


def test_batching_does_not_change_the_metrics(shown, truth, regions, metrics, measured):
    last = slice(N - 1, N)
    alone = measure_similarity(shown[last], truth[last], of_frames(regions, last), metrics)
    for group, series in alone.items():
        for name, values in series.items():
            assert measured[0][group][name][last] == pytest.approx(values, rel=1e-4), (group, name)


def test_psnr_of_the_regions_by_hand(shown, truth, regions):
    inside = np.ones((N, S, S), bool)
    inside[:, :, :35] = False
    found = measure_similarity(shown, truth, replace(regions, inside=inside), QUICK)
    pasted = np.where(inside[..., None], shown, truth)
    mask = regions.masks[0] > 127
    assert found["full"]["psnr"][0] == pytest.approx(psnr_by_hand(pasted[0], truth[0], np.ones((S, S))), abs=1e-3)
    assert found["inside"]["psnr"][0] == pytest.approx(psnr_by_hand(shown[0], truth[0], inside[0]), abs=1e-3)
    assert found["person"]["psnr"][0] == pytest.approx(psnr_by_hand(pasted[0], truth[0], mask), abs=1e-3)


def test_person_metrics_use_the_box_and_the_mask(shown, truth, regions, metrics, measured):
    found = measured[0]["person"]
    a, b = to_tensor(shown[:1]), to_tensor(truth[:1])
    mask = torch.from_numpy(regions.masks[:1])[:, None] / 255
    grow = round(6 / 256 * S)
    box = (..., slice(10 - grow, 89 + grow), slice(30 - grow, 69 + grow))
    assert found["st_lpips"][0] == pytest.approx(st_lpips_person(metrics.st_lpips, a, b, mask).item(), rel=1e-4)
    assert found["ssim"][0] == pytest.approx(ssim(a[box], b[box]).item(), rel=1e-4)
    assert found["flip"][0] == pytest.approx(flip(a, b)[mask > 0.5].mean().item(), rel=1e-4)


def test_damage_to_one_hand_affects_that_hand_only(truth, regions, metrics):
    truth, regions = truth[:2], of_frames(regions, slice(2))
    shown = truth.copy()
    left, top, side = (round(v) for v in LEFT)
    shown[:, top : top + side, left : left + side] = 255 - shown[:, top : top + side, left : left + side]
    found = measure_similarity(shown, truth, regions, metrics)
    for part in ("face", "right_hand"):
        assert (found[part]["psnr"] == 100).all() and (found[part]["flip"] == 0).all()
    assert (found["left_hand"]["psnr"] < 25).all() and (found["left_hand"]["st_lpips"] > 0.05).all()


def test_part_not_seen_or_outside_is_nan(shown, truth, regions):
    regions.seen["face"][2] = False
    regions.boxes["left_hand"][3] = (-30, 20, 20)  # outside the image
    regions.boxes["right_hand"][4] = (-8, 20, 16)  # half outside
    found = measure_similarity(shown, truth, regions, QUICK)
    for part, gone in (("face", 2), ("left_hand", 3), ("right_hand", None)):
        for name, values in found[part].items():
            assert np.flatnonzero(np.isnan(values)).tolist() == ([] if gone is None else [gone]), (part, name)


def test_part_beyond_the_borders_of_the_video_is_nan(shown, truth, regions):
    inside = np.ones((N, S, S), bool)
    inside[:, :, :26] = False  # the whole of the left hand
    found = measure_similarity(shown, truth, replace(regions, inside=inside), QUICK)
    assert np.isnan(found["left_hand"]["psnr"]).all() and np.isfinite(found["right_hand"]["psnr"]).all()


def test_part_half_outside_the_image_is_measured_by_the_other_half(truth, regions):
    truth = truth.clip(max=235)
    regions.boxes["right_hand"][:] = (-8, 20, 16)
    found = measure_similarity(truth + 20, truth, regions, QUICK)["right_hand"]
    assert found["psnr"] == pytest.approx(np.full(N, -20 * np.log10(20 / 255)), abs=0.2)


def test_frame_without_a_person_is_nan_for_the_person(shown, truth, regions):
    regions.masks[1] = 0
    found = measure_similarity(shown, truth, regions, QUICK)
    assert all(np.flatnonzero(np.isnan(values)).tolist() == [1] for values in found["person"].values())
    assert np.isfinite(found["full"]["ssim"]).all()


def test_metrics_of_missing_packages_are_omitted(shown, truth, regions):
    found = measure_similarity(shown, truth, regions, QUICK)
    assert not any("flip" in series or "lpips" in series for series in found.values())
    found = measure_similarity(shown, truth, regions, replace(QUICK, lpips=mean_difference))
    assert found["full"]["lpips"] == pytest.approx(found["full"]["st_lpips"])


def test_mismatched_clips_are_rejected(shown, truth, regions):
    with pytest.raises(ValueError, match="do not match"):
        measure_similarity(shown[:1], truth, regions, QUICK)


def test_crop_of_whole_pixels_is_the_slice():
    image = torch.rand(2, 3, 40, 40)
    boxes = torch.tensor([[5.0, 7.0, 16.0], [20.0, 3.0, 16.0]])
    crops = crop_square(image, boxes, 16)
    torch.testing.assert_close(crops[0], image[0, :, 7:23, 5:21])
    torch.testing.assert_close(crops[1], image[1, :, 3:19, 20:36])


def test_downsampled_crop_is_the_mean_of_its_pixels():
    image = torch.rand(1, 3, 40, 40)
    crop = crop_square(image, torch.tensor([[4.0, 8.0, 24.0]]), 12)
    torch.testing.assert_close(crop, torch.nn.functional.avg_pool2d(image[..., 8:32, 4:28], 2))


def test_upsampled_crop_interpolates_between_pixels():
    x, y = torch.meshgrid(torch.arange(20.0) + 0.5, torch.arange(20.0) + 0.5, indexing="xy")
    crop = crop_square(torch.stack([x, y])[None], torch.tensor([[3.3, 6.1, 8.0]]), 32)
    centres = (torch.arange(32) + 0.5) / 4
    torch.testing.assert_close(crop[0, 0], (3.3 + centres).expand(32, 32))
    torch.testing.assert_close(crop[0, 1], (6.1 + centres)[:, None].expand(32, 32))
