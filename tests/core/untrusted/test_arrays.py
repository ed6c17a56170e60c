"""Archives made to hurt: each is refused in one line, before it takes memory."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.core.untrusted.arrays import open_archive, open_arrays, read_entry

MOST = 1 << 30


@pytest.fixture()
def write(tmp_path):
    """A function that writes arrays, or the bytes of entries by name, and returns the path."""

    def write(arrays=None, **entries):
        path = tmp_path / "a.npz"
        if arrays is not None:
            np.savez_compressed(path, **arrays)
            return path
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries.items():
                archive.writestr(f"{name}.npy", content)
        return path

    return write


def header(descr: str = "'<f4'", shape: str = "(2,)", order: str = "False") -> bytes:
    """Return the beginning of a .npy file."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_arrays_are_read_as_they_were_written(write):
    numbers = np.arange(6.0).reshape(2, 3)
    path = write({"a": numbers, "turned": numbers.T, "big": numbers.astype(">f8"), "one": 29.97, "names": ["x", "é"]})
    with open_arrays(path, MOST, "a test") as arrays:
        assert set(arrays.names()) == {"a", "turned", "big", "one", "names"} and "b" not in arrays
        assert arrays.first(("b", "one")) == "one" and arrays.first("c") is None
        for key in ("a", "big"):
            assert (arrays.numbers(key, (2, range(1, 4))).numpy() == numbers).all()
        assert (arrays.numbers("turned", (3, None)).numpy() == numbers.T).all()
        assert arrays.numbers("a", dtype=np.float64).numpy().dtype == np.float64
        assert arrays.number("one") == 29.97 and arrays.shape("turned") == (3, 2)
        assert arrays.texts("names", (2,)) == ["x", "é"]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "does not begin as one"),
        (b"\x93NUMPY\x01\x00\xff", "unpack requires"),
        (header(descr="'<f4"), "its header is damaged"),
        (header(descr="'" + "\\d" * 4 + "'"), "is damaged"),
        (header(shape="(" * 4000 + ")" * 4000), "its header is damaged"),
        (header(shape="(2, -1)"), "its shape is wrong"),
        (header(shape="(2.0,)"), "its shape is wrong"),
        (header(shape="(True,)"), "its shape is wrong"),
        (header(order="1"), "its header is wrong"),
        (header(descr="[('a', '<f4')]"), "its header is wrong"),
        (header(shape="__import__('os').getpid()"), "its header is damaged"),
        (header() + bytes(4), "cut short"),
        (header(shape="(1000000000000,)"), "cut short"),
        (header(descr="'|O'") + bytes(16), "a must hold numbers"),
        (header(descr="'<U1'") + bytes(8), "a must hold numbers"),
        (npy(np.array([1.0, np.nan], np.float32)), "not finite"),
        (npy(np.array([1.0, 1e300])), "not finite, or out of range"),
        (npy(np.array([1.0, 2e9])), "out of range"),
        (npy(np.zeros((2, 2))), r"a must be \[2\], got \[2, 2\]"),
        (npy(np.zeros(3)), r"a must be \[2\], got \[3\]"),
    ],
)
def test_a_damaged_array_is_refused_in_one_line(write, content, cause, capfd):
    path = write(a=content)
    with pytest.raises(UserError, match=rf"a\.npz: .*{cause}") as error, open_arrays(path, MOST, "a test") as arrays:
        arrays.numbers("a", (2,))
    assert len(str(error.value)) <= 300 and capfd.readouterr() == ("", "")


def test_numbers_texts_and_indices_have_bounds(write):
    path = write({"n": np.array(3.0), "two": np.zeros(2), "i": [0, 4], "t": "x" * 256, "c": "\x1b[2J", "f": [0.5]})
    with open_arrays(path, MOST, "a test") as arrays:
        assert arrays.indices("i", (2,), 5).tolist() == [0, 4]
        for call, cause in [
            (lambda: arrays.number("n", 4, 5), "n must be from 4 to 5, got 3"),
            (lambda: arrays.number("two"), "two must be one number"),
            (lambda: arrays.indices("i", (2,), 4), "i must hold indices below 4"),
            (lambda: arrays.indices("f", (1,), 4), "f must hold whole numbers"),
            (lambda: arrays.text("t"), "t must hold short texts"),
            (lambda: arrays.text("c"), "c holds characters that cannot be printed"),
            (lambda: arrays.text("n"), "n must hold short texts"),
            (lambda: arrays.numbers("none"), "has no none"),
        ]:
            with pytest.raises(ValueError, match=cause):
                call()


def test_a_small_file_takes_little_memory(write):
    """Arrays that inflate, or that grow by conversion, beyond what a small file may take."""
    zeros = npy(np.zeros((100, 1_000_000), np.int8))
    for entries in ({"a": zeros}, dict.fromkeys("abc", zeros)):
        path = write(**entries)
        tracemalloc.start()
        with pytest.raises(UserError, match="its arrays take more than 256 MB"), open_arrays(path, MOST, "a") as arrays:
            arrays.numbers("a")
        assert tracemalloc.get_traced_memory()[1] < 10e6
        tracemalloc.stop()


def test_arrays_that_are_read_share_one_bound(write):
    path = write({"a": np.zeros((1 << 20), np.int8), "b": np.zeros((1 << 20), np.int8)})
    with pytest.raises(UserError, match="more than 6 MB"), open_arrays(path, 6 << 20, "a test") as arrays:
        arrays.numbers("a")
        arrays.numbers("b")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + b"\xff" * 18])
def test_other_files_are_no_archives(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with (
        pytest.raises(UserError, match=r"a\.npz: not a test, or damaged"),
        open_arrays(tmp_path / "a.npz", MOST, "a test"),
    ):
        pass


@pytest.mark.parametrize(
    ("local", "central", "value", "cause"),
    [(6, 8, 1, "is encrypted"), (8, 10, 12, "is compressed in a way that is not read"), (40, None, 0xFF, "is damaged")],
)
def test_a_bad_entry_leaves_the_others_readable(tmp_path, local, central, value, cause):
    """Offsets into the local and the central header of the first entry: flags, compression; and into its data."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bad.txt", "bad " * 100)
        archive.writestr("good.txt", "good")
    content = bytearray(path.read_bytes())
    content[local] = value
    if central:
        content[content.index(b"PK\x01\x02") + central] = value
    path.write_bytes(content)
    with open_archive(path, MOST, "an archive") as archive:
        with pytest.raises(ValueError, match=rf"bad\.txt {cause}"):
            read_entry(archive, archive.getinfo("bad.txt"), 1000)
        assert read_entry(archive, archive.getinfo("good.txt"), 1000) == b"good"
        with pytest.raises(ValueError, match=r"good\.txt is larger"):
            read_entry(archive, archive.getinfo("good.txt"), 3)
