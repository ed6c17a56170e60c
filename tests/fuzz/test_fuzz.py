"""A few hundred mutated files for each reader of untrusted files. `make fuzz` runs thousands."""

import platform

import pytest

from fuzz.campaign import fuzz
from fuzz.readers import READERS

INPUTS = 200
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.system() != "Linux", reason="memory is measured by /proc"),
]


@pytest.fixture(scope="module")
def outcomes():
    return fuzz({name: INPUTS // reader.share for name, reader in READERS.items()}, "ci")


@pytest.mark.parametrize("name", READERS)
def test_no_mutated_file_does_more_than_raise_one_line(outcomes, name):
    outcome = outcomes[name]
    assert not outcome.lines()
    assert outcome.inputs == INPUTS // READERS[name].share
