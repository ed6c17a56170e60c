import json
import time

import pytest

from ram_avatar.inference.autotune import CHOICES_FILE, fastest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))
    return tmp_path / CHOICES_FILE


class Work:
    """Work that takes a given time and counts its runs."""

    def __init__(self, seconds: float):
        self.seconds, self.runs = seconds, 0

    def __call__(self):
        self.runs += 1
        time.sleep(self.seconds)


def test_the_fastest_is_chosen_and_cached(cache):
    work = {"slow": Work(0.02), "fast": Work(0.002)}
    assert fastest(work, "this") == "fast"
    runs = work["slow"].runs
    assert fastest(work, "this") == "fast" and work["slow"].runs == runs
    assert list(json.loads(cache.read_text()).values()) == ["fast"]


def test_each_context_is_measured_separately(cache):
    assert fastest({"a": Work(0.0), "b": Work(0.02)}, "this") == "a"
    assert fastest({"a": Work(0.02), "b": Work(0.0)}, "that") == "b"
    assert len(json.loads(cache.read_text())) == 2


def test_within_timing_noise_the_first_is_chosen():
    assert fastest({"exact": Work(0.01), "other": Work(0.01)}, "this") == "exact"


def test_a_single_candidate_is_not_measured(cache):
    only = Work(0.0)
    assert fastest({"only": only}, "this") == "only" and only.runs == 0 and not cache.exists()


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, "\xff"])
def test_a_damaged_cache_is_replaced(cache, content):
    cache.write_bytes(content.encode("latin-1"))
    assert fastest({"a": Work(0.0), "b": Work(0.02)}, "this") == "a"
    assert list(json.loads(cache.read_text()).values()) == ["a"]
