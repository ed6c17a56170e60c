import io
import os

from rich.console import Console

from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.core.progress import follow


def _said(progress: TerminalProgress) -> str:
    return progress.console.file.getvalue()


def _to_a_pipe(monkeypatch) -> TerminalProgress:
    import ram_avatar.cli.terminal as terminal

    monkeypatch.setattr(terminal, "Console", lambda **_: Console(file=io.StringIO(), force_terminal=False))
    return TerminalProgress()


def test_a_pipe_gets_lines_instead_of_bars(monkeypatch):
    with _to_a_pipe(monkeypatch) as progress:
        assert list(follow(range(100), progress, "Working", 100)) == list(range(100))
        progress.note("ready: out.mp4")
        with progress.wait("Looking"):
            pass
    said = _said(progress)
    assert "Working: 100/100" in said and "ready: out.mp4" in said and "Looking" in said
    assert said.count("\n") < 8  # not one line per frame


def test_long_work_prints_a_line_at_each_tenth(monkeypatch):
    monkeypatch.setattr("ram_avatar.cli.terminal._LOG_EVERY", 0.0)
    with _to_a_pipe(monkeypatch) as progress:
        for label in ("Tracking", "Training"):
            for _ in follow(range(1000), progress, label, 1000):
                pass
    lines = _said(progress).splitlines()
    assert lines[:3] == ["Tracking: 100/1000", "Tracking: 200/1000", "Tracking: 300/1000"]
    assert len(lines) == 20 and lines[-1] == "Training: 1000/1000"


def test_nothing_that_is_told_can_control_the_terminal(monkeypatch):
    with _to_a_pipe(monkeypatch) as progress:
        progress.note("\x1b]0;owned\x07 \ud800")
        progress.step("\x1b[2J", 1, 1)
        with progress.wait("\x1b[31m"):
            pass
    assert _said(progress).splitlines() == ["?]0;owned? ?", "?[2J: 1/1", "?[31m"]


def test_labels_and_notes_are_not_taken_for_markup(monkeypatch):
    import ram_avatar.cli.terminal as terminal

    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(terminal, "Console", lambda **_: console)
    with TerminalProgress() as progress:
        progress.step("reading [/red]", 1, 1)
        progress.note("[bold]ready")
        with progress.wait("[/]"):
            pass
    assert "reading [/red]" in drawn.getvalue() and "[bold]ready" in drawn.getvalue()


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch):
    import ram_avatar.cli.terminal as terminal

    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=100)
    monkeypatch.setattr(terminal, "Console", lambda **_: console)
    with TerminalProgress() as progress:
        for done in (1, 5, 10):
            progress.step("Training", done, 10)
    assert "Training" in drawn.getvalue() and "10/10" in drawn.getvalue()


def test_names_that_are_not_text_are_printed(capfd):
    with TerminalProgress() as progress:
        progress.note(f"{os.fsdecode(bytes([0x6C, 0xFC]))}.mp4: ready")
    assert "l?.mp4: ready" in capfd.readouterr().err
