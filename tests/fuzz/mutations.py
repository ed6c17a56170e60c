"""Mutations of files: of bytes, of text, of JSON, and of formats' own headers. All randomness comes from a seed."""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutate = Callable[[Random, bytes], bytes]

_INTEGERS = (0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_NUMBERS = ("0", "-1", "1e308", "1e999", "nan", "-inf", "1" * 400, "4294967296", "0.0000001", "1_0", "٣", "--1", "")
_WORDS = ("\x1b[2J", "\u202e", "\x00", "x" * 5000, "../../x", "%s%n", "😀" * 50, "NaN", "null", "{", "}", "\n\n", "\t")


def odd_value(random: Random) -> Any:
    """Return a JSON value that a careless reader trips over."""
    deep: Any = []
    for _ in range(random.choice((3, 30, 3000))):
        deep = [deep]
    return random.choice(
        (None, True, False, 0, -1, 0.5, 10**400, 2**63, 1e308, float("nan"), float("inf"), "", "x" * 100_000)
        + ([], {}, [0] * 50_000, [[1, 2], [3]], {"a": {}}, deep, *_WORDS, *_INTEGERS)
    )


def bytes_at_random(random: Random, data: bytes) -> bytes:
    """Flip, overwrite, cut, repeat and move bytes."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at, length = random.randrange(len(out) + 1), random.choice((1, 2, 4, 16, 64, 1024))
        match random.randrange(8):
            case 0 | 1:
                if out:
                    out[min(at, len(out) - 1)] ^= 1 << random.randrange(8)
            case 2:
                width = random.choice((1, 2, 4, 8))
                value = random.choice(_INTEGERS) % 256**width
                out[at : at + width] = value.to_bytes(width, random.choice(("little", "big")))
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length] * random.choice((1, 2, 100))
            case 5:
                out[at : at + length] = random.randbytes(length)
            case 6:
                source = random.randrange(len(out) + 1)
                out[at:at] = out[source : source + length]
            case 7:
                if random.random() < 0.3:
                    del out[at:]
    return bytes(out)


def text_at_random(random: Random, data: bytes) -> bytes:
    """Replace numbers and words; drop, repeat and swap lines."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(lines))
        match random.randrange(6):
            case 0 | 1:
                lines[at] = _replace_one(random, r"-?\d+\.?\d*(?:[eE][-+]?\d+)?", random.choice(_NUMBERS), lines[at])
            case 2:
                lines[at] = _replace_one(random, r"\w+", random.choice(_WORDS), lines[at])
            case 3:
                del lines[at : at + random.choice((1, 3))]
                lines = lines or [""]
            case 4:
                block = lines[at : at + random.choice((1, 2, 6))]
                lines[at:at] = block * random.choice((1, 2, 500))
            case 5:
                other = random.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines).encode("utf-8", "replace")


def _replace_one(random: Random, pattern: str, new: str, line: str) -> str:
    found = list(re.finditer(pattern, line))
    if not found:
        return line + new
    match = random.choice(found)
    return line[: match.start()] + new + line[match.end() :]


def json_at_random(random: Random, data: bytes) -> bytes:
    """Replace, drop, add and rename values anywhere in a JSON document."""
    value = json.loads(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        value = _change(random, value)
    try:
        return json.dumps(value).encode()
    except RecursionError:  # Python's writer stops where its reader does
        return b"[" * 100_000


def _change(random: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.95:
        key = random.choice(list(value))
        match random.randrange(8):
            case 0:
                return {name: each for name, each in value.items() if name != key}
            case 1:
                return {**value, random.choice(_WORDS): odd_value(random)}
            case 2:
                return {(random.choice(_WORDS) if name == key else name): each for name, each in value.items()}
            case _:
                return {**value, key: _change(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.7:
        at = random.randrange(len(value))
        match random.randrange(5):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[:at] + [value[at]] * random.choice((2, 1000)) + value[at:]
            case _:
                return value[:at] + [_change(random, value[at])] + value[at + 1 :]
    if type(value) in (int, float) and random.random() < 0.5:
        factor = random.choice((-1, 0, 0.001, 2, 1000, 10**9))
        return type(value)(value * factor) if abs(value) < 1e300 else 0
    return odd_value(random)


def npz_at_random(random: Random, data: bytes) -> bytes:
    """Lie in the headers of an .npz file's arrays and of its entries; blow arrays up; leave some out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(entries))
    match random.randrange(8):
        case 0:
            del entries[name]
        case 1 | 2:
            entries[name] = _lying_header(random, entries[name])
        case 3:
            entries[name] = bytes_at_random(random, entries[name])
        case 4:
            entries[name] = _large_array(random, entries[name])
        case 5:
            entries[name] = entries[random.choice(list(entries))]
        case 6:
            entries = {("x" * 3000 if each == name else each): content for each, content in entries.items()}
        case 7:
            entries |= {f"extra{number}.npy": b"" for number in range(random.choice((10, 3000)))}
    file = io.BytesIO()
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(file, "w", method) as archive:
        for each, content in entries.items():
            archive.writestr(each, content)
    packed = file.getvalue()
    if random.random() < 0.2:  # the table of contents is at the end
        end = bytes_at_random(random, packed[-300:])
        packed = packed[:-300] + end
    return packed


def _npy(header: dict[str, Any], content: bytes) -> bytes:
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) % 65536) + text + content


def _lying_header(random: Random, npy: bytes) -> bytes:
    kind = random.choice(("<f4", "<f8", "<i8", "|O", "<U1000000", "<c16", "<M8[D]", "|V8", "x", 7, [("a", "<f4")]))
    shape = random.choice(((), (0,), (2**62,), (10**9, 1), (-1,), (1,) * 40, (3.5,), 5, (2, 3), (10**6, 55, 3)))
    return _npy({"descr": kind, "fortran_order": random.choice((False, True, 1)), "shape": shape}, npy[-512:])


def _large_array(random: Random, npy: bytes) -> bytes:
    """Return zeros, which compress a thousandfold."""
    width = random.choice((1, 3, 66, 156, 165, 300))
    frames = random.choice((10**4, 10**6, 10**7)) // width
    return _npy({"descr": "<f4", "fortran_order": False, "shape": (frames, width)}, bytes(4 * frames * width))


def safetensors_at_random(random: Random, data: bytes) -> bytes:
    """Change names, types, shapes, offsets and metadata in the header of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header = json_at_random(random, data[8 : 8 + length])
    stated = len(header) if random.random() < 0.9 else random.choice(_INTEGERS)
    return stated.to_bytes(8, "little") + header + data[8 + length :]


def png_at_random(random: Random, data: bytes) -> bytes:
    """Lie in a PNG's header, with a checksum that is right."""
    size = [random.choice((0, 1, 64, 16_000, 65_535, 10**6, 2**31 - 1)) for _ in range(2)]
    head = struct.pack(">IIBBBBB", *size, random.choice((1, 8, 16, 3)), random.choice((0, 2, 3, 4, 6, 9)), 0, 0, 0)
    at = data.index(b"IHDR")
    return data[: at + 4] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + data[at + 4 + 13 + 4 :]


def jpeg_at_random(random: Random, data: bytes) -> bytes:
    """Lie about a JPEG's size, insert fill bytes, repeat a segment."""
    at = next((data.index(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in data), 2)
    size = struct.pack(">HH", *(random.choice((0, 1, 40, 1920, 8192, 65_535)) for _ in range(2)))
    lying = data[: at + 5] + size + data[at + 9 :]
    if random.random() < 0.3:
        lying = lying[:at] + b"\xff" * random.choice((3, 40_000)) + lying[at:]
    scan = lying.rfind(b"\xff\xda")
    return lying[:-2] + lying[scan:-2] * random.choice((1, 20, 2000)) if random.random() < 0.2 else lying


def zip_at_random(random: Random, data: bytes) -> bytes:
    """Damage the entries of an archive one by one; the others stay whole."""
    if random.random() < 0.5:
        return bytes_at_random(random, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            name = random.choice((name, name, "../" + name, "a/b/" + name, "\x1b[2J" + name, "x" * 3000 + name))
            archive.writestr(name, random.choice((content, text_at_random(random, content), bytes(10**7))))
    return file.getvalue()
