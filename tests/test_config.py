from dataclasses import replace

import pytest

from ram_avatar.config import (
    NetworkConfig,
    TrainingConfig,
    load_preset,
    preset_names,
)
from ram_avatar.core.errors import UserError
from ram_avatar.core.untrusted.records import as_record


@pytest.mark.parametrize("name", preset_names())
def test_shipped_presets_load(name):
    preset = load_preset(name)
    assert preset.name == name and preset.network.image_size >= 256 and preset.training.steps > 100


def test_lite_is_256():
    assert load_preset("lite").network.image_size == 256


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("network: {image_size: 100}\ntraining: {}", "image_size 100"),
        ("network: {no_such: 1}\ntraining: {}", "no_such"),
        ("network: {}\ntraining: {steps: 0}", "training: steps: expected 1 to"),
        ("network: {}\ntraining: {attention_start: 3}", "attention_start"),
        ("training: {}", "network"),
        ("just text", "not a preset"),
        (": : :", "not a preset"),
        ("network: {}\ntraining: {}\nspeed: 9", "speed"),
        ("network: {}\ntraining: {}\nname: other", "unknown field: name"),
        ("network: {}\ntraining: {}\ntexture_size: 50000", "texture_size: expected 16 to 2048"),
        ("network: {}\ntraining: {}\ntexture_size: big", "texture_size: expected a whole number"),
        ("network: {}\ntraining: {}\nprecision: 64-true", "precision: expected one of auto"),
        ("network: {}\ntraining: {learning_rate: .nan}", "training: learning_rate: expected a number"),
        ("network: {}\ntraining: {betas: [0.9, 1.0]}", "training: betas: expected 0 to"),
        ("network: {}\ntraining: {perceptual_layers: []}", "perceptual_layers: expected at least one"),
        ("network: {}\ntraining: {perceptual_layers: [1]}", "perceptual_layers: expected a text"),
        ("network: {face: 1}\ntraining: {}", "network: face: expected true or false"),
        (
            "network: {texture_channels: 256, texture_resolution: 4096}\ntraining: {}",
            "body_channels x texture_resolution",
        ),
        ("network: {unet_widths: [1024, 8], image_size: 1024}\ntraining: {}", "unet_widths x pixels"),
        ("network: {styles: 10000000}\ntraining: {}", "styles x style_dim"),
        ("a: &a [x]\nnetwork: {unet_widths: *a}\ntraining: {}", "line 1: aliases"),
        ("network: {}\ntraining: {steps: 9\nx: 3", "not a preset"),
    ],
)
def test_errors_in_a_recipe_are_reported(tmp_path, text, cause):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=cause) as raised:
        load_preset(str(path))
    assert str(raised.value).startswith(f"{path}: not a preset (") and str(raised.value).isprintable()


def test_a_recipe_states_only_what_differs_from_the_one_it_extends(tmp_path):
    (tmp_path / "fine").mkdir()
    (tmp_path / "fine" / "mine.yaml").write_text("extends: lite\ntraining: {steps: 7}\ntexture_size: 64\n")
    (tmp_path / "other.yaml").write_text("extends: fine/mine.yaml\nnetwork: {style_dim: 8}\n")
    lite, other = load_preset("lite"), load_preset(str(tmp_path / "other.yaml"))
    assert other == replace(lite.with_changes({"style_dim": 8}, {"steps": 7}), name="other", texture_size=64)


@pytest.mark.parametrize(
    ("recipes", "cause"),
    [
        ({"a.yaml": "extends: a.yaml"}, "a.yaml: extends itself"),
        ({"a.yaml": "extends: ../x/b.yaml", "b.yaml": "extends: a.yaml"}, "a.yaml: extends itself, by way of .*b.yaml"),
        ({"a.yaml": "extends: huge"}, "a.yaml: extends 'huge', which is neither one of .*lite"),
        ({"a.yaml": "extends: [lite]"}, "a.yaml: not a preset"),
        ({"a.yaml": "extends: lite\nnetwork: 3"}, "a.yaml: not a preset"),
        ({"a.yaml": "extends: lite\nnetwork: {no_such: 3}"}, "a.yaml: not a preset .*no_such"),
        ({"a.yaml": "extends: b.yaml", "b.yaml": ": : :"}, "b.yaml: not a preset"),
        (
            {"a.yaml": "extends: b.yaml\nnetwork: {}", "b.yaml": "network: 3"},
            "b.yaml: not a preset .*network: expected",
        ),
        ({f"{n}.yaml": f"extends: {n + 1}.yaml" for n in range(30)} | {"a.yaml": "extends: 0.yaml"}, "more than 8"),
        ({"a.yaml": f"extends: {'é' * 250}"}, "a.yaml: extends 'é"),
    ],
)
def test_errors_between_recipes_are_reported(tmp_path, recipes, cause):
    folder = tmp_path / "x"
    folder.mkdir()
    for name, text in recipes.items():
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=cause):
        load_preset(str(folder / "a.yaml"))


def test_fields_are_changed_by_name():
    lite = load_preset("lite")
    changed = lite.with_changes(network={"unet_widths": [8, 16]}, training={"steps": 5})
    assert changed.network.unet_widths == (8, 16) and changed.training.steps == 5
    assert changed.with_changes(vars(lite.network), vars(lite.training)) == lite
    with pytest.raises(ValueError, match="no_such"):
        lite.with_changes({"no_such": 1})


def test_a_recipe_is_named_after_its_file_if_that_can_be_printed(tmp_path):
    path = tmp_path / "\x1b[31m.yaml"
    path.write_text("extends: lite")
    with pytest.raises(UserError, match="cannot be printed"):
        load_preset(str(path))


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(UserError, match="lite"):
        load_preset("gigantic")


def test_configurations_survive_json():
    import json
    from dataclasses import asdict

    for config in (NetworkConfig(styles=7), TrainingConfig(steps=9)):
        assert as_record(type(config), json.loads(json.dumps(asdict(config)))) == config
