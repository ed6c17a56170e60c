import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ram_avatar.avatar import Avatar
from ram_avatar.capture.capture import Capture
from ram_avatar.cli.drivers import note_drivers
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.evaluation import drivers
from ram_avatar.evaluation.document import FLOOR, RESIZED, Evaluation
from ram_avatar.evaluation.drivers import DriverResult, evaluate_drivers, find_captures
from ram_avatar.evaluation.figures import COLUMNS, FIGURES, Figure


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture()
def folders(capture, tmp_path) -> Path:
    """Three captures of other people, one of the avatar's own person, and something else."""
    folder = tmp_path / "films"
    folder.mkdir()
    for number, name in enumerate(("arms", "legs", "nobody", "own")):
        (folder / name).symlink_to(capture.folder) if name == "own" else copy(capture, folder / name, number)
    (folder / "notes").mkdir()
    (folder / "readme.txt").write_text("films")
    return folder


def copy(capture: Capture, folder: Path, number: int) -> None:
    """Write the capture of another person with the same video."""
    folder.mkdir()
    for file in capture.folder.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "capture.json").unlink()
    document = json.loads((capture.folder / "capture.json").read_text())
    document["identity"] = [value + 0.05 for value in document["identity"]]
    document["source"] = f"film {number}.mp4"
    (folder / "capture.json").write_text(json.dumps(document))


def evaluated(driver: str, arms: float | None, legs: float | None) -> Evaluation:
    figures = {name: Figure(0.5) for name in FIGURES}
    for limb, share in (("arms", arms), ("legs", legs)):
        figures[f"{limb}_followed"] = Figure(share, "" if share else "not seen")
    floor = {name: Figure(0.9) for name in FIGURES}
    methods = {"avatar": {"following": {"arms_angle": np.zeros(3)}}}
    return Evaluation(
        "ada", driver, False, 0, 25.0, 64, {}, methods, figures={"avatar": figures, RESIZED: floor, FLOOR: floor}
    )


@pytest.fixture()
def measured(monkeypatch):
    """Results instead of minutes of rendering and detection."""
    shares = {"film 0.mp4": (0.9, 0.7), "film 1.mp4": (0.3, 1.0), "film 2.mp4": (None, None)}

    def evaluate_into(folder, avatar, capture, progress, size):
        (folder / "report.html").write_text("a page")
        return evaluated(capture.source, *shares[capture.source])

    monkeypatch.setattr(drivers, "evaluate_into", evaluate_into)


def test_drivers_are_sorted_worst_first_in_json_page_and_terminal(folders, avatar_folder, measured, tmp_path):
    notes, out = Notes(), tmp_path / "out"
    results = evaluate_drivers(Avatar.load(avatar_folder), find_captures([folders]), out, progress=notes)
    assert [result.name for result in results] == ["legs", "arms", "nobody"]
    assert "own: left out, as it shows the avatar's own person" in notes.lines
    assert sorted(path.name for path in out.iterdir()) == ["arms", "drivers.json", "legs", "nobody", "report.html"]

    document = json.loads((out / "drivers.json").read_text())
    assert [each["folder"] for each in document["drivers"]] == ["legs", "arms", "nobody"]
    worst = document["drivers"][0]
    assert worst["figures"]["avatar"]["arms_followed"] == 0.3 and worst["figures"][FLOOR]["mouth"] == 0.9
    assert worst["driver"] == "film 1.mp4" and worst["frames"] == 3 and set(worst["figures"][FLOOR]) == set(COLUMNS)

    links, page = [], (out / "report.html").read_text()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: links.append(dict(attributes)["href"]) if tag == "a" else None
    parser.feed(page)
    assert links == ["legs/report.html", "arms/report.html", "nobody/report.html"]
    assert all((out / link).is_file() for link in links) and page.count("Driver seen twice") == 3

    said = Notes()
    note_drivers(results, said)
    rows = [line.split() for line in said.lines[1:] if not line.startswith("  driver")]
    assert [row[:3] for row in rows] == [["legs", "0.5", "0.30"], ["arms", "0.5", "0.90"], ["nobody", "0.5", "–"]]
    assert len(said.lines) == 1 + 3 * 3 and len(set(map(len, said.lines))) == 1


def test_a_name_is_escaped_on_the_page(folders, avatar_folder, measured, tmp_path):
    (folders / "arms").rename(folders / "<b>&%")
    evaluate_drivers(Avatar.load(avatar_folder), find_captures([folders / "<b>&%"]), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>&%" not in page and 'href="%3Cb%3E%26%25/report.html"' in page


def test_captures_are_found_in_folders_and_named_once(folders):
    assert find_captures([folders]) == {name: folders / name for name in ("arms", "legs", "nobody", "own")}
    assert list(find_captures([folders / "legs", folders / "notes" / ".." / "arms"])) == ["legs", "arms"]
    with pytest.raises(UserError, match="notes: neither a capture nor a folder of captures"):
        find_captures([folders / "notes"])
    with pytest.raises(UserError, match="absent: neither"):
        find_captures([folders / "absent"])
    with pytest.raises(UserError, match="two captures are called 'legs'"):
        find_captures([folders, folders / "legs"])


def test_invalid_drivers_are_rejected_before_any_work(folders, avatar_folder, measured, tmp_path):
    avatar = Avatar.load(avatar_folder)
    with pytest.raises(UserError, match="no capture shows another person"):
        evaluate_drivers(avatar, find_captures([folders / "own"]), tmp_path / "out")
    foreign = json.loads((folders / "legs" / "capture.json").read_text())
    (folders / "legs" / "capture.json").write_text(json.dumps(foreign | {"identity": [0.0]}))
    with pytest.raises(UserError, match="identity"):
        evaluate_drivers(avatar, find_captures([folders]), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"drivers\.json"):
        evaluate_drivers(avatar, find_captures([folders / "arms"]), tmp_path / "mine", overwrite=True)
    assert not (tmp_path / "out").exists()


def test_obedience_is_that_of_the_worse_limbs():
    assert DriverResult("a", evaluated("", 0.9, 0.7)).obedience == 0.7
    assert DriverResult("a", evaluated("", None, 0.7)).obedience == 0.7
    assert DriverResult("a", evaluated("", None, None)).obedience == float("inf")
    other = evaluated("", 0.9, 0.7)
    lids = {"right_lid": Figure(0.2), "left_lid": Figure(None, "why")}
    other = replace(other, figures={"avatar": dict(other.figures["avatar"]) | lids})
    assert DriverResult("a", other).values("avatar")["lids"] == 0.2
