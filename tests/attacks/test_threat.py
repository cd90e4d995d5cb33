"""The size of a perturbation, by hand."""

from __future__ import annotations

import pytest
import torch

from nls_core.attacks import threat
from nls_core.errors import InvalidInput


def test_perturbation_norms_by_hand() -> None:
    x = torch.zeros(2, 1, 2, 2)
    moved = x.clone()
    moved[1, 0, 0] = torch.tensor([0.3, -0.4])
    linf, l2 = threat.perturbation_norms(x, moved)
    torch.testing.assert_close(linf, torch.tensor([0.0, 0.4]))
    torch.testing.assert_close(l2, torch.tensor([0.0, 0.5]))
    with pytest.raises(InvalidInput, match="of one shape"):
        threat.perturbation_norms(x, moved[:1])
