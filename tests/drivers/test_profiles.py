import json
import stat

import pytest

from ram_avatar.core.cache import cache_folder
from ram_avatar.core.errors import UserError
from ram_avatar.drivers.profiles import Profile


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))


@pytest.fixture()
def profile(template):
    return Profile.of(template, template.default_identity() + 0.1, tuple([0.25] * len(template.action_names)))


def test_a_profile_is_read_as_it_was_written(template, profile):
    profile.save("Ada L.")
    assert Profile.load("Ada L.", template) == profile
    profile.save("Ada L.")  # replaces the first one
    assert [path.name for path in (cache_folder() / "profiles").iterdir()] == ["Ada L..json"]
    plain = Profile.of(template, template.default_identity(), None)
    plain.save("bob")
    assert Profile.load("bob", template) == plain


def test_only_their_owner_reads_profiles(profile):
    profile.save("ada")
    folder = cache_folder() / "profiles"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ada.json").stat().st_mode) == 0o600


def test_another_name_or_template_has_no_profile(template, profile):
    profile.save("ada")
    assert Profile.load("bob", template) is None
    Profile("another-1.0", profile.identity).save("ada")
    assert Profile.load("ada", template) is None


@pytest.mark.parametrize("name", ["", "../ada", "a/b", "/etc/passwd", ".hidden", "a" * 65, "a\n"])
def test_paths_are_not_names(template, profile, name):
    with pytest.raises(UserError, match="not a name"):
        profile.save(name)
    with pytest.raises(UserError, match="not a name"):
        Profile.load(name, template)


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": [0.5]},
        {"identity": None},
        {"identity": "x" * 195},
        {"neutral_face": [0.1, 0.2]},
        {"neutral_face": "calm"},
    ],
)
def test_damaged_files_are_refused(template, profile, changes):
    profile.save("ada")
    path = cache_folder() / "profiles" / "ada.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=r"ada\.json: damaged"):
        Profile.load("ada", template)


def test_bad_numbers_are_refused(template, profile):
    profile.save("ada")
    path = cache_folder() / "profiles" / "ada.json"
    described = json.loads(path.read_text())
    for number in (float("nan"), float("inf"), 1e9, True, "1"):
        path.write_text(json.dumps(described | {"identity": [number, *described["identity"][1:]]}))
        with pytest.raises(UserError, match="damaged"):
            Profile.load("ada", template)
    path.write_text("{" * 100)
    with pytest.raises(UserError, match="damaged"):
        Profile.load("ada", template)
    path.write_text(" " * (2 << 20))
    with pytest.raises(UserError, match="too large"):
        Profile.load("ada", template)
