import json
from dataclasses import dataclass

import pytest

from ram_avatar.core.errors import UserError
from ram_avatar.core.ranges import check_ranges
from ram_avatar.core.untrusted.records import (
    LONGEST_LIST,
    LONGEST_REMARK,
    LONGEST_TEXT,
    Description,
    as_record,
    as_type,
    read_description,
)


@dataclass(frozen=True)
class Point:
    x: float
    y: float | None = None


@dataclass(frozen=True)
class Shape:
    name: str
    corners: tuple[Point, ...]
    size: tuple[int, int] = (1, 1)
    closed: bool = True

    def __post_init__(self) -> None:
        check_ranges(self, {"size": (1, 9)})


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (float, 2, 2.0),
        (int, 2, 2),
        (bool, False, False),
        (str, "Zoë", "Zoë"),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (list[str], ["a"], ["a"]),
        (float | None, None, None),
        (tuple[float, ...] | None, [1], (1.0,)),
        (dict, {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        (Point, {"x": 1}, Point(1.0)),
    ],
)
def test_values_of_a_type_are_taken(kind, value, made):
    taken = as_type(kind, value)
    assert taken == made and type(taken) is type(made)


@pytest.mark.parametrize(
    ("kind", "value", "cause"),
    [
        (float, "1", "expected a number, found '1'"),
        (float, True, "expected a number, found True"),
        (float, float("nan"), "within 1e"),
        (float, float("inf"), "within 1e"),
        (float, 1e10, "within 1e"),
        (int, 10**400, "found a huge number"),
        (int, 1.0, "a whole number"),
        (int, True, "a whole number"),
        (bool, 1, "true or false"),
        (str, 1, "a text"),
        (str, "x" * (LONGEST_TEXT + 1), f"at most {LONGEST_TEXT} characters"),
        (str, "\x1b[31mred", "cannot be printed"),
        (str, "a\nb", "cannot be printed"),
        (str, "\u202eabc", "cannot be printed"),
        (str, "\ud800", "cannot be printed"),
        (tuple[int, int], [1], "expected 2 values, found 1"),
        (tuple[int, ...], {"a": 1}, "expected a list, found a mapping of 1"),
        (tuple[int, ...], [0] * (LONGEST_LIST + 1), "at most"),
        (tuple[int, ...], [1, None], "a whole number"),
        (float | None, "x", "a number"),
        (dict, [], "fields by name"),
        (dict, {"a": ["\x07"]}, "cannot be printed"),
        (dict, {"\x07": 1}, "cannot be printed"),
        (dict, {"a": {"b": 1e300}}, "within 1e"),
        (dict, {"a": "x" * (LONGEST_REMARK + 1)}, "characters"),
        (Point, [], "fields by name, found a list of 0"),
    ],
)
def test_values_of_other_types_are_refused(kind, value, cause):
    with pytest.raises(ValueError, match=cause) as raised:
        as_type(kind, value)
    assert len(str(raised.value)) < 200


def test_a_record_is_made_from_its_fields():
    values = json.loads('{"name": "a", "corners": [{"x": 1}, {"x": 2, "y": 3}], "size": [2, 3]}')
    assert as_record(Shape, values) == Shape("a", (Point(1.0), Point(2.0, 3.0)), (2, 3))
    assert as_record(Shape, {"corners": []}, name="b") == Shape("b", ())


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"colour": 1}, "unknown field: colour"),
        ({"name": None}, "name: expected a text, found None"),
        ({"corners": [{"x": 1}, {"y": 1}]}, "corners: x is missing"),
        ({"corners": [{"x": [1]}]}, "corners: x: expected a number, found a list of 1"),
        ({"size": [0, 1]}, "size: expected 1 to 9, found 0"),
        ({"closed": 0}, "closed: expected true or false"),
    ],
)
def test_what_is_wrong_is_named(changes, cause):
    with pytest.raises(ValueError, match=cause):
        as_record(Shape, {"name": "a", "corners": []} | changes)


def test_fields_given_by_the_program_do_not_come_from_the_file():
    with pytest.raises(ValueError, match="unknown field: name"):
        as_record(Shape, {"name": "a", "corners": []}, name="b")


def test_fields_are_taken_one_by_one(tmp_path):
    described = Description({"a": 1, "b": {"x": 1}, "far": 50}, tmp_path / "d.json")
    assert described.take("a", int) == 1 and described.take("c", str, "none") == "none"
    assert described.record("b", Point) == Point(1.0) and described.number("far", 0, 50) == 50
    for take, cause in (
        (lambda: described.take("c", str), "c is missing"),
        (lambda: described.take("a", str), "a: expected a text"),
        (lambda: described.record("a", Point), "a: expected fields by name"),
        (lambda: described.record("c", Point), "c: x is missing"),
        (lambda: described.number("far", 0, 49), "far: expected 0 to 49, found 50"),
    ):
        with pytest.raises(UserError, match=rf"d\.json: damaged \({cause}"):
            take()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (None, "not an avatar folder"),
        ("{}", "damaged .format_version is missing"),
        ('{"format_version": true}', "damaged .format_version: expected a whole number"),
        ('{"format_version": 9}', "avatar format 9, but this version reads 3; make the avatar again"),
        ("[", "damaged, not an avatar's description"),
    ],
)
def test_descriptions_of_other_formats_are_refused(tmp_path, text, cause):
    path = tmp_path / "avatar.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=cause):
        read_description(path, "avatar", 3, 2)


def test_descriptions_of_earlier_formats_are_read(tmp_path):
    path = tmp_path / "avatar.json"
    path.write_text('{"format_version": 2, "name": "a"}')
    assert read_description(path, "avatar", 3, 2).take("name", str) == "a"
