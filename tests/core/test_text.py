import pytest

from ram_avatar.core.errors import LONGEST_MESSAGE, UserError
from ram_avatar.core.text import one_line, printable


def test_printable_text_stays():
    assert printable("Jürgen's 頭像 👋 v2") == "Jürgen's 頭像 👋 v2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a?[2Jb"),  # clears a terminal
        ("a\r\n\tb", "a   b"),
        ("a\u202eb", "a?b"),  # writes from right to left
        ("a\udce9b", "a?b"),  # a byte that is not UTF-8, in a file's name
        ("a\x9b31mb", "a?31mb"),
    ],
)
def test_nothing_reaches_the_terminal_but_characters(text, shown):
    assert printable(text) == shown


def test_a_long_text_keeps_its_start_and_its_end():
    short = one_line("start " + 1000 * "x" + " end", 60)
    assert len(short) == 60 and short.startswith("start ") and short.endswith(" end") and " ... " in short


def test_every_users_error_is_one_short_line():
    error = str(UserError("bad.json: expected\n'" + "z" * 5000 + "\x1b]0;x\x07'"))
    assert len(error) <= LONGEST_MESSAGE and error.isprintable() and error.startswith("bad.json: expected")
