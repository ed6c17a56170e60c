import os

import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.core.untrusted.documents import MAX_DEPTH, parse_json, read_json, read_yaml

BILLION = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
MERGED = "a: {x: 1}\n<<: {y: 2}\n"


def test_objects_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"a": [1, 2.5, "x", null]}')
    assert read_json(path, "a thing") == {"a": [1, 2.5, "x", None]}
    path.write_text("a: [1, 2.5, x, null]\nb:\n  c: true\n")
    assert read_yaml(path, "a thing") == {"a": [1, 2.5, "x", None], "b": {"c": True}}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "damaged, not a thing"),
        ("[]", "no object"),
        ("", "damaged"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": -Infinity}', "not a number"),
        ('{"a": %s}' % ("[" * 100_000 + "]" * 100_000), "nested too deeply"),
        ('{"a": %s}' % ("[" * MAX_DEPTH + "]" * MAX_DEPTH), f"nested deeper than {MAX_DEPTH}"),
        (b"\xff\xfe", "UTF-8"),
        (" " * (2 << 20), "larger than 1 MB"),
    ],
)
def test_other_json_is_refused_in_one_line(tmp_path, text, cause):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=cause) as raised:
        read_json(path, "a thing")
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def test_the_deepest_nesting_allowed_is_read():
    value = parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for _ in range(MAX_DEPTH - 1):
        (value,) = value
    assert value == []


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (BILLION, "line 1: aliases and anchors"),
        ("a: *nowhere", "aliases and anchors"),
        (MERGED, "line 2: merge keys"),
        ("a: !!int ''", "line 1: tags"),
        ("a: !!python/object/apply:os.system [ls]", "tags"),
        ("a: " + "[" * 40 + "]" * 40, "deep nesting"),
        ("a: " + "[" * 30_000, "deep nesting"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("- a", "a mapping of names to values"),
        ("1: a", "a mapping of names to values"),
        ("", "a mapping of names to values"),
        ("a: 2024-99-99", "not a thing"),
        ("x" * 70_000, "larger than 64 kB"),
        ("a: \x1b[31m", "not a thing"),
    ],
)
def test_other_yaml_is_refused_in_one_line(tmp_path, text, cause):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=cause) as raised:
        read_yaml(path, "a thing")
    assert str(raised.value).startswith(f"{path}: ") and str(raised.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_pipes_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (read_json, read_yaml):
        with pytest.raises(UserError, match="not a regular file"):
            read(tmp_path / "pipe", "a thing")
