import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from numpy import nan

from ram_avatar.core.errors import UserError
from ram_avatar.evaluation.curves import _path, _ticks, charts
from ram_avatar.evaluation.document import FLOOR, Evaluation
from ram_avatar.evaluation.figures import FIGURES, Figure
from ram_avatar.evaluation.gallery import SceneFrame, crop, difference, ranked
from ram_avatar.evaluation.gestures import HAND_FINGERS
from ram_avatar.evaluation.report import HEADS, summary_text, write_report

N, SIZE = 12, 48
FIRST = 100


def evaluation(own: bool = True, name: str = "Nana", **avatar) -> Evaluation:
    """Twelve frames; the avatar is best in all but finger error, and its worst frame is number 7."""
    shape = np.abs(np.arange(N) - 7.0)  # 0 in frame 7
    methods = {}
    for method, much in (("textured_mesh", 2.0), ("avatar", 1.0), ("nearest_frame", 3.0)):
        image = {"psnr": 24 / much + shape, "ssim": 0.9 / much + 0.001 * shape, "st_lpips": 0.1 * much - 0.002 * shape}
        methods[method] = {group: dict(image) for group in ("full", "inside", "person", "face")} if own else {}
        methods[method]["time"] = {"perceptual_flicker": np.r_[nan, 0.01 * much * np.ones(N - 1)]}
        methods[method]["control"] = {
            "body_pck": 1 - 0.1 * much * np.ones(N),
            "body_error": 2 * much - 0.1 * shape,
            "hand_error": np.where(np.arange(N) < 4, nan, 5 - much),
        }
        if not own:
            methods[method]["following"] = {
                "arms_angle": 20 * much - shape,
                "arms_followed": 0.5 + 0.01 * shape,
                "head_yaw": 3 + np.abs(np.arange(N) - 2.0),
                "mouth_deviation": np.where(np.arange(N) == 9, 2.0, nan),
            }
    methods["avatar"]["time"]["own_noise"] = np.r_[nan, np.full(N - 1, 0.4)]
    for key, values in avatar.items():
        group, name = key.split("__")
        methods["avatar"][group][name] = values
    figures = {} if own else {method: followed(share) for method, share in (("avatar", 0.5), (FLOOR, 1.0))}
    protocol = {"preset": "lite", "FLIP": "not installed"}
    return Evaluation(name, "clip.mp4", own, FIRST, 25.0, SIZE, protocol, methods, figures=figures)


def followed(share: float) -> dict[str, Figure]:
    """Figures of a driver whose face is too small, and who moves no finger."""
    figures = {name: Figure(share) for name in FIGURES} | {"mouth": Figure(None, "the driver's face is too small")}
    return figures | {name: Figure(None, "the driver hardly moves it") for name in HAND_FINGERS["left"]}


def images(*methods: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {method: random.integers(0, 255, (N, SIZE, SIZE, 3), np.uint8) for method in methods}


OWN = ("truth", "avatar", "textured_mesh")
BOXES = {"face": np.tile([10.0, 5.0, 12.0], (N, 1))}
SCENES = [SceneFrame(FIRST + 3, np.full((40, 80, 3), 90, np.uint8), np.full((40, 80, 3), 200, np.uint8))]


class Page(HTMLParser):
    """Elements, attributes and table rows; fails if tags do not match."""

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


def written(tmp_path, evaluated: Evaluation, methods=OWN, boxes=None, scenes=()) -> str:
    write_report(tmp_path / "report.html", evaluated, images(*methods), boxes, scenes)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    return (tmp_path / "report.html").read_text()


def test_page_is_self_contained(tmp_path):
    text = written(tmp_path, evaluation(), boxes=BOXES)
    page = Page(text)
    assert page.all("img") and all(image["src"].startswith("data:image/jpeg") for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img"))
    assert all(link["href"].startswith(("#", "data:")) for link in page.all("a") + page.all("link"))
    assert not page.all("script")
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r'src="data:[^"]*"', "", text))
    anchors = {link["href"][1:] for link in page.all("a")}
    assert anchors <= {attributes.get("id") for _, attributes in page.found}


def test_whole_frames_come_first_with_the_video_on_the_left(tmp_path):
    page = Page(written(tmp_path, evaluation(), scenes=SCENES))
    assert [image["alt"] for image in page.all("img")][2:4] == ["Video, whole frame 103", "Avatar, whole frame 103"]
    assert [attributes["id"] for tag, attributes in page.found if tag == "section"][:2] == ["scene", "metrics"]
    assert not any(section.get("id") == "scene" for section in Page(written(tmp_path, evaluation())).all("section"))


def test_names_from_files_are_escaped(tmp_path):
    name = """<script>alert("1")</script> & 'x'"""
    page = Page(written(tmp_path, evaluation(name=name)))
    assert not page.all("script")
    assert name in "".join(page.text)


def test_each_method_has_a_row_in_every_region_and_the_best_is_marked_in_words(tmp_path):
    page = Page(written(tmp_path, evaluation()))
    rows = {}
    for name, *cells in page.rows:
        rows.setdefault(name.strip(), []).append([" ".join(cell.split()) for cell in cells])
    for method in ("Avatar", "Textured mesh", "Nearest frame"):
        assert len(rows[method]) == 4 + 1 + 1 + 1  # regions, temporal, control, and the description of the method
    full, control = rows["Avatar"][0], rows["Avatar"][5]
    assert full[0].startswith("27.17 best") and rows["Textured mesh"][0][0].startswith("15.17±")
    assert control[2] == "4.00± 0.00 8 of 12" and rows["Nearest frame"][5][2] == "2.00 best± 0.00 8 of 12"
    assert "best" not in rows["Avatar"][4][1]  # own noise, which no baseline has
    assert rows["Textured mesh"][4][1] == "–"


def test_best_compares_rounded_values_and_needs_two_methods():
    evaluated = evaluation(full__psnr=np.full(N, 15.0), face__ssim=np.full(N, nan))
    evaluated.methods["textured_mesh"]["full"]["psnr"] = np.full(N, 15.001)
    assert evaluated.best("full", "psnr") == {"avatar", "textured_mesh"}
    assert evaluated.best("face", "ssim") == {"textured_mesh"}
    assert evaluated.best("time", "own_noise") == set()


def test_summary_counts_wins_and_names_losses():
    assert summary_text(evaluation()) == (
        "The avatar is closer to the video than every baseline in 15 of 16 metrics. "
        "A baseline is as good or better in finger error."
    )
    alone = evaluation()
    alone = Evaluation("a", "b", True, 0, 25.0, SIZE, {}, {"avatar": alone.methods["avatar"]})
    assert summary_text(alone) == "Evaluated without baselines."


def test_curves_have_gaps_at_missing_values():
    x = np.arange(6.0)
    assert _path(x, np.array([1, 2, nan, 4, nan, 5]), range(6)) == "M0.0 1.0L1.0 2.0M3.0 4.0h0M5.0 5.0h0"
    chart = next(c for c in charts(evaluation(), "control") if c.name == "hand_error")
    assert chart.paths["avatar"].startswith("M") and chart.paths["avatar"].count("L") == N - 5


def test_chart_marks_the_avatars_worst_frame_and_stays_within_its_axes():
    for chart in charts(evaluation(), "person"):
        left, right, top, bottom = chart.plot
        assert chart.worst[2] == FIRST + 7
        points = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", "".join(chart.paths.values())), float)
        assert left <= points[:, 0].min() and points[:, 0].max() <= right
        assert top <= points[:, 1].min() and points[:, 1].max() <= bottom
        assert [number for _, number, _ in chart.x_ticks] == [100, 105, 110]
        assert [seconds for *_, seconds in chart.x_ticks] == ["4.0", "4.2", "4.4"]
    alone = evaluation(person__psnr=np.r_[3.0, [nan] * (N - 1)])
    assert "frame 100" in charts(alone, "person")[0].description


@pytest.mark.parametrize("low, high", [(0, 1), (17.3, 29.1), (-4, 1e-3), (0.0123, 0.0151), (99, 1e5)])
def test_ticks_are_few_round_and_in_range(low, high):
    ticks = _ticks(low, high, 3)
    assert 2 <= len(ticks) <= 5
    assert low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9
    assert len(f"{ticks[1] - ticks[0]:.10g}".strip("0.")) == 1


def test_frames_are_ranked_by_both_metrics_and_frames_without_any_are_omitted():
    psnr, lpips = np.full(N, 30.0), np.full(N, 0.01)
    psnr[[3, 5]], lpips[[5, 8]] = 20, 0.2  # 5 is bad in both
    psnr[0] = lpips[0] = psnr[1] = nan
    order = ranked(evaluation(person__psnr=psnr, person__st_lpips=lpips), "person", ("st_lpips", "psnr"))
    assert order[0] == 5 and set(order[1:3]) == {3, 8}
    assert 0 not in order and 1 in order
    assert ranked(evaluation(person__psnr=np.full(N, nan)), "person", ("psnr",)) == []


def test_worst_frame_comes_first_without_its_neighbours(tmp_path):
    shown = [int(n) for n in re.findall(r"<h3>Frame (\d+)", written(tmp_path, evaluation()))]
    assert shown[0] == FIRST + 7
    assert len(shown) > 1 and np.abs(np.subtract.outer(shown, shown) + 99 * np.eye(len(shown))).min() >= 5
    page = Page(written(tmp_path, evaluation()))
    titles = [image["alt"] for image in page.all("img") if image["alt"].endswith(f"frame {FIRST + 7}")]
    assert [title.split(",")[0] for title in titles] == ["Video", "Avatar", "Difference × 4", "Textured mesh"]


DRIVEN = ("driver", "avatar", "textured_mesh")


def test_page_of_another_driver_has_no_similarity_and_no_difference(tmp_path):
    text = written(tmp_path, evaluation(own=False), DRIVEN)
    page = Page(text)
    assert "Similarity" not in text and "Difference" not in text and "PSNR" not in text
    assert {image["alt"].split(",")[0] for image in page.all("img")} == {"Driver", "Avatar", "Textured mesh"}


def test_figures_stand_beside_the_floor_and_absent_ones_say_why(tmp_path):
    page = Page(written(tmp_path, evaluation(own=False), DRIVEN))
    cells = [[" ".join(cell.split()) for cell in row] for row in page.rows]
    start = cells.index(["", "Avatar", "Driver seen twice"])
    rows = {name.split(" degrees")[0].split(" ↑")[0]: values for name, *values in cells[start : start + 30]}
    assert rows["Arms followed"] == rows["Right lid"] == ["0.50", "1.00"]
    assert rows["Mouth"][0] == "– the driver's face is too small"
    assert rows["Left index"][0] == "– the driver hardly moves it"
    assert summary_text(evaluation(own=False)).startswith(
        "Arms within 20 degrees of the driver's: 50.0%, by 0.5 on average (driver seen twice: 100.0%, by 1.0)."
    )
    assert summary_text(evaluation(own=False)) in "".join(page.text)


def test_worst_frames_of_a_drive_show_the_driver_beside_the_avatar(tmp_path):
    heads = {HEADS + method: np.tile([10.0, 5.0, 12.0], (N, 1)) for method in ("driver", "avatar")}
    heads[HEADS + "avatar"][9] = nan  # no face was found there, so the whole frame is shown
    text = written(tmp_path, evaluation(own=False), DRIVEN, heads)
    section = text[text.index('<section id="gestures">') : text.index('<section id="metrics">')]
    parts = {part.split("</h3>")[0]: part for part in section.split('<h3 class="next">')[1:]}
    first = {title: re.findall(r"<h4>Frame (\d+)", part)[0] for title, part in parts.items()}
    assert first == {"Arms": f"{FIRST + 7}", "Head": f"{FIRST + 11}", "Mouth": f"{FIRST + 9}"}  # the legs are not seen
    titles = [image["alt"].split(",")[0] for image in Page(section).all("img")]
    assert titles == ["Driver", "Avatar"] * (len(titles) // 2)
    sizes = [shown.shape[0] for shown in shown_in(parts["Mouth"])]
    assert sizes == [224, SIZE]


def shown_in(part: str) -> list[np.ndarray]:
    encoded = re.findall(r"data:image/jpeg;base64,([^\"]+)", part)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(each), np.uint8), 1) for each in encoded]


def test_page_without_video_frames_or_a_ranking_metric(tmp_path):
    evaluated = evaluation(own=False, following__arms_angle=np.full(N, nan))
    assert not Page(written(tmp_path, evaluated, ("avatar",))).all("img")
    evaluated = evaluation(own=False)
    assert Page(written(tmp_path, evaluated, ("avatar",))).all("img")


def test_json_round_trip_with_null_for_nan():
    evaluated = evaluation()
    text = json.dumps(evaluated.to_dict(), allow_nan=False)
    document = json.loads(text)
    assert document["ways"]["avatar"]["control"]["hand_error"][:5] == [None] * 4 + [4.0]
    assert document["summary"]["avatar"]["person"]["psnr"]["worst_frame"] == 7
    back = Evaluation.from_dict(document)
    assert {**back.to_dict(), "summary": 0} == {**document, "summary": 0}
    for method, groups in evaluated.methods.items():
        for group, series in groups.items():
            for name, values in series.items():
                np.testing.assert_allclose(back.methods[method][group][name], values, atol=1e-6)


def test_figures_survive_the_round_trip():
    evaluated = evaluation(own=False)
    back = Evaluation.from_dict(json.loads(json.dumps(evaluated.to_dict(), allow_nan=False)))
    assert back.figures == evaluated.figures
    with pytest.raises(ValueError, match="unknown figures: beauty"):
        replace(evaluated, figures={"avatar": {"beauty": Figure(1.0)}})


def test_inconsistent_data_is_rejected(tmp_path):
    evaluated = evaluation()
    with pytest.raises(ValueError, match="11 frames of 'truth', but 12"):
        write_report(tmp_path / "r.html", evaluated, {**images("avatar"), "truth": images("truth")["truth"][1:]})
    with pytest.raises(ValueError, match="one length"):
        evaluation(person__psnr=np.ones(3))
    with pytest.raises(ValueError, match="unknown metrics: beauty"):
        evaluation(person__beauty=np.ones(N))
    with pytest.raises(UserError, match="no-folder"):
        write_report(tmp_path / "no-folder" / "r.html", evaluated, images(*OWN))
    assert not list(tmp_path.iterdir())


def test_difference_is_amplified_and_saturates():
    a, b = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 110, np.uint8)
    assert (difference(a, b) == 40).all() and (difference(b, a) == 40).all()
    assert (difference(a, a + 150) == 255).all()


def test_crop_is_the_box_enlarged():
    image = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    whole = cv2.resize(image[8:40, 16:48], (224, 224), interpolation=cv2.INTER_CUBIC)
    mine = crop(image, np.array([16.0, 8.0, 32.0]))
    inner = slice(14, -14)  # near its border the crop samples pixels around the box
    assert np.abs(whole[inner, inner].astype(int) - mine[inner, inner]).max() <= 8  # fixed-point weights
    assert (crop(image, np.array([-40.0, 0.0, 30.0])) == 0).all()


@pytest.mark.parametrize("width", [360, 800])
def test_browser_shows_it_without_horizontal_scrolling(tmp_path, width):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        pytest.skip("no chromium on this machine")
    text = written(
        tmp_path,
        evaluation(name="a_name_that_is_long_and_cannot_be_broken_at_any_blank_" * 2),
        boxes=BOXES,
        scenes=SCENES,
    )
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
