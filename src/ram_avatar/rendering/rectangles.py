"""Rectangular windows of square maps."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Window:
    """Rows `top` to `bottom` and columns `left` to `right` of a map, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def whole(cls, size: int) -> "Window":
        """Return the window of a whole map."""
        return cls(0, 0, size, size)

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, for indexing."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, by: int, size: int) -> "Window":
        """Grow by `by` on every side, within a map of `size`."""
        return Window(
            max(0, self.top - by), max(0, self.left - by), min(size, self.bottom + by), min(size, self.right + by)
        )

    def inner(self, by: int, size: int) -> "Window":
        """Shrink by `by` on every side that is not an edge of a map of `size`."""
        return Window(
            self.top + by * (self.top > 0),
            self.left + by * (self.left > 0),
            self.bottom - by * (self.bottom < size),
            self.right - by * (self.right < size),
        )

    def times(self, count: int) -> "Window":
        """Return the same region of a map `count` times as large."""
        return Window(count * self.top, count * self.left, count * self.bottom, count * self.right)

    def doubled(self) -> "Window":
        """Return the same region of a map of twice the size."""
        return self.times(2)

    def halved(self) -> "Window":
        """Return the same region of a map of half the size; all edges are even."""
        return Window(self.top // 2, self.left // 2, self.bottom // 2, self.right // 2)

    def source(self, size: int) -> "Window":
        """Return the window of a map of `size` that determines this window of its bilinear 2x upsampling."""
        return Window(
            max(0, (self.top - 1) // 2),
            max(0, (self.left - 1) // 2),
            min(size, self.bottom // 2 + 1),
            min(size, self.right // 2 + 1),
        )

    def fitted(self, multiple: int, size: int) -> "Window":
        """Extend so that sides are multiples of `multiple` and the start is a multiple of four, within `size`.

        Fewer sizes mean fewer shapes to prepare convolutions for; the face and hand networks halve the size twice.
        """
        rows, columns = _fit(self.top, self.bottom, multiple, size), _fit(self.left, self.right, multiple, size)
        return Window(rows[0], columns[0], rows[1], columns[1])

    def bands(self, height: int) -> list["Window"]:
        """Divide into windows of up to `height` rows, from top to bottom."""
        tops = range(self.top, self.bottom, height)
        return [Window(top, self.left, min(top + height, self.bottom), self.right) for top in tops]

    def meets(self, other: "Window") -> bool:
        """Test whether two windows overlap."""
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right

    def shared(self, other: "Window") -> "Window":
        """Return the intersection of two overlapping windows."""
        return Window(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def joined(self, other: "Window") -> "Window":
        """Return the bounding window of both."""
        return Window(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


def _fit(low: int, high: int, multiple: int, size: int) -> tuple[int, int]:
    low -= low % 4
    length = min(size, -(-(high - low) // multiple) * multiple)
    low = min(low, size - length)
    return low, low + length


def crop(x: Tensor, window: Window, of: Window) -> Tensor:
    """Crop a map [B, C, h, w] that covers the window `of` to `window`."""
    if window == of:
        return x
    rows, columns = window.top - of.top, window.left - of.left
    return x[:, :, rows : rows + window.height, columns : columns + window.width]


def apart(windows: list[Window]) -> list[Window]:
    """Join overlapping windows until none overlap."""
    done: list[Window] = []
    for window in windows:
        while touching := [other for other in done if other.meets(window)]:
            done.remove(touching[0])
            window = window.joined(touching[0])
        done.append(window)
    return done
