"""Every pair that torch has a divergence for, walked through torch's registry."""

from __future__ import annotations

import numpy as np
import pytest
import torch.distributions as td
from torch.distributions.kl import _KL_REGISTRY

import ppl_dist as dist
from ppl_dist import kl_divergence
from ppl_dist.kl.registry import _lookup
from tests.dist.test_kl import EXAMPLES, TOUCHING, in_torch

# pairs whose families are structures or bases, with tests of their own
STRUCTURES = {"Independent", "TransformedDistribution", "ExponentialFamily"}
PAIRS = sorted({(p.__name__, q.__name__) for p, q in _KL_REGISTRY})


@pytest.mark.parametrize("p, q", PAIRS, ids=[f"{p}-{q}" for p, q in PAIRS])
def test_a_pair_of_torch_has_a_rule_and_the_same_value(p: str, q: str) -> None:
    left, right = getattr(dist, p), getattr(dist, q)
    assert _lookup(left, right) is not None
    if {p, q} & STRUCTURES:
        return
    for ours in EXAMPLES[left]:
        for other in EXAMPLES[right]:
            value = kl_divergence(ours, other)
            try:
                theirs = td.kl_divergence(in_torch(ours), in_torch(other)).expand(value.shape)
            except NotImplementedError:  # torch's binomial laws need one count, and the left not the larger
                assert dist.Binomial in (left, right)
                continue
            asked = theirs.isfinite() | ((left, right) not in TOUCHING)
            np.testing.assert_allclose(value[asked].numpy(), theirs[asked].numpy(), rtol=1e-9, atol=1e-10)
