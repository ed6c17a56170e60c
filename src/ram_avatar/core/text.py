"""Text from outside, made fit for a terminal and for messages."""

_ELLIPSIS = " ... "


def printable(text: str) -> str:
    """Return a text as one line of printable characters: no control characters, no broken encodings.

    Line breaks and tabs become spaces, everything else that cannot be printed a question mark, so that no text can
    move the cursor or reorder a terminal's line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def one_line(text: str, longest: int) -> str:
    """Return `printable(text)` with at most `longest` characters; the middle of a longer text is left out."""
    text = printable(text).strip()
    if len(text) <= longest:
        return text
    kept = longest - len(_ELLIPSIS)
    end = kept // 3  # advice stands at a message's end
    return text[: kept - end] + _ELLIPSIS + text[len(text) - end :]
