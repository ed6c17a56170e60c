"""Contact sheets: what several ways make of the same moments, side by side, to look at."""

from collections.abc import Mapping

import cv2
import numpy as np

_TITLE = 24  # pixels of the row of titles
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5


def contact_sheet(columns: Mapping[str, np.ndarray], rows: list[str]) -> np.ndarray:
    """Lay out images of K moments as a sheet [H, W, 3] uint8 RGB: a titled column per way, a labelled row per moment.

    Args:
        columns: images [K, S, S, 3] uint8 RGB by title.
        rows: K labels, written into the first image of each row.
    """
    sheet = []
    for title, images in columns.items():
        side = images.shape[2]
        head = np.full((_TITLE, side, 3), 255, np.uint8)
        cv2.putText(head, title.strip("`"), (4, _TITLE - 8), _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
        sheet.append(np.concatenate([head, *images]))
    for row, label in enumerate(rows):
        side = next(iter(columns.values())).shape[1]
        cv2.putText(sheet[0], label, (4, _TITLE + row * side + 16), _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate(sheet, 1)


def spread_over(count: int, chosen: int) -> list[int]:
    """Return up to `chosen` indices, evenly spread over 0 to `count` - 1."""
    chosen = min(chosen, count)
    return [int((k + 0.5) * count / chosen) for k in range(chosen)]
