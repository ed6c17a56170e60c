import json
import struct

import pytest
import torch
from safetensors.torch import save, save_file

from ram_avatar.core.errors import UserError
from ram_avatar.core.untrusted.tensors import TensorFile

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True, False])}


def _open(path) -> TensorFile:
    return TensorFile(path, 1 << 20, "a thing")


def _with_header(path, header: object) -> None:
    """Write a file with some header, and no tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def _entry(**changes) -> dict:
    return {"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} | changes}


def test_tensors_are_read(tmp_path):
    path = tmp_path / "t.safetensors"
    save_file(TENSORS, path, {"facts": '{"n": 3}', "kind": "x"})
    file = _open(path)
    assert file.shapes == {"a": (2, 3), "b": (2,)} and file.dtypes == {"a": torch.float32, "b": torch.bool}
    assert file.metadata["kind"] == "x" and file.facts().take("n", int) == 3
    file.check(TENSORS)
    file.check({name: tensor.to("meta") for name, tensor in TENSORS.items()})
    file.check({}, optional=TENSORS | {"c": torch.zeros(1)})
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in file.read().items())


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"a": torch.zeros(3, 2)}, r"a must be \[3, 2\], got \[2, 3\]"),
        ({"a": torch.zeros(2, 3, dtype=torch.float64)}, "a must be float64, got float32"),
        ({"a": None}, "a is unknown"),
        ({"c": torch.zeros(1)}, "c is missing"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, changes, cause):
    path = tmp_path / "t.safetensors"
    save_file(TENSORS, path)
    wanted = {name: tensor for name, tensor in (TENSORS | changes).items() if tensor is not None}
    with pytest.raises(UserError, match=rf"t\.safetensors: damaged, not a thing \({cause}"):
        _open(path).check(wanted)


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        ([], "its header is no object"),
        (b"{", "damaged"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        ({"a": 3}, "a has a wrong shape"),
        (_entry(shape=[-1]), "a has a wrong shape"),
        (_entry(shape=[1.5]), "a has a wrong shape"),
        (_entry(shape=[1] * 9), "a has a wrong shape"),
        (_entry(dtype="F8_E4M3"), "a has a type that is not used here"),
        (_entry(dtype=[]), "a has a type that is not used here"),
        ({"__metadata__": {"a": 1}}, "its metadata are no texts"),
        ({"__metadata__": []}, "its metadata are no texts"),
        ({"\x1b[31m\n": 3}, "wrong shape"),
    ],
)
def test_headers_that_are_damaged_are_refused_in_one_line(tmp_path, header, cause):
    path = tmp_path / "t.safetensors"
    _with_header(path, header)
    with pytest.raises(UserError, match=cause) as raised:
        _open(path)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 8, struct.pack("<Q", 1 << 40) + b"{}", b"\x08" * 100])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, not a thing"):
        _open(path)


def test_a_header_may_not_ask_for_more_than_the_file_holds(tmp_path):
    path = tmp_path / "t.safetensors"
    _with_header(path, _entry(shape=[60_000, 120_000], data_offsets=[0, 60_000 * 120_000 * 4]))
    with pytest.raises(UserError, match="damaged"):
        _open(path).read()
    path.write_bytes(save(TENSORS)[:-4])
    with pytest.raises(UserError, match="damaged"):
        _open(path).read()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e30])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number):
    path = tmp_path / "t.safetensors"
    save_file({"a": torch.tensor([1.0, number])}, path)
    with pytest.raises(UserError, match="a holds numbers that are not finite, or out of range"):
        _open(path).read()


@pytest.mark.parametrize("metadata", [{}, {"facts": "{"}, {"facts": "[]"}, {"facts": '{"a": NaN}'}])
def test_facts_that_are_missing_or_damaged_are_refused(tmp_path, metadata):
    path = tmp_path / "t.safetensors"
    save_file(TENSORS, path, metadata)
    with pytest.raises(UserError, match="damaged, not a thing"):
        _open(path).facts()
