from types import SimpleNamespace

import pytest
import torch

from ram_avatar.core.device import best_preset


@pytest.mark.parametrize(("memory", "name"), [(4, "lite"), (8, "standard"), (80, "standard")])
def test_a_gpu_with_the_memory_for_it_trains_standard(monkeypatch, memory, name):
    found = SimpleNamespace(total_memory=memory << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
    preset, reason = best_preset(torch.device("cuda"))
    assert preset == name and f"{memory} GB" in reason


def test_a_cpu_trains_lite():
    assert best_preset(torch.device("cpu"))[0] == "lite"
