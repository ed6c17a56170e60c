import pytest

from ram_avatar.config import NetworkConfig, TrainingConfig, load_preset, preset_names
from ram_avatar.errors import UserError


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
        ("network: {}\ntraining: {steps: 0}", "at least one step"),
        ("network: {}\ntraining: {attention_start: 3}", "attention_start"),
        ("training: {}", "network"),
        ("just text", "not a preset"),
        (": : :", "not a preset"),
        ("network: {}\ntraining: {}\nspeed: 9", "speed"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(tmp_path, text, cause):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=cause):
        load_preset(str(path))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UserError, match="lite"):
        load_preset("gigantic")


def test_configurations_survive_json():
    import json
    from dataclasses import asdict

    for config in (NetworkConfig(styles=7), TrainingConfig(steps=9)):
        assert type(config).from_dict(json.loads(json.dumps(asdict(config)))) == config
