import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from inference.twin import close_up, paint, persons, shake

from ram_avatar.avatar import Avatar
from ram_avatar.cli.main import main
from ram_avatar.core.errors import UserError
from ram_avatar.inference.export import CARD_KEY, MAPS, OUTPUTS, export
from ram_avatar.networks.avatar_network import AvatarNetwork

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
DOCS = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def avatar(avatar_folder):
    avatar = Avatar.load(avatar_folder)
    shake(avatar.network)
    return avatar


@pytest.fixture(scope="module")
def motion(capture):
    return capture.motion[20:23]


@pytest.fixture(scope="module")
def exported(avatar, motion, tmp_path_factory):
    """The graph's file, with its maps next to it."""
    path = tmp_path_factory.mktemp("export") / "me.onnx"
    export(avatar, path, motion=motion)
    return path


def by_torch(persons) -> np.ndarray:
    """Return RGBA [N, 4, H, W] of what the training network renders, in the units of the graph's output."""
    return torch.cat([torch.cat([(person.color + 1) / 2, person.alpha], 1) for person in persons]).numpy()


@pytest.fixture(scope="module")
def examples(exported):
    """The variables of the examples in the docs, after running all of them."""
    scope: dict = {}
    with contextlib.chdir(exported.parent):
        for code in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S):
            assert "torch" not in code and "import ram_avatar" not in code
            exec(code, scope)
    return scope


def test_the_example_in_the_docs_runs_and_agrees_with_torch(examples, avatar, motion):
    found = np.stack(examples["frames"]).transpose(0, 3, 1, 2)
    wanted = by_torch(close_up(avatar, painted) for painted in paint(avatar, motion))
    assert found.shape == wanted.shape == (3, 4, 64, 64) and wanted.std() > 0.1
    assert np.abs(found - wanted).max() < 1 / 255
    assert examples["picture"].dtype == np.uint8


def test_the_composition_in_the_docs_agrees_with_torch(examples, avatar, motion):
    """At twice the size, of the last frame; the shaken network's alpha is nowhere clear."""
    *_, wanted = persons(avatar, motion, (128, 128), close_up=True)
    found, near = examples["large"], examples["near"]
    assert found.shape == (4, 128, 128) and near.max() > 0.3
    off = np.abs(found - by_torch([wanted])[0]).max(0)
    # Two ways to draw may move an edge across a pixel centre.
    assert (off > 1 / 255).mean() < 1e-3


def test_the_card_describes_every_input_and_output(exported, avatar):
    onnx.checker.check_model(str(exported), full_check=True)
    session = onnxruntime.InferenceSession(str(exported))
    told = json.loads(session.get_modelmeta().custom_metadata_map[CARD_KEY])
    for kind, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        assert {value.name: value.shape for value in values} == {name: v["shape"] for name, v in told[kind].items()}
    assert list(told["inputs"]) == [*MAPS, "previous"] and list(told["outputs"]) == list(OUTPUTS)
    graph = onnx.load(exported).graph
    for value in (*graph.input, *graph.output):
        assert value.doc_string == (told["inputs"] | told["outputs"])[value.name]["is"]
    assert told["belief"] == pytest.approx(avatar.network.alpha.belief.item())
    assert told["camera"] == avatar.camera.as_dict() and told["template"] == avatar.template.name


def test_the_docs_name_every_input_and_output():
    rows = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), re.M)
    assert rows == [*MAPS, "previous", *OUTPUTS]


def test_an_avatar_without_a_temporal_branch_has_no_previous_frame(avatar, motion, tmp_path):
    config = replace(avatar.network.config, temporal_attention=False, spatial_attention=False, face=False)
    bare = replace(avatar, network=shake(AvatarNetwork(config)))
    export(bare, tmp_path / "bare.onnx", motion=motion)
    session, maps = onnxruntime.InferenceSession(str(tmp_path / "bare.onnx")), np.load(tmp_path / "bare.npz")
    assert "previous" not in [value.name for value in session.get_inputs()]
    given = {value.name: maps[value.name][1:2] for value in session.get_inputs()}
    wanted = by_torch(close_up(bare, painted) for painted in paint(bare, motion))
    assert np.abs(session.run(None, given)[0] - wanted[1:2]).max() < 1 / 255


def test_wrong_output_paths_are_refused(avatar, motion, tmp_path, avatar_folder, capsys):
    with pytest.raises(UserError, match=r"\.onnx"):
        export(avatar, tmp_path / "me.pt")
    (tmp_path / "me.npz").write_text("mine")
    with pytest.raises(UserError, match=r"me\.npz exists"):
        export(avatar, tmp_path / "me.onnx", motion=motion)
    assert [path.name for path in tmp_path.iterdir()] == ["me.npz"]
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(avatar_folder), str(tmp_path / "none" / "me.onnx")])
    assert stopped.value.code == 2 and "there is no folder" in capsys.readouterr().err


def test_missing_packages_are_reported_with_their_extra(avatar, tmp_path, monkeypatch):
    monkeypatch.setattr("ram_avatar.inference.export.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ram-avatar\[onnx\]"):
        export(avatar, tmp_path / "me.onnx")
