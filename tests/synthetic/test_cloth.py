import numpy as np
import pytest

from ram_avatar.synthetic.cloth import Fabric, Rods, Sheet, Skin, grid_faces, grid_uv

CLOTH = Fabric(narrowest=0.8, widest=1.02, stiffness=0.2, drag=2.0, friction=0.2, gap=0.01)
FAR = Skin(np.array([[0.0, 0.0, 99.0]]), np.array([[0.0, 0.0, 1.0]]), np.zeros((1, 3)))


def _curtain(rows: int = 8, columns: int = 6) -> np.ndarray:
    """Return [rows, columns, 3]: a sheet in the plane y = 0 that is held out sideways, down from the first row."""
    down, aside = np.meshgrid(np.arange(rows) * 0.05, np.arange(columns) * 0.05, indexing="ij")
    return np.stack([aside, down, np.ones_like(down)], -1)


def _fall(sheet: Sheet, held: np.ndarray, seconds: float, skin: Skin = FAR, rods: Rods | None = None) -> None:
    for _ in range(round(seconds / 0.005)):
        sheet.step(held, skin, rods, 0.0, 0.005)


def test_held_out_sheet_falls_and_hangs_straight_down():
    rest = _curtain()
    sheet = Sheet(rest, 1, False, CLOTH)
    _fall(sheet, rest[0], 4.0)
    hung = sheet.points.reshape(rest.shape)
    assert np.array_equal(hung[0], rest[0]), "the first row is held"
    assert np.abs(hung[..., 1]).max() < 0.02 and hung[-1, :, 2] == pytest.approx(1 - 0.35, abs=0.01)
    assert np.linalg.norm(np.diff(hung, axis=0), axis=-1).max() < 0.0501, "does not stretch"


def test_sheet_lags_what_it_hangs_from_and_follows():
    rest = _curtain()
    sheet = Sheet(rest, 1, False, CLOTH)
    _fall(sheet, rest[0], 4.0)
    there = rest[0] + [0.0, 0.2, 0.0]
    for share in np.linspace(0, 1, 20):
        sheet.step(rest[0] + share * (there - rest[0]), FAR, None, 0.0, 0.005)
    assert sheet.points[-1, 1] < 0.1
    _fall(sheet, there, 4.0)
    assert sheet.points[-1, 1] == pytest.approx(0.2, abs=0.02)


def test_sheet_rests_on_a_rod_on_the_skin_and_on_the_floor():
    rest = _curtain()
    rod = Rods(np.array([[-1.0, -0.03, 0.8]]), np.array([[1.0, -0.03, 0.8]]), np.array([0.1]))
    across, along = np.meshgrid(np.linspace(-0.1, 0.4, 40), np.linspace(-0.1, 0.4, 40))
    plane = np.stack([across.ravel(), along.ravel(), np.full(1600, 0.8)], 1)
    skin = Skin(plane, np.tile([0.0, 0.0, 1.0], (1600, 1)), np.zeros((1600, 3)))
    over_rod, over_skin, on_floor = (Sheet(rest, 1, False, CLOTH) for _ in range(3))
    _fall(over_rod, rest[0], 2.0, rods=rod)
    away = np.linalg.norm(over_rod.points[:, 1:] - [-0.03, 0.8], axis=1)
    assert away.min() == pytest.approx(0.1) and over_rod.points[:, 1].max() > 0.05, "is held away by it"
    _fall(over_skin, rest[0], 2.0, skin=skin)
    assert over_skin.points[:, 2].min() == pytest.approx(0.81)
    for _ in range(400):
        on_floor.step(rest[0], FAR, None, 0.75, 0.005)
    assert on_floor.points[:, 2].min() == pytest.approx(0.76)


def test_what_lies_on_moving_skin_goes_with_it():
    rest = _curtain(columns=4)
    across, along = np.meshgrid(np.linspace(-0.3, 0.5, 40), np.linspace(-0.1, 0.5, 40))
    plane, up = np.stack([across.ravel(), along.ravel(), np.full(1600, 0.99)], 1), np.tile([0.0, 0.0, 1.0], (1600, 1))
    moved = []
    for friction in (0.0, 0.5):
        sheet = Sheet(rest, 1, False, Fabric(0.2, 5.0, 0.0, 2.0, friction, 0.01))
        for _ in range(100):
            sheet.step(rest[0], Skin(plane, up, np.tile([0.001, 0.0, 0.0], (1600, 1))), None, 0.0, 0.005)
        moved.append(float((sheet.points - rest.reshape(-1, 3))[-4:, 0].mean()))
    assert abs(moved[0]) < 0.002 < 0.01 < moved[1]


def test_faces_of_a_closed_grid_look_outward():
    """Columns to the right as seen from outside: counter-clockwise from above."""
    angle = np.linspace(-np.pi, np.pi, 12, endpoint=False)
    rest = np.stack([np.stack([np.cos(angle), np.sin(angle), np.full(12, z)], 1) for z in (2.0, 1.0, 0.0)])
    faces, corners = grid_faces(3, 12, closed=True)
    assert faces.shape == corners.shape == (2 * 2 * 12, 3)
    a, b, c = rest.reshape(-1, 3)[faces].transpose(1, 0, 2)
    outward = (np.cross(b - a, c - a) * (a + b + c) * [1, 1, 0]).sum(1)
    assert (outward > 0).all()
    uv = grid_uv(3, 12, closed=True)[corners]
    assert np.ptp(uv[..., 0], axis=1).max() < 0.1, "no triangle spans the texture at the seam"
    assert set(np.unique(grid_faces(3, 12, closed=False)[0])) == set(range(36))
    assert len(grid_faces(3, 12, closed=False)[0]) == 2 * 2 * 11
