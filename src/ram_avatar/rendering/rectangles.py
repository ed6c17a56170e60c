"""Rectangles of square maps: where something is to be seen, and what must be computed for it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Window:
    """Rows `top` to `bottom` and columns `left` to `right` of a map, the last ones excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def whole(cls, size: int) -> "Window":
        return cls(0, 0, size, size)

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, by: int, size: int) -> "Window":
        """Larger by so much on every side, as far as a map of that size goes."""
        return Window(
            max(0, self.top - by), max(0, self.left - by), min(size, self.bottom + by), min(size, self.right + by)
        )

    def inner(self, by: int, size: int) -> "Window":
        """Smaller by so much on every side that is not the edge of a map of that size."""
        return Window(
            self.top + by * (self.top > 0),
            self.left + by * (self.left > 0),
            self.bottom - by * (self.bottom < size),
            self.right - by * (self.right < size),
        )

    def doubled(self) -> "Window":
        """The same place in a map of twice the size."""
        return Window(2 * self.top, 2 * self.left, 2 * self.bottom, 2 * self.right)

    def halved(self) -> "Window":
        """The same place in a map of half the size; all sides are even."""
        return Window(self.top // 2, self.left // 2, self.bottom // 2, self.right // 2)

    def source(self, size: int) -> "Window":
        """What of a map of that size its bilinear upsampling to twice the size must see to be right in here."""
        return Window(
            max(0, (self.top - 1) // 2),
            max(0, (self.left - 1) // 2),
            min(size, self.bottom // 2 + 1),
            min(size, self.right // 2 + 1),
        )

    def fitted(self, multiple: int, size: int) -> "Window":
        """A window about this one whose sides are multiples of `multiple` and that starts at multiples of four.

        Few sizes mean few shapes that a convolution is prepared for; four is what the networks of face and hands
        halve twice.
        """
        rows, columns = _fit(self.top, self.bottom, multiple, size), _fit(self.left, self.right, multiple, size)
        return Window(rows[0], columns[0], rows[1], columns[1])

    def meets(self, other: "Window") -> bool:
        """Whether the two have anything in common."""
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right

    def shared(self, other: "Window") -> "Window":
        """What two that meet have in common."""
        return Window(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def joined(self, other: "Window") -> "Window":
        """The smallest one about both."""
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
    """The part that covers `window` of a map [B, C, h, w] that covers the window `of`."""
    if window == of:
        return x
    rows, columns = window.top - of.top, window.left - of.left
    return x[:, :, rows : rows + window.height, columns : columns + window.width]


def apart(windows: list[Window]) -> list[Window]:
    """The windows, joined where they meet."""
    done: list[Window] = []
    for window in windows:
        while touching := [other for other in done if other.meets(window)]:
            done.remove(touching[0])
            window = window.joined(touching[0])
        done.append(window)
    return done
