import pytest
import torch

from ram_avatar.networks.opacity import PersonAlpha, opaque_head, person_alpha, soft_outline


@pytest.mark.parametrize(("size", "off"), [(64, 2), (1024, 8)])
def test_a_head_is_opaque_off_its_edges(size, off):
    """Inside the head alpha is 1 whatever the network outputs; at the edges the network decides."""
    mask, face = torch.zeros(1, 1, size, size), torch.zeros(1, 3, size, size)
    mask[..., 10:, 20:60] = 1.0
    face[..., 10:50, 20:60] = torch.tensor([0.0, -1.0, 0.1])[:, None, None]
    logit, belief = torch.full_like(mask, -5.0), PersonAlpha().belief
    alpha = person_alpha(logit, soft_outline(mask), belief, opaque_head(face, size))[0, 0]
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    within = torch.stack([y - 10, 49 - y, x - 20, 59 - x]).amin(0)  # pixels from the head's outermost ones
    assert (alpha[within > off] == 1).all()
    assert (alpha[within < off - 1] < 1e-3).all()
    assert ((alpha > 0) & (alpha < 1))[(within >= off - 1) & (within <= off)].all()
