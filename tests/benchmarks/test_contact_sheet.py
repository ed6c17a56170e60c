import numpy as np
from measures.contact_sheet import contact_sheet, spread_over


def test_sheet_has_a_titled_column_per_way_and_a_row_per_moment():
    images = lambda value: np.full((3, 40, 40, 3), value, np.uint8)
    sheet = contact_sheet({"truth": images(90), "mesh": images(200)}, ["a", "b", "c"])
    head = sheet.shape[0] - 3 * 40
    assert head > 0 and sheet.shape[1:] == (80, 3) and sheet.dtype == np.uint8
    assert (sheet[head:, 40:] == 200).all() and (sheet[:head, :40] < 128).any(), "the title is legible"
    rows = sheet[head:, :40].reshape(3, 40, 40, 3)
    assert all((row != 90).any() and (row[25:] == 90).all() for row in rows), "each row is labelled at its top"


def test_moments_are_spread_evenly():
    assert spread_over(100, 4) == [12, 37, 62, 87]
    assert spread_over(2, 6) == [0, 1]
