import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from numpy import nan

from ram_avatar.core.errors import UserError
from ram_avatar.evaluation.curves import _path, _ticks, charts
from ram_avatar.evaluation.document import Evaluation
from ram_avatar.evaluation.report import (
    crop,
    difference,
    plain_words,
    ranked,
    write_report,
)

N, SIZE = 12, 48
FIRST = 100


def evaluation(own: bool = True, name: str = "Nana", **avatar) -> Evaluation:
    """Twelve frames; the avatar is best in all but the finger error, and worst in frame 7 of them."""
    shape = np.abs(np.arange(N) - 7.0)  # 0 in frame 7
    ways = {}
    for way, much in (("textured_mesh", 2.0), ("avatar", 1.0), ("nearest_frame", 3.0)):
        image = {"psnr": 24 / much + shape, "ssim": 0.9 / much + 0.001 * shape, "st_lpips": 0.1 * much - 0.002 * shape}
        ways[way] = {group: dict(image) for group in ("full", "inside", "person", "face")} if own else {}
        ways[way]["time"] = {"perceptual_flicker": np.r_[nan, 0.01 * much * np.ones(N - 1)]}
        ways[way]["control"] = {
            "body_pck": 1 - 0.1 * much * np.ones(N),
            "body_error": 2 * much - 0.1 * shape,
            "hand_error": np.where(np.arange(N) < 4, nan, 5 - much),
        }
    ways["avatar"]["time"]["own_noise"] = np.r_[nan, np.full(N - 1, 0.4)]
    for place, values in avatar.items():
        group, figure = place.split("__")
        ways["avatar"][group][figure] = values
    return Evaluation(name, "clip.mp4", own, FIRST, 25.0, SIZE, {"preset": "lite", "FLIP": "not installed"}, ways)


def pictures(*ways: str) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {way: draw.integers(0, 255, (N, SIZE, SIZE, 3), np.uint8) for way in ways}


OWN = ("truth", "avatar", "textured_mesh")
BOXES = {"face": np.tile([10.0, 5.0, 12.0], (N, 1))}


class Page(HTMLParser):
    """Elements, attributes and the rows of tables; fails where tags do not match."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.found, self.rows, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)
        if any(tag in ("td", "th") for tag in self.open):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


def written(tmp_path, judged: Evaluation, ways=OWN, boxes=None) -> str:
    write_report(tmp_path / "report.html", judged, pictures(*ways), boxes)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    return (tmp_path / "report.html").read_text()


def test_the_page_is_whole_and_needs_nothing_else(tmp_path):
    text = written(tmp_path, evaluation(), boxes=BOXES)
    page = Page(text)
    assert page.all("img") and all(image["src"].startswith("data:image/jpeg") for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img"))
    assert all(link["href"].startswith(("#", "data:")) for link in page.all("a") + page.all("link"))
    assert not page.all("script")
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r'src="data:[^"]*"', "", text))
    anchors = {link["href"][1:] for link in page.all("a")}
    assert anchors <= {attributes.get("id") for _, attributes in page.found}


def test_names_from_files_are_escaped(tmp_path):
    name = """<script>alert("1")</script> & 'x'"""
    page = Page(written(tmp_path, evaluation(name=name)))
    assert not page.all("script")
    assert name in "".join(page.text)


def test_each_way_has_a_row_in_every_region_and_the_best_is_marked_in_words(tmp_path):
    page = Page(written(tmp_path, evaluation()))
    rows = {}
    for name, *cells in page.rows:
        rows.setdefault(name.strip(), []).append([" ".join(cell.split()) for cell in cells])
    for way in ("Avatar", "Textured mesh", "Nearest frame"):
        assert len(rows[way]) == 4 + 1 + 1 + 1  # regions, time, control, and what the way is
    full, control = rows["Avatar"][0], rows["Avatar"][5]
    assert full[0].startswith("27.17 best") and rows["Textured mesh"][0][0].startswith("15.17±")
    assert control[2] == "4.00± 0.00 8 of 12" and rows["Nearest frame"][5][2] == "2.00 best± 0.00 8 of 12"
    assert "best" not in rows["Avatar"][4][1]  # own noise, which nobody else has
    assert rows["Textured mesh"][4][1] == "–"


def test_the_best_is_judged_by_what_is_told_and_not_where_one_is_alone():
    judged = evaluation(full__psnr=np.full(N, 15.0), face__ssim=np.full(N, nan))
    judged.ways["textured_mesh"]["full"]["psnr"] = np.full(N, 15.001)
    assert judged.best("full", "psnr") == {"avatar", "textured_mesh"}
    assert judged.best("face", "ssim") == {"textured_mesh"}
    assert judged.best("time", "own_noise") == set()


def test_the_summary_counts_and_names_what_is_lost():
    assert plain_words(evaluation()) == (
        "The avatar is nearer to the video than every baseline in 15 of 16 figures. "
        "A baseline is as good or better in finger error."
    )
    alone = evaluation()
    alone = Evaluation("a", "b", True, 0, 25.0, SIZE, {}, {"avatar": alone.ways["avatar"]})
    assert plain_words(alone) == "Judged without baselines."


def test_curves_break_where_there_is_no_value():
    x = np.arange(6.0)
    assert _path(x, np.array([1, 2, nan, 4, nan, 5]), range(6)) == "M0.0 1.0L1.0 2.0M3.0 4.0h0M5.0 5.0h0"
    chart = next(c for c in charts(evaluation(), "control") if c.name == "hand_error")
    assert chart.paths["avatar"].startswith("M") and chart.paths["avatar"].count("L") == N - 5


def test_a_chart_marks_the_avatars_worst_frame_and_stays_within_its_axes():
    for chart in charts(evaluation(), "person"):
        left, right, top, bottom = chart.plot
        assert chart.worst[2] == FIRST + 7
        points = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", "".join(chart.paths.values())), float)
        assert left <= points[:, 0].min() and points[:, 0].max() <= right
        assert top <= points[:, 1].min() and points[:, 1].max() <= bottom
        assert [number for _, number, _ in chart.across] == [100, 105, 110]
        assert [seconds for *_, seconds in chart.across] == ["4.0", "4.2", "4.4"]
    alone = evaluation(person__psnr=np.r_[3.0, [nan] * (N - 1)])
    assert "frame 100" in charts(alone, "person")[0].description


@pytest.mark.parametrize("low, high", [(0, 1), (17.3, 29.1), (-4, 1e-3), (0.0123, 0.0151), (99, 1e5)])
def test_ticks_are_few_round_and_inside(low, high):
    ticks = _ticks(low, high, 3)
    assert 2 <= len(ticks) <= 5
    assert low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9
    assert len(f"{ticks[1] - ticks[0]:.10g}".strip("0.")) == 1


def test_frames_are_ranked_by_both_figures_and_those_without_any_are_left_out():
    psnr, lpips = np.full(N, 30.0), np.full(N, 0.01)
    psnr[[3, 5]], lpips[[5, 8]] = 20, 0.2  # 5 is bad in both
    psnr[0] = lpips[0] = psnr[1] = nan
    order = ranked(evaluation(person__psnr=psnr, person__st_lpips=lpips), "person", ("st_lpips", "psnr"))
    assert order[0] == 5 and set(order[1:3]) == {3, 8}
    assert 0 not in order and 1 in order
    assert ranked(evaluation(person__psnr=np.full(N, nan)), "person", ("psnr",)) == []


def test_the_worst_frame_comes_first_and_its_neighbours_are_not_shown(tmp_path):
    shown = [int(n) for n in re.findall(r"<h3>Frame (\d+)", written(tmp_path, evaluation()))]
    assert shown[0] == FIRST + 7
    assert len(shown) > 1 and np.abs(np.subtract.outer(shown, shown) + 99 * np.eye(len(shown))).min() >= 5
    page = Page(written(tmp_path, evaluation()))
    titles = [image["alt"] for image in page.all("img") if image["alt"].endswith(f"frame {FIRST + 7}")]
    assert [title.split(",")[0] for title in titles] == ["Video", "Avatar", "Difference × 4", "Textured mesh"]


def test_another_performers_page_has_no_likeness_and_no_difference(tmp_path):
    text = written(tmp_path, evaluation(own=False), ("driver", "avatar", "textured_mesh"), BOXES)
    page = Page(text)
    assert "Likeness" not in text and "Difference" not in text and "PSNR" not in text
    assert re.search(r"<h3>Frame (\d+)", text)[1] == str(FIRST + 7)  # by body error
    assert {image["alt"].split(",")[0] for image in page.all("img")} == {"Driver", "Avatar", "Textured mesh"}


def test_a_motion_without_pictures_and_nothing_to_rank_by_still_makes_a_page(tmp_path):
    judged = evaluation(own=False, control__body_error=np.full(N, nan))
    assert not Page(written(tmp_path, judged, ("avatar",))).all("img")
    judged = evaluation(own=False)
    assert Page(written(tmp_path, judged, ("avatar",))).all("img")


def test_json_has_null_for_what_is_not_there_and_comes_back():
    judged = evaluation()
    text = json.dumps(judged.to_dict(), allow_nan=False)
    document = json.loads(text)
    assert document["ways"]["avatar"]["control"]["hand_error"][:5] == [None] * 4 + [4.0]
    assert document["summary"]["avatar"]["person"]["psnr"]["worst_frame"] == 7
    back = Evaluation.from_dict(document)
    assert {**back.to_dict(), "summary": 0} == {**document, "summary": 0}
    for way, groups in judged.ways.items():
        for group, series in groups.items():
            for name, values in series.items():
                np.testing.assert_allclose(back.ways[way][group][name], values, atol=1e-6)


def test_what_does_not_fit_together_is_refused(tmp_path):
    judged = evaluation()
    with pytest.raises(ValueError, match="11 frames of 'truth', but 12"):
        write_report(tmp_path / "r.html", judged, {**pictures("avatar"), "truth": pictures("truth")["truth"][1:]})
    with pytest.raises(ValueError, match="one length"):
        evaluation(person__psnr=np.ones(3))
    with pytest.raises(ValueError, match="unknown figures: beauty"):
        evaluation(person__beauty=np.ones(N))
    with pytest.raises(UserError, match="no-folder"):
        write_report(tmp_path / "no-folder" / "r.html", judged, pictures(*OWN))
    assert not list(tmp_path.iterdir())


def test_a_difference_is_amplified_and_saturates():
    a, b = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 110, np.uint8)
    assert (difference(a, b) == 40).all() and (difference(b, a) == 40).all()
    assert (difference(a, a + 150) == 255).all()


def test_a_crop_is_the_box_enlarged():
    picture = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    whole = cv2.resize(picture[8:40, 16:48], (224, 224), interpolation=cv2.INTER_CUBIC)
    mine = crop(picture, np.array([16.0, 8.0, 32.0]))
    inner = slice(14, -14)  # at its border the crop sees the picture around it
    assert np.abs(whole[inner, inner].astype(int) - mine[inner, inner]).max() <= 8  # fixed-point weights
    assert (crop(picture, np.array([-40.0, 0.0, 30.0])) == 0).all()


@pytest.mark.parametrize("width", [360, 800])
def test_a_browser_shows_it_without_scrolling_sideways(tmp_path, width):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        pytest.skip("no chromium on this machine")
    text = written(tmp_path, evaluation(name="a_name_that_is_long_and_cannot_be_broken_at_any_blank_" * 2), boxes=BOXES)
    (tmp_path / "frame.html").write_text(
        f'<iframe style="width: {width}px; height: 900px" srcdoc="{html.escape(text)}"></iframe><script>'
        "onload = () => { const page = document.querySelector('iframe').contentDocument.documentElement;"
        "document.title = [page.clientWidth, page.scrollWidth, page.scrollHeight].join(' '); }</script>"
    )
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path}/p"]
    command = [browser, *options, "--dump-dom", (tmp_path / "frame.html").as_uri()]
    dump = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    inner, across, down = (int(v) for v in re.search(r"<title>(\d+) (\d+) (\d+)", dump).groups())
    assert inner == width
    assert across <= inner
    assert down > 2000  # it was laid out at all
